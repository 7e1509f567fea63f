package serve

import (
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// TestNoRelay: whatever form an address has, a stranger cannot make the server send mail elsewhere.
func TestNoRelay(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.bad_recipients = 100\n")
	for _, from := range []string{"x@far.test", "", ann, "postmaster@example.test"} {
		c := harness.SMTP(t, s.Addr("smtp"))
		for _, to := range []string{
			"victim@else.test", "victim%else.test@example.test", "victim%else.test@" + harness.Hostname, "victim%else.test@[127.0.0.1]", "victim%else.test",
			"else.test!victim", "else.test!victim@example.test", "else.test!victim@[127.0.0.1]", "\"victim@else.test\"", "\"victim@else.test\"@example.test",
			"\"victim%else.test\"@example.test", "\"else.test!victim\"@example.test", "victim@else.test@example.test", "@example.test:victim@else.test",
			"@" + harness.Hostname + ",@example.test:victim@else.test", "@else.test:victim@else.test", "victim@[192.0.2.1]", "victim@[IPv6:2001:db8::1]",
			"ann@[192.0.2.1]", "ann@[127.0.0.1]", "ann@192.0.2.1", "victim@else.test.", "victim@example.test.else.test", "victim@sub.example.test",
			"\"\"@else.test", "ann%example.test@else.test", "ann@else.test\\@example.test",
		} {
			c.Want("250", "MAIL FROM:<%s>", from)
			if r := c.Say("RCPT TO:<%s>", to); r[0] != '5' {
				t.Errorf("from <%s> RCPT TO:<%s>: %s", from, to, r)
			}
			c.Say("RSET")
		}
		// A source route to ourselves is only a route (RFC 5321 appendix C).
		c.Want("250", "MAIL FROM:<%s>", from)
		c.Want("250", "RCPT TO:<@else.test,@far.test:%s>", ann)
		_ = c.Close()
	}
	if out := want(t, 0, s.Config, "", "queue", "list", "-q"); out != "" {
		t.Errorf("queued: %s", out)
	}
}

// TestLineEnds: only CRLF ends a line, only CRLF.CRLF ends DATA; what looks like an end to others is refused, and
// never begins a second message.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	smuggled := "MAIL FROM:<evil@far.test>\r\nRCPT TO:<" + ann + ">\r\nDATA\r\n" + letter("smuggled")
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r\n.\x00\r\n", "\r\n\x00.\r\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n"} {
		c := harness.SMTP(t, s.Addr("smtp"))
		c.Want("250", "MAIL FROM:<x@far.test>")
		c.Want("250", "RCPT TO:<%s>", ann)
		c.Want("354", "DATA")
		c.Put(letter("first") + "text" + end + smuggled + "\r\n.\r\nNOOP\r\nQUIT\r\n")
		if r := c.Reply(); !strings.HasPrefix(r, "550 5.5.2 ") {
			t.Errorf("%q: %s", end, r)
		}
		if r := c.Reply(); !strings.HasPrefix(r, "250 2.0.0") {
			t.Errorf("%q, then NOOP: %s", end, r)
		}
		if r := c.Reply(); !strings.HasPrefix(r, "221 ") {
			t.Errorf("%q, then QUIT: %s", end, r)
		}
		if l := c.Line(); l != harness.EOF {
			t.Errorf("%q: another reply: %s", end, l)
		}
	}
	for _, bad := range []string{"a\rb", "a\nb", "a\x00b", "\n", "\r"} {
		c := harness.SMTP(t, s.Addr("smtp"))
		if r := c.Send("x@far.test", ann, letter("bad")+bad+"\r\n"); !strings.HasPrefix(r, "550 5.5.2 ") {
			t.Errorf("%q in the text: %s", bad, r)
		}
	}
	count(t, s, ann, 0)
}

// TestDevRepairsLines: in dev a bare LF becomes CRLF with a warning, and LF.LF still ends nothing.
func TestDevRepairsLines(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	c := harness.SMTP(t, s.Addr("smtp"))
	r := c.Send("x@far.test", "alice@postel.test", "Subject: x\n\nfirst\n.\nMAIL FROM:<>\nlast\r\n")
	if !strings.HasPrefix(r, "250 2.0.0 m-") || !strings.Contains(r, "warning") || !strings.Contains(r, "bare LF") {
		t.Errorf("%s", r)
	}
	all := s.Inbox("alice@postel.test", "postel")
	if len(all) != 1 || !strings.HasSuffix(all[0], "\r\nSubject: x\r\n\r\nfirst\r\n.\r\nMAIL FROM:<>\r\nlast\r\n") {
		t.Errorf("%q", all)
	}
}

