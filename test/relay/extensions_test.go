package relay

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postel/test/harness"
)

// The same picture with its octets as they are and in base64.
const (
	picture   = "From: Alice <" + alice + ">\r\nTo: x@foreign.test\r\nSubject: picture\r\nDate: Mon, 20 Jul 2026 10:00:00 +0000\r\nMessage-ID: <pic@letters.test>\r\nMIME-Version: 1.0\r\nContent-Type: image/x\r\n"
	binary    = picture + "Content-Transfer-Encoding: binary\r\n\r\n\x00\r\xff\n.\r\n.\n"
	binaryB64 = picture + "Content-Transfer-Encoding: base64\r\n\r\nAA3/Ci4NCi4K\r\n"
)

// chunk hands a message in by one chunk; parameters stand behind the address of the sender.
func (w *world) chunk(t *testing.T, parameters, text string, to ...string) {
	t.Helper()
	c := w.Submission(alice, password)
	c.Want("250", "MAIL FROM:<%s>%s", alice, parameters)
	for _, a := range to {
		c.Want("250", "RCPT TO:%s", a)
	}
	c.Put(fmt.Sprintf("BDAT %d LAST\r\n", len(text)) + text)
	if r := c.Reply(); !strings.HasPrefix(r, "250 2.0.0 m-") {
		t.Fatal(r)
	}
}

// set gives Postfix settings and starts it anew with them.
func (p *postfix) set(settings ...string) {
	p.t.Helper()
	if out, code := harness.Run(p.t, "", "postconf", append([]string{"-c", p.dir + "/etc", "-e"}, settings...)...); code != 0 {
		p.t.Fatal(out)
	}
	p.restart()
}

// inbox waits for n messages of alice.
func (w *world) inbox(t *testing.T, n int) (all []string) {
	t.Helper()
	harness.Eventually(t, func() error {
		if all = w.Inbox(alice, password); len(all) != n {
			return fmt.Errorf("%d messages, want %d", len(all), n)
		}
		return nil
	})
	return all
}

// TestExtensionsToPostfix: what Postfix offers is used, and what it does not is made up for: BINARYMIME by base64, DSN by
// a report of ours, 8BITMIME by quoted-printable, SMTPUTF8 by 5.6.7 where it is needed (RFC 6531 §3.1).
func TestExtensionsToPostfix(t *testing.T) {
	t.Parallel()
	w := open(t)
	p := startPostfix(t, "127.0.0.5", w.port, fmt.Sprintf("[127.0.0.1]:%d", w.port))
	w.chunk(t, " BODY=BINARYMIME ENVID=one", binary, "<a@foreign.test> NOTIFY=SUCCESS", "<"+alice+">")
	if got := p.maildir(1)[0]; !strings.HasSuffix(got, strings.ReplaceAll(binaryB64, "\r\n", "\n")) {
		t.Errorf("Postfix has %q", got)
	}
	var told, filed string
	for _, m := range w.inbox(t, 2) {
		if strings.Contains(m, "multipart/report") {
			told = m
		} else {
			filed = m
		}
	}
	if !strings.HasSuffix(filed, binaryB64) {
		t.Errorf("the mailbox has %q", filed)
	}
	if !strings.Contains(told, "Reporting-MTA: dns; mx.foreign.test") || !strings.Contains(told, "Action: delivered") || !strings.Contains(told, "Original-Envelope-Id: one") {
		t.Errorf("of Postfix: %s", told)
	}
	w.submit(t, alice, "chunked", "a@foreign.test")
	p.maildir(2)
	var shown string
	for _, s := range w.objects(t, "glass", "list") {
		if s["outbound"] == true {
			shown += w.ok(t, "glass", "show", s["id"].(string))
		}
	}
	if !strings.Contains(shown, "BDAT ") || !strings.Contains(shown, "NOTIFY=SUCCESS") {
		t.Errorf("no BDAT or no NOTIFY in\n%s", shown)
	}
	text := strings.Replace(letter("utf8"), "somebody@sink.test", "Dörte <dörte@foreign.test>", 1)
	w.chunk(t, " SMTPUTF8 BODY=8BITMIME", text, "<dörte@foreign.test>")
	if got := p.maildir(3); !slices.ContainsFunc(got, func(m string) bool {
		return strings.Contains(m, "Delivered-To: dörte@foreign.test\n") && strings.Contains(m, "with UTF8SMTP") && strings.HasSuffix(m, strings.ReplaceAll(text, "\r\n", "\n"))
	}) {
		t.Errorf("none of %q is in UTF-8", got)
	}

	p = startPostfix(t, "127.0.0.2", w.port, "")
	p.set("smtpd_discard_ehlo_keywords = chunking, dsn, 8bitmime, smtputf8", "virtual_mailbox_domains = plain.test")
	w.chunk(t, " ENVID=two", letter("plain"), "<b@plain.test> NOTIFY=SUCCESS ORCPT=rfc822;orig@letters.test")
	want := strings.NewReplacer("8bit", "quoted-printable", "Grüße,  ", "Gr=C3=BC=C3=9Fe, =20", "\r\n", "\n").Replace(letter("plain"))
	if got := p.maildir(1)[0]; !strings.HasSuffix(got, want) {
		t.Errorf("%q does not end with %q", got, want)
	}
	r := parse(t, w.inbox(t, 3)[2])
	if r.rcpts[0].Get("Action") != "relayed" || r.rcpts[0].Get("Original-Recipient") != "rfc822; orig@letters.test" || r.message.Get("Original-Envelope-Id") != "two" {
		t.Errorf("%v %v", r.message, r.rcpts)
	}
	w.chunk(t, " SMTPUTF8", letter("utf8"), "<dörte@plain.test>", "<c@plain.test>")
	p.maildir(2) // who has an address in ASCII
	if got := w.inbox(t, 4)[3]; !strings.Contains(got, "Status: 5.6.7") || strings.Contains(got, "c@plain.test") {
		t.Errorf("%s", got)
	}
}

