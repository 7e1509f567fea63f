package serve

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestSMTPLimits: each limit has its reply, and the session goes on where it can.
func TestSMTPLimits(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.recipients = 100\nlimits.message = \"128KiB\"\nlimits.per_address = 1000\n")
	smtp := s.Addr("smtp")
	c := harness.SMTP(t, smtp)
	c.Want("250", "MAIL FROM:<x@far.test>")
	for i := range 100 {
		c.Want("250 2.1.5 ", "RCPT TO:<ann+%d@example.test>", i)
	}
	c.Want("452 4.5.3 ", "RCPT TO:<%s>", ben)
	c.Want("354", "DATA")
	c.Want("250 ", "%s.", letter("many"))
	c.Want("552 5.3.4 ", "MAIL FROM:<x@far.test> SIZE=131073")
	c.Want("250 ", "MAIL FROM:<x@far.test> SIZE=131072")
	c.Say("RSET")
	if r := c.Send("x@far.test", ann, letter("big")+strings.Repeat(strings.Repeat("x", 998)+"\r\n", 140)); !strings.HasPrefix(r, "552 5.3.4 ") {
		t.Errorf("too big: %s", r)
	}
	if r := c.Send("x@far.test", ann, letter("long line")+strings.Repeat("x", 100_000)+"\r\n"); r[0] != '2' {
		t.Errorf("a line of 100,000 octets: %s", r)
	}
	c.Want("500 5.5.2 ", "NOOP %s", strings.Repeat("x", 2048))
	c.Want("250 ", "NOOP %s", strings.Repeat("x", 2040))
	c.Want("500 ", "AUTH PLAIN %s", strings.Repeat("x", 20_000))
	c.Want("500 5.5.2 ", "NOOP\x00x")
	c.Want("500 5.5.2 ", "NOOP\rx")
	c.Want("250 ", "NOOP")
	all := count(t, s, ann, 2)
	if !strings.Contains(all[1], "\r\n"+strings.Repeat("x", 100_000)+"\r\n") {
		t.Error("the long line is not whole")
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := harness.SMTP(t, s.Addr("smtp"))
	field := "X-Long: " + strings.Repeat("0123456789", 90) + "\r\n"
	if r := c.Send("x@far.test", ann, strings.Repeat(field, 1200)+letter("big header")); !strings.HasPrefix(r, "55") {
		t.Errorf("a header of more than 1 MiB: %s", r)
	}
	if r := c.Send("x@far.test", ann, strings.Repeat(field, 1000)+letter("large header")); r[0] != '2' {
		t.Errorf("a header of less than 1 MiB: %s", r)
	}
	deep := "Content-Type: multipart/mixed; boundary=b0\r\n" + letter("deep")
	for i := range 300 {
		deep += fmt.Sprintf("--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n", i, i+1)
	}
	if r := c.Send("x@far.test", ann, deep); r[0] != '2' && r[0] != '5' {
		t.Errorf("depth: %s", r)
	}
	wide := "Content-Type: multipart/mixed; boundary=b\r\n" + letter("wide") + strings.Repeat("--b\r\n\r\nx\r\n", 20_000) + "--b--\r\n"
	if r := c.Send("x@far.test", ann, wide); r[0] != '2' && r[0] != '5' {
		t.Errorf("parts: %s", r)
	}
	i := s.IMAP(ann, "\""+password+"\"")
	i.Command("SELECT INBOX")
	for _, what := range []string{"ENVELOPE", "BODYSTRUCTURE", "BODY[1.1.1.TEXT]", "BODY.PEEK[HEADER]"} {
		if r := i.Command("FETCH 1:* (%s)", what); !strings.HasPrefix(r, "OK ") {
			t.Errorf("%s: %s", what, r)
		}
	}
}

// TestLogins: ten failed logins end a connection, at every door.
func TestLogins(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	for name, login := range map[string]func(c *harness.Conn) string{
		"submissions": func(c *harness.Conn) string { return c.Say("AUTH PLAIN %s", harness.Plain(ann, "wrong")) },
		"imaps":       func(c *harness.Conn) string { return c.Command("LOGIN %s wrong", ann) },
		"pop3s": func(c *harness.Conn) string {
			if r := c.Say("USER %s", ann); !strings.HasPrefix(r, "+OK") {
				return r
			}
			return c.Say("PASS wrong")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Dial(t, s.Addr(name))
			if err := c.Upgrade(s.TLS()); err != nil {
				t.Fatal(err)
			}
			c.Line()
			if name == "submissions" {
				c.Want("250", "EHLO x.test")
			}
			refused := map[string]string{"submissions": "535 5.7.8 ", "imaps": "NO [AUTHENTICATIONFAILED] ", "pop3s": "-ERR [AUTH] "}[name]
			for i := range 9 {
				if r := login(c); !strings.HasPrefix(r, refused) {
					t.Fatalf("login %d: %s", i+1, r)
				}
			}
			last := login(c)
			ended := map[string]string{"submissions": "421 4.7.0 ", "imaps": "NO ", "pop3s": "-ERR "}[name]
			if !strings.HasPrefix(last, ended) && last != harness.EOF {
				t.Errorf("the tenth: %s", last)
			}
			if l := c.Line(); l != harness.EOF && !strings.HasPrefix(l, "* BYE") {
				t.Errorf("still open: %s", l)
			}
		})
	}
}

