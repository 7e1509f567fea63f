package serve

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// proxied makes loopback a balancer, so that a test can come from any address.
const proxied = "proxy.trusted = [\"127.0.0.0/8\"]\n"

// from connects as a client.
func from(t *testing.T, addr, client string) (c *harness.Conn, greeting string) {
	t.Helper()
	c = harness.Dial(t, addr)
	c.Put(fmt.Sprintf("PROXY TCP4 %s 192.0.2.1 4000 25\r\n", client))
	return c, c.Line()
}

// TestRates: who comes too often, or brings too much, is told to come later; others are served.
func TestRates(t *testing.T) {
	t.Parallel()
	s := open(t, proxied+"limits.connections_per_minute = 3\nlimits.messages_per_minute = 2\nlimits.recipients_per_minute = 4\n")
	smtp := s.Addr("smtp")
	c, _ := from(t, smtp, "203.0.113.1")
	c.Want("250", "EHLO x.test")
	c.Want("250", "MAIL FROM:<x@far.test>")
	c.Want("250", "RSET")
	c.Want("250", "MAIL FROM:<x@far.test>")
	for range 4 {
		c.Want("250", "RCPT TO:<%s>", ann)
	}
	c.Want("450 4.7.1 ", "RCPT TO:<%s>", ben)
	c.Want("250", "RSET")
	c.Want("450 4.7.1 ", "MAIL FROM:<x@far.test>")
	for range 2 {
		from(t, smtp, "203.0.113.1")
	}
	if _, l := from(t, smtp, "203.0.113.1"); !strings.HasPrefix(l, "421 4.7.0 ") {
		t.Errorf("the fourth connection: %s", l)
	}
	if _, l := from(t, smtp, "198.51.100.1"); !strings.HasPrefix(l, "220 ") {
		t.Errorf("another client: %s", l)
	}
}

// TestGuessedNames: who guesses at recipients waits from the tenth on, and is sent away at the twentieth.
func TestGuessedNames(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.bad_recipients = 4\n")
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("250", "MAIL FROM:<x@far.test>")
	begun := time.Now()
	c.Want("550 5.1.1 ", "RCPT TO:<a@example.test>")
	c.Want("550 5.1.1 ", "RCPT TO:<b@example.test>")
	c.Want("550 5.1.1 ", "RCPT TO:<c@example.test>")
	if d := time.Since(begun); d < 2*time.Second {
		t.Errorf("two refusals came late after %s", d)
	}
	c.Want("421 4.7.0 ", "RCPT TO:<d@example.test>")
	if l := c.Line(); l != harness.EOF {
		t.Errorf("still open: %s", l)
	}
}

// TestFailedLogins: after too many failed logins of a network at any door, logins from there are put off, right ones too.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	s := open(t, proxied+"limits.failed_logins_per_hour = 2\n")
	login := func(name, client, password string) string {
		c := harness.Dial(t, s.Addr(name))
		c.Put(fmt.Sprintf("PROXY TCP4 %s 192.0.2.1 4000 25\r\n", client))
		if err := c.Upgrade(s.TLS()); err != nil {
			t.Fatal(err)
		}
		c.Line()
		switch name {
		case "imaps":
			return c.Command("LOGIN %s %q", ann, password)
		case "pop3s":
			c.Say("USER %s", ann)
			return c.Say("PASS %s", password)
		}
		c.Want("250", "EHLO x.test")
		return c.Say("AUTH PLAIN %s", harness.Plain(ann, password))
	}
	const client, other = "203.0.113.1", "198.51.100.1"
	for _, tt := range []struct{ door, client, password, want string }{
		{"imaps", client, "wrong", "NO [AUTHENTICATIONFAILED]"},
		{"submissions", client, "wrong", "535 5.7.8 "},
		{"submissions", client, password, "454 4.7.0 "},
		{"imaps", client, password, "NO [UNAVAILABLE]"},
		{"pop3s", client, password, "-ERR [SYS/TEMP]"},
		{"imaps", other, password, "OK "},
	} {
		if got := login(tt.door, tt.client, tt.password); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s from %s: %s, want %s", tt.door, tt.client, got, tt.want)
		}
	}
}

// TestSubmissionLimits: what one user may send has a bound, of which the postmaster is told once; what is told of the
// client is for the operator to choose.
func TestSubmissionLimits(t *testing.T) {
	t.Parallel()
	s := open(t, "submission.recipients_per_day = 3\nsubmission.messages_per_minute = 4\nsubmission.client_address = \"hidden\"\n")
	c := s.Submission(ben, password)
	mine := "From: " + ben + "\r\n" + letter("x")[len("From: x@far.test\r\n"):]
	for range 2 {
		if r := c.Send(ben, ben, mine); r[0] != '2' {
			t.Error(r)
		}
	}
	if m := count(t, s, ben, 2)[0]; !strings.Contains(m, "\r\nReceived: by ") || strings.Contains(m, "127.0.0.1") {
		t.Errorf("not hidden: %s", m)
	}
	c.Want("250", "MAIL FROM:<%s>", ben)
	c.Want("250", "RCPT TO:<%s>", ben)
	c.Want("450 4.7.1 ", "RCPT TO:<%s>", ben)
	c.Want("450 4.7.1 ", "RCPT TO:<%s>", ben)
	c.Want("250", "RSET")
	c.Want("250", "MAIL FROM:<%s>", ben)
	c.Want("250", "RSET")
	c.Want("450 4.7.1 ", "MAIL FROM:<%s>", ben)
	c = s.Submission(ann, password)
	c.Want("250", "MAIL FROM:<%s>", ann)
	if m := count(t, s, ann, 1)[0]; !strings.Contains(m, "Subject: "+ben+" has reached the limit of 3 recipients a day\r\n") {
		t.Errorf("the postmaster has %s", m)
	}
}
