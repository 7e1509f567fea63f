package relay

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// TestParametersGoOn: what submission was asked for with DSN and SMTPUTF8 is asked of the next server that has them.
func TestParametersGoOn(t *testing.T) {
	t.Parallel()
	w := open(t)
	sink := w.sink(t, "127.0.0.2")
	sink.Set("EHLO", "250-sink.test\n250-8BITMIME\n250-SMTPUTF8\n250 DSN")
	c := w.Submission(alice, password)
	c.Want("250", "MAIL FROM:<%s> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=QQ+2B31", alice)
	c.Want("250", "RCPT TO:<dörte@sink.test> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;d\\x{F6}rte@sink.test")
	c.Want("250", "RCPT TO:<plain@sink.test> NOTIFY=NEVER")
	c.Want("501 5.5.4 ", "RCPT TO:<evil@sink.test> ORCPT=rfc822;a+0D+0ADATA")
	text := strings.Replace(letter("params"), "Subject: letter", "Subject: Grüße", 1)
	c.Put("BDAT 10\r\n" + text[:10])
	if r := c.Reply(); !strings.HasPrefix(r, "250 2.0.0 10 octets") {
		t.Fatal(r)
	}
	c.Want("250 2.0.0 m-", "BDAT %d LAST\r\n%s", len(text)-10, text[10:len(text)-2])
	got := taken(t, sink, 1)[0]
	for _, want := range []string{"<" + alice + ">", " SMTPUTF8", " RET=HDRS", " ENVID=QQ+2B31", " BODY=8BITMIME"} {
		if !strings.Contains(got.From, want) {
			t.Errorf("MAIL FROM:%s lacks %s", got.From, want)
		}
	}
	if to := strings.Join(got.To, "\n"); !strings.Contains(to, "<dörte@sink.test> NOTIFY=SUCCESS,DELAY ORCPT=utf-8;dörte@sink.test") ||
		!strings.Contains(to, "<plain@sink.test> NOTIFY=NEVER") {
		t.Errorf("RCPT TO:%s", to)
	}
	if !strings.HasSuffix(got.Text, text) {
		t.Errorf("%s", got.Text)
	}
}

// TestWishes: what a user may ask of the time and the urgency of a message is done by the queue, and asked of the next server.
func TestWishes(t *testing.T) {
	t.Parallel()
	w := open(t)
	sink := w.sink(t, "127.0.0.2")
	sink.Set("EHLO", "250-sink.test\n250-8BITMIME\n250-DELIVERBY\n250 MT-PRIORITY")
	w.sink(t, "127.0.0.3") // without DELIVERBY
	c := w.Submission(alice, password)
	send := func(to, id, params string) {
		t.Helper()
		c.Want("250", "MAIL FROM:<%s> BODY=8BITMIME %s", alice, params)
		c.Want("250", "RCPT TO:<%s>", to)
		text := letter(id)
		c.Want("250 2.0.0 m-", "BDAT %d LAST\r\n%s", len(text), text[:len(text)-2])
	}
	began := time.Now()
	send(bob, "later", "HOLDFOR=3")
	send("x@sink.test", "urgent", "MT-PRIORITY=4 BY=500;R")
	send("x@old.test", "late", "BY=2;R")
	c.Want("501 5.5.4 ", "MAIL FROM:<%s> HOLDFOR=99999999", alice)
	c.Want("501 5.5.4 ", "MAIL FROM:<%s> BY=0;R", alice)
	if got := taken(t, sink, 1)[0]; !strings.Contains(got.From, " MT-PRIORITY=4") || !regexp.MustCompile(` BY=(500|4\d\d);R( |$)`).MatchString(got.From) {
		t.Errorf("MAIL FROM:%s", got.From)
	}
	if r := w.report(t, 1); r.rcpts[0].Get("Status") != "5.4.7" || r.rcpts[0].Get("Action") != "failed" {
		t.Errorf("%v", r.rcpts)
	}
	harness.Eventually(t, func() error { return arrived(w, bob, letter("later"), "") })
	if d := time.Since(began); d < 3*time.Second {
		t.Errorf("delivered after %v", d)
	}
}

// TestPostfixLMTP: Postfix delivers here by LMTP, a verdict for each recipient, and tells its sender of the unknown one.
func TestPostfixLMTP(t *testing.T) {
	t.Parallel()
	w := open(t)
	p := startPostfix(t, "127.0.0.7", w.port, "")
	postconf := func(args ...string) {
		t.Helper()
		if out, code := harness.Run(t, "", "postconf", append([]string{"-c", p.dir + "/etc"}, args...)...); code != 0 {
			t.Fatal(out)
		}
	}
	postconf("-M", "lmtp/unix=lmtp unix - - n - - lmtp")
	postconf("-e", "default_transport=lmtp:inet:"+w.Addr("lmtp"), "lmtp_destination_recipient_limit=50")
	p.restart()
	c := harness.SMTP(t, p.addr)
	c.Want("250", "MAIL FROM:<someone@foreign.test>")
	for _, to := range []string{alice, bob, "nobody@postel.test"} {
		c.Want("250", "RCPT TO:<%s>", to)
	}
	c.Want("354", "DATA")
	c.Want("250", "%s.", strings.ReplaceAll(letter("lmtp"), "\r\n.", "\r\n.."))
	for _, who := range []string{alice, bob} {
		harness.Eventually(t, func() error { return arrived(w, who, letter("lmtp"), "with LMTP") })
	}
	if got := p.maildir(1)[0]; !strings.Contains(got, "Status: 5.1.1") || !strings.Contains(got, "550 5.1.1") || strings.Contains(got, "Final-Recipient: rfc822; "+alice) {
		t.Errorf("%s", got)
	}
}

// arrived wants one message in an INBOX, with its text and something of its trace.
func arrived(w *world, who, text, trace string) error {
	all := w.Inbox(who, password)
	if len(all) != 1 {
		return fmt.Errorf("%s has %d messages", who, len(all))
	}
	if !strings.HasSuffix(all[0], text) || !strings.Contains(all[0], trace) {
		return fmt.Errorf("%s has %s", who, all[0])
	}
	return nil
}