// TestBadCommands: twenty bad commands end a connection; a web browser's first ends it.
func TestBadCommands(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	for name, end := range map[string]string{"smtp": "421 4.7.0 ", "submission": "421 4.7.0 ", "lmtp": "421 4.7.0 ", "imap": "* BYE ", "pop3": "-ERR "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.Dial(t, s.Addr(name))
			c.Line()
			var last, before string
			n := 0
			for ; n < 50; n++ {
				c.Put("x" + "XYZZY\r\n")
				l := c.Line()
				if l == harness.EOF {
					break
				}
				before, last = last, l
			}
			if n > 21 || !strings.HasPrefix(last, end) && !strings.HasPrefix(before, end) {
				t.Errorf("after %d: %s, then %s", n, before, last)
			}
		})
		t.Run(name+" http", func(t *testing.T) {
			t.Parallel()
			for _, verb := range []string{"GET / HTTP/1.1", "POST /a HTTP/1.1", "CONNECT x:25 HTTP/1.1"} {
				c := harness.Dial(t, s.Addr(name))
				c.Line()
				c.Put(verb + "\r\nHost: x\r\nMAIL FROM:<>\r\n\r\n")
				c.Line()
				if l := c.Line(); l != harness.EOF {
					t.Errorf("%s: goes on: %s", verb, l)
				}
			}
		})
	}
}

// TestConnections: fifty unauthenticated connections of one address, and no more.
func TestConnections(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	for name, refusal := range map[string]string{"smtp": "421 4.7.0 ", "imap": "* BYE ", "pop3": "-ERR "} {
		var all []*harness.Conn
		taken, refused := 0, ""
		for range 60 {
			c := harness.Dial(t, s.Addr(name))
			all = append(all, c)
			l := c.Line()
			if strings.HasPrefix(l, refusal) {
				refused = l
				break
			}
			taken++
		}
		if taken != 50 || refused == "" {
			t.Errorf("%s: %d taken, then %q", name, taken, refused)
		}
		for _, c := range all {
			_ = c.Close()
		}
		harness.Eventually(t, func() error {
			c := harness.Dial(t, s.Addr(name))
			defer func() { _ = c.Close() }()
			if l := c.Line(); strings.HasPrefix(l, refusal) {
				return fmt.Errorf("%s: not taken again: %s", name, l)
			}
			return nil
		})
	}
}

// TestIMAPLimits: commands and literals before a login are small.
func TestIMAPLimits(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.message = \"128KiB\"\n")
	c := harness.Dial(t, s.Addr("imaps"))
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Line()
	c.Put("a LOGIN {5000}\r\n")
	if l := c.Line(); !strings.HasPrefix(l, "a BAD ") && !strings.HasPrefix(l, "a NO ") {
		t.Errorf("a literal of 5000 octets: %s", l)
	}
	c.Put("b LOGIN {5000+}\r\n" + strings.Repeat("x", 5000) + " y\r\n")
	if l := c.Line(); !strings.HasPrefix(l, "b BAD ") && !strings.HasPrefix(l, "b NO ") && !strings.HasPrefix(l, "* BYE ") {
		t.Errorf("a literal of 5000 octets that does not wait: %s", l)
	}
	c = harness.Dial(t, s.Addr("imaps"))
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Line()
	c.Put("c NOOP " + strings.Repeat("x", 70_000) + "\r\n")
	if l := c.Line(); !strings.HasPrefix(l, "* BYE ") && !strings.Contains(l, " BAD ") {
		t.Errorf("a line of 70,000 octets: %s", l)
	}
	in := s.IMAP(ann, "\""+password+"\"")
	if r := in.Command("APPEND INBOX {200000}"); !strings.HasPrefix(r, "NO [TOOBIG]") && !strings.HasPrefix(r, "NO [LIMIT]") && !strings.HasPrefix(r, "NO ") {
		t.Errorf("APPEND beyond the limit: %s", r)
	} else {
		t.Log(r)
	}
	if r := in.Command("NOOP"); !strings.HasPrefix(r, "OK ") {
		t.Errorf("then NOOP: %s", r)
	}
}
