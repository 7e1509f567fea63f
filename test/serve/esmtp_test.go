package serve

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"postel/test/harness"
)

// keywords gives what the last line-joined reply to EHLO lists, sizes and mechanisms left out.
func keywords(reply string) string {
	var all []string
	for _, l := range strings.Split(reply, "\n")[1:] {
		k, _, _ := strings.Cut(l[4:], " ")
		all = append(all, k)
	}
	return strings.Join(all, " ")
}

// TestKeywords: which listener offers what, in clear and under TLS.
func TestKeywords(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	const all = "PIPELINING ENHANCEDSTATUSCODES SIZE 8BITMIME SMTPUTF8 CHUNKING BINARYMIME DSN"
	for _, l := range []struct{ name, hello, clear, tls string }{
		{"smtp", "EHLO", " LIMITS STARTTLS", " REQUIRETLS LIMITS"},
		{
			"submission", "EHLO", " DELIVERBY FUTURERELEASE MT-PRIORITY LIMITS STARTTLS",
			" DELIVERBY FUTURERELEASE MT-PRIORITY REQUIRETLS LIMITS AUTH",
		},
		{"lmtp", "LHLO", " LIMITS STARTTLS", " LIMITS"},
	} {
		c := harness.Dial(t, s.Addr(l.name))
		c.Reply()
		got := keywords(strings.Replace(c.Say("%s client.test", l.hello), "250 ", "250-", 1))
		if want := all + l.clear; strings.ReplaceAll(got, " ETRN", "") != want {
			t.Errorf("%s: %s, want %s", l.name, got, want)
		}
		c.Want("220", "STARTTLS")
		if err := c.Upgrade(s.TLS()); err != nil {
			t.Fatal(err)
		}
		got = keywords(strings.Replace(c.Say("%s client.test", l.hello), "250 ", "250-", 1))
		if want := all + l.tls; strings.ReplaceAll(got, " ETRN", "") != want {
			t.Errorf("%s under TLS: %s, want %s", l.name, got, want)
		}
	}
}

// TestVerify: VRFY is exact for users and tells strangers nothing; EXPN tells the members of a list to members.
func TestVerify(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("252 ", "VRFY %s", ann)
	c.Want("252 ", "VRFY nobody@example.test")
	c.Want("502 ", "EXPN sales@example.test")
	c = s.Submission(ann, password)
	c.Want("250 2.1.5 <"+ben+">", "VRFY ben")
	c.Want("250 2.1.5 <sales@example.test>", "VRFY <sales@example.test>")
	c.Want("550 5.1.1 ", "VRFY nobody")
	c.Want("252 ", "VRFY somebody@far.test")
	c.Want("250-2.1.5 <"+ann+">\n250 2.1.5 <"+ben+">", "EXPN sales")
	c.Want("550 5.7.2 ", "EXPN nobody")
	c.Want("550 5.7.2 ", "EXPN ben")
}

// TestChunks: a message that comes by BDAT, in chunks of seven octets sent all at once, is filed as it is, over SMTP and
// for each recipient of LMTP.
func TestChunks(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	text := letter("chunks") + ".\r\n..\r\n"
	var batch strings.Builder
	n := 0
	for rest := text; rest != ""; n++ {
		piece := rest[:min(7, len(rest))]
		rest = rest[len(piece):]
		last := ""
		if rest == "" {
			last = " LAST"
		}
		fmt.Fprintf(&batch, "BDAT %d%s\r\n%s", len(piece), last, piece)
	}
	for _, l := range []struct {
		name, hello string
		to          []string
	}{{"smtp", "EHLO", []string{ann}}, {"lmtp", "LHLO", []string{ann, ben}}} {
		c := harness.Dial(t, s.Addr(l.name))
		c.Reply()
		c.Want("250", "%s client.test", l.hello)
		c.Put("MAIL FROM:<x@far.test>\r\nRCPT TO:<" + strings.Join(l.to, ">\r\nRCPT TO:<") + ">\r\n" + batch.String() + "QUIT\r\n")
		for range 1 + len(l.to) + n - 1 {
			if r := c.Reply(); !strings.HasPrefix(r, "250 ") {
				t.Errorf("%s: %s", l.name, r)
			}
		}
		for _, to := range l.to {
			r := c.Reply()
			if who := "<" + to + "> "; !strings.HasPrefix(strings.Replace(r, who, "", 1), "250 2.0.0 m-") || l.name == "lmtp" && !strings.Contains(r, who) {
				t.Errorf("%s: %s", l.name, r)
			}
		}
		if r := c.Reply(); !strings.HasPrefix(r, "221 ") {
			t.Errorf("%s: %s", l.name, r)
		}
	}
	for _, m := range append(count(t, s, ann, 2), count(t, s, ben, 1)...) {
		if !strings.HasSuffix(m, "\r\n"+text) {
			t.Errorf("%s", m)
		}
	}
}