func TestReceivedLoop(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := harness.SMTP(t, s.Addr("smtp"))
	hop := "Received: from a.test by b.test; Mon, 20 Jul 2026 10:00:00 +0000\r\n"
	if r := c.Send("x@far.test", ann, strings.Repeat(hop, 100)+letter("loops")); !strings.HasPrefix(r, "554 5.4.6 ") {
		t.Errorf("100 Received: %s", r)
	}
	if r := c.Send("x@far.test", ann, strings.Repeat(hop, 99)+letter("travelled far")); !strings.HasPrefix(r, "250 ") {
		t.Errorf("99 Received: %s", r)
	}
	count(t, s, ann, 1)
}

func TestSubmissionRules(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	clear := harness.SMTP(t, s.Addr("submission"))
	if r := clear.Say("EHLO x.test"); strings.Contains(r, "AUTH") {
		t.Errorf("AUTH is offered in clear: %s", r)
	}
	clear.Want("538 5.7.11 ", "AUTH PLAIN %s", harness.Plain(ann, password))
	clear.Want("530 5.7.0 ", "MAIL FROM:<%s>", ann)
	if r := harness.SMTP(t, s.Addr("smtp")).Say("AUTH PLAIN %s", harness.Plain(ann, password)); r[0] != '5' {
		t.Errorf("AUTH at the MX: %s", r)
	}
	c := s.Submission(ann, password)
	c.Want("550 5.7.1 ", "MAIL FROM:<%s>", ben)
	c.Want("250", "MAIL FROM:<ann+news@example.test>")
	c.Say("RSET")
	want(t, 0, s.Config, "", "account", "allow", ann, "club@far.test")
	for name, one := range map[string][3]string{
		"allowed":          {"club@far.test", "From: club@far.test\r\n\r\n", "250 "},
		"own":              {ann, "From: " + ann + "\r\n\r\n", "250 "},
		"null path":        {"", "From: " + ann + "\r\n\r\n", "250 "},
		"another's From":   {ann, "From: " + ben + "\r\n\r\n", "550 5.7.1 "},
		"no From":          {ann, "Subject: x\r\n\r\n", "5"},
		"two From":         {ann, "From: " + ann + "\r\nFrom: " + ben + "\r\n\r\n", "5"},
		"another's Sender": {ann, "From: " + ann + "\r\nSender: " + ben + "\r\n\r\n", "550 5.7.1 "},
		"endless word":     {ann, "From: " + ann + "\r\nX-Long: " + strings.Repeat("x", 1000) + "\r\n\r\n", "550 5.6.0 "},
		"no address":       {ann, "From: me\r\n\r\n", "5"},
		"broken header":    {ann, "From: " + ann + "\r\nno colon here\r\n\r\n", "5"},
		"broken recipient": {ann, "From: " + ann + "\r\nTo: <a@@b>\r\n\r\n", "5"},
	} {
		if r := c.Send(one[0], ben, one[1]+name+"\r\n"); !strings.HasPrefix(r, one[2]) || strings.Count(r, "\n") > 0 {
			t.Errorf("%s: %s", name, r)
		}
	}
	if r := c.Send(ann, "nobody@example.test", letter("x")); !strings.HasPrefix(r, "550 5.1.1 ") {
		t.Errorf("to nobody: %s", r)
	}
	c.Say("RSET")
	long := "References:" + strings.Repeat(" <0123456789@far.test>", 90) + "\r\n"
	if r := c.Send(ann, ben, "From: Ben <"+ben+">, Ann <"+ann+">\r\n"+long+"\r\nx\r\n"); r[0] != '2' {
		t.Errorf("two authors: %s", r)
	}
	m := count(t, s, ben, 4)[3]
	if !strings.Contains(m, "\r\nSender: "+ann+"\r\n") || strings.Contains(m, long) || strings.Count(m, "<0123456789@far.test>") != 90 {
		t.Errorf("two authors, a long line: %s", m)
	}
	if r := c.Send(ann, ben, "From: Ann <"+ann+">\r\nTo: "+ben+"\r\nBcc: secret@far.test\r\nSubject: whole\r\n\r\nx\r\n"); r[0] != '2' {
		t.Errorf("%s", r)
	}
	all := count(t, s, ben, 5)
	if m = all[len(all)-1]; strings.Contains(m, "secret") || !strings.Contains(m, "\r\nMessage-ID: <") || !strings.Contains(m, "\r\nDate: ") ||
		!strings.Contains(m, " with ESMTPSA\r\n") {
		t.Errorf("%s", m)
	}
}