// goSink is a server of somebody else's making that knows BINARYMIME.
type goSink struct {
	mu   sync.Mutex
	got  []string
	mail []smtp.MailOptions
	rcpt []smtp.RcptOptions
}

func (g *goSink) NewSession(*smtp.Conn) (smtp.Session, error) { return g, nil }
func (g *goSink) Reset()                                      {}
func (g *goSink) Logout() error                               { return nil }

func (g *goSink) Mail(_ string, o *smtp.MailOptions) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mail = append(g.mail, *o)
	return nil
}

func (g *goSink) Rcpt(_ string, o *smtp.RcptOptions) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.rcpt = append(g.rcpt, *o)
	return nil
}

func (g *goSink) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.got = append(g.got, string(b))
	return err
}

// TestBinaryToGoSMTP: a binary message goes as it is, by BDAT, with all that was asked for, to a server that takes it.
func TestBinaryToGoSMTP(t *testing.T) {
	t.Parallel()
	w := open(t)
	g := new(goSink)
	s := smtp.NewServer(g)
	s.Domain, s.EnableBINARYMIME, s.EnableDSN, s.EnableSMTPUTF8 = "sink.test", true, true, true
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", w.port))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close(); <-done })

	large := binary + strings.Repeat("\x00\n.\r\n\xfe", 50_000)
	for i, text := range []string{binary, large} {
		w.chunk(t, " BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=x", text, "<dörte@sink.test> NOTIFY=FAILURE")
		harness.Eventually(t, func() error {
			g.mu.Lock()
			defer g.mu.Unlock()
			if len(g.got) != i+1 {
				return fmt.Errorf("%d messages", len(g.got))
			}
			return nil
		})
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, text := range []string{binary, large} {
		if !strings.HasSuffix(g.got[i], text) {
			t.Errorf("%d: %d octets came, want %d at the end", i, len(g.got[i]), len(text))
		}
	}
	if m := g.mail[0]; m.Body != smtp.BodyBinaryMIME || !m.UTF8 || m.Return != smtp.DSNReturnHeaders || m.EnvelopeID != "x" || fmt.Sprint(g.rcpt[0].Notify) != "[FAILURE]" {
		t.Errorf("%+v %+v", m, g.rcpt[0])
	}
}

// TestTimeAndLimits: a message that is held waits in the queue with its time, a deadline sends it back, and a host's
// limits part the recipients.
func TestTimeAndLimits(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("EHLO", "250-sink.test\n250-8BITMIME\n250-MT-PRIORITY\n250 LIMITS RCPTMAX=2")
	w.chunk(t, " HOLDFOR=3600", letter("held"), "<a@sink.test>")
	item := w.queued(t, 1, 0)[0]
	due, err := time.Parse(time.RFC3339Nano, first(item)["due"].(string))
	if left := time.Until(due); err != nil || left < 50*time.Minute || left > time.Hour || item["state"] != "waiting" {
		t.Errorf("%v %v", item, err)
	}
	w.ok(t, "queue", "drop", item["id"].(string))
	w.chunk(t, " MT-PRIORITY=4", letter("limits"), "<a@sink.test>", "<b@sink.test>", "<c@sink.test>")
	got := taken(t, s, 2)
	if len(got[0].To) != 2 || len(got[1].To) != 1 || !strings.Contains(got[0].From, " MT-PRIORITY=4") {
		t.Errorf("%+v", got)
	}
	w.chunk(t, " BY=1;R", letter("late"), "<a@sink.test>")
	if r := parse(t, w.inbox(t, 1)[0]); r.rcpts[0].Get("Status") != "5.4.7" {
		t.Errorf("%v", r.rcpts)
	}
	w.queued(t, 0, 0)
	if n := len(s.Taken()); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}