// TestBinary: a binary leaf, with every octet there is, is filed as base64 once, so that what IMAP says of the size is what
// comes (RFC 3030 §3), and goes back to the same octets.
func TestBinary(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	var leaf []byte
	for i := range 1024 {
		leaf = append(leaf, byte(i*7))
	}
	text := "From: x@far.test\r\nTo: " + ann + "\r\nSubject: binary\r\nDate: Mon, 20 Jul 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + string(leaf)
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("250", "MAIL FROM:<x@far.test> BODY=BINARYMIME")
	c.Want("250", "RCPT TO:<%s>", ann)
	c.Want("503 5.5.1 ", "DATA")
	c.Put(fmt.Sprintf("BDAT 500\r\n%sBDAT %d LAST\r\n%s", text[:500], len(text)-500, text[500:]))
	for range 2 {
		if r := c.Reply(); !strings.HasPrefix(r, "250 2.0.0 ") {
			t.Fatal(r)
		}
	}
	imap := s.IMAP(ann, "\""+password+"\"")
	imap.Command("EXAMINE INBOX")
	_, lines := imap.Untagged("FETCH 1 (RFC822.SIZE BODY.PEEK[])")
	got := harness.Literal(lines[0])
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	back, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(body, "\r\n", ""))
	if err != nil || !bytes.Equal(back, leaf) || !strings.Contains(head, "Content-Transfer-Encoding: base64") {
		t.Errorf("%v: %s", err, got)
	}
	if !strings.Contains(lines[0], fmt.Sprintf("RFC822.SIZE %d ", len(got))) {
		t.Errorf("%.100q, but %d octets", lines[0], len(got))
	}
}

// TestIDN: a domain in U-labels and in A-labels is one domain, in the configuration, for accounts, in a path and at login.
func TestIDN(t *testing.T) {
	t.Parallel()
	config := harness.WriteConfig(t, "[[domain]]\nname = \"bücher.test\"\n")
	want(t, 0, config, password+"\n", "account", "add", "ann@bücher.test", "--password-stdin")
	s := harness.ServeFile(t, config)
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("250", "MAIL FROM:<jörg@far.test> SMTPUTF8")
	c.Want("250", "RCPT TO:<ann@BÜCHER.test>")
	c.Want("250", "RCPT TO:<Ann@xn--bcher-kva.TEST>")
	c.Want("550 5.1.1 ", "RCPT TO:<änn@bücher.test>")
	c.Want("354", "DATA")
	c.Want("250", "%s.", strings.Replace(letter("idn"), "Subject: idn", "Subject: Bücher", 1))
	c.Want("250", "MAIL FROM:<>")
	c.Want("250", "RCPT TO:<ann@xn--bcher-kva.test>")
	c.Want("553 5.6.7 ", "RCPT TO:<ann@bücher.test>")
	const user = "ann@xn--bcher-kva.test"
	if all := count(t, s, user, 1); len(all) == 1 && (!strings.Contains(all[0], "Return-Path: <jörg@far.test>\r\n") || !strings.Contains(all[0], "with UTF8SMTP")) {
		t.Errorf("%s", all[0])
	}
	sub := s.Submission(user, password)
	sub.Want("250", "MAIL FROM:<ann@bücher.test> SMTPUTF8")
}

// TestWrongALPN: a client that means to speak something else is refused in the handshake (RFC 7301 §3.2).
func TestWrongALPN(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	cfg := s.TLS()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	for _, name := range []string{"submissions", "imaps", "pop3s"} {
		if err := harness.Dial(t, s.Addr(name)).Upgrade(cfg); err == nil || !strings.Contains(err.Error(), "no application protocol") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStartTLSPolicy: a listener that requires TLS takes no mail in clear, and one where it is off does not offer it.
func TestStartTLSPolicy(t *testing.T) {
	t.Parallel()
	s := open(t, "starttls.smtp = \"off\"\nstarttls.lmtp = \"required\"\n")
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("502 5.5.1 ", "STARTTLS")
	if r := c.Send("x@far.test", ann, letter("clear")); !strings.HasPrefix(r, "250 ") {
		t.Error(r)
	}
	c = harness.Dial(t, s.Addr("lmtp"))
	c.Reply()
	c.Want("250", "LHLO x")
	c.Want("530 5.7.0 ", "MAIL FROM:<x@far.test>")
	c.Want("220", "STARTTLS")
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Want("250", "LHLO x")
	c.Want("250", "MAIL FROM:<x@far.test>")
}

// TestLMTPSocket: the socket is for its owner and its group; what goes on to another server is for SMTP.
func TestLMTPSocket(t *testing.T) {
	t.Parallel()
	path := harness.Dir(t) + "/lmtp.sock"
	config := harness.WriteConfig(t, "listen.lmtp = \"unix:"+path+"\"\n"+company+"[[domain]]\nname = \"backup.test\"\nkind = \"relay\"\n")
	addAccounts(t, config)
	s := harness.ServeFile(t, config)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o660 {
		t.Fatalf("%v, %v", info, err)
	}
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c := harness.Wrap(t, nc)
	c.Reply()
	c.Want("250", "LHLO x")
	if r := c.Send("x@far.test", ann, letter("socket")); !strings.HasPrefix(r, "250 2.0.0 <"+ann+"> m-") {
		t.Error(r)
	}
	c.Want("250", "MAIL FROM:<x@far.test>")
	c.Want("550 5.7.1 ", "RCPT TO:<x@backup.test>")
	c.Want("550 5.7.1 ", "RCPT TO:<x@far.test>")
	smtp := harness.SMTP(t, s.Addr("smtp"))
	smtp.Want("250", "MAIL FROM:<x@far.test>")
	smtp.Want("250", "RCPT TO:<x@backup.test>")
}