// TestLongLines: content with lines of more than 998 octets is encoded before it leaves, and comes back as it was; signed
// content is refused instead (RFC 6409 §8, RFC 1847 §2.1).
func TestLongLines(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := s.Submission(ann, password)
	line := strings.Repeat("lang und länger ", 100)
	head := "From: " + ann + "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
	if r := c.Send(ann, ben, head+line+"\r\nend\r\n"); r[0] != '2' {
		t.Fatal(r)
	}
	m := count(t, s, ben, 1)[0]
	_, body, _ := strings.Cut(m, "\r\n\r\n")
	text, err := io.ReadAll(quotedprintable.NewReader(strings.NewReader(body)))
	if err != nil || !strings.HasPrefix(string(text), line+"\r\nend\r\n") || !strings.Contains(m, "Content-Transfer-Encoding: quoted-printable\r\n") {
		t.Errorf("%v: %.300s", err, m)
	}
	for l := range strings.Lines(m) {
		if len(l) > 1000 {
			t.Errorf("a line of %d octets", len(l))
		}
	}
	signed := "From: " + ann + "\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b; protocol=\"x/y\"; micalg=z\r\n\r\n--b\r\n\r\n" +
		strings.Repeat("x", 1200) + "\r\n--b\r\nContent-Type: x/y\r\n\r\nsig\r\n--b--\r\n"
	if r := c.Send(ann, ben, signed); !strings.HasPrefix(r, "554 5.6.3 ") {
		t.Errorf("signed: %s", r)
	}
	if r := harness.SMTP(t, s.Addr("smtp")).Send("x@far.test", ben, signed); r[0] != '2' {
		t.Errorf("from elsewhere it is taken as it is: %s", r)
	}
}

// slow waits out what the server does on its own.
const slow = 10 * time.Second

func TestTimes(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.login_time = \"1s\"\nlimits.idle_smtp = \"1s\"\n")
	for name, wantLine := range map[string]string{"smtp": "421 4.4.2 ", "submission": "421 4.4.2 ", "imap": "* BYE ", "pop3": harness.EOF} { // RFC 1939 §3: no response
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Dial(t, s.Addr(name))
			c.Line()
			begin := time.Now()
			if l := c.Line(); !strings.HasPrefix(l, wantLine) || time.Since(begin) > slow {
				t.Errorf("%s after %v", l, time.Since(begin))
			}
			if l := c.Line(); l != harness.EOF {
				t.Errorf("still open: %s", l)
			}
		})
	}
	t.Run("drip", func(t *testing.T) { // a line has its time as a whole
		t.Parallel()
		c := harness.Dial(t, s.Addr("smtp"))
		c.Line()
		begin := time.Now()
		for range 30 {
			c.Put("N")
			time.Sleep(100 * time.Millisecond)
		}
		if l := c.Line(); !strings.HasPrefix(l, "421 4.4.2 ") {
			t.Errorf("%s after %v", l, time.Since(begin))
		}
	})
	if len(s.Ports) < 9 {
		t.Errorf("%v", fmt.Sprint(s.Ports))
	}
}

// TestFewSuccesses: a stranger brings about one report of success with a message, of 100 recipients, and is told to send the
// others in another transaction (RFC 5321 §4.5.3.1.10).
func TestFewSuccesses(t *testing.T) {
	t.Parallel()
	config := harness.WriteConfig(t, company)
	addAccounts(t, config)
	s := harness.ServeFile(t, config)
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("250", "MAIL FROM:<%s>", ann)
	for i := range 100 {
		c.Want("250", "RCPT TO:<%s> NOTIFY=SUCCESS", strings.Replace(ben, "@", fmt.Sprintf("+%d@", i), 1))
	}
	c.Want("452 4.5.3", "RCPT TO:<%s> NOTIFY=SUCCESS,FAILURE", ben)
	c.Want("250", "RCPT TO:<%s>", ben) // who asks for nothing
	c.Want("354", "DATA")
	c.Want("250", "%s.", letter("many"))
	got := count(t, s, ann, 1)
	if n := strings.Count(got[0], "Action: delivered"); n != 100 {
		t.Errorf("%d recipients are told of in\n%s", n, got[0])
	}
	c.Want("250", "MAIL FROM:<%s>", ann)
	c.Want("250", "RCPT TO:<%s> NOTIFY=SUCCESS", ben)
}
