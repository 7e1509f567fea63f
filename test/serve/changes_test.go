package serve

import (
	"strings"
	"testing"

	"postel/test/harness"
)

// login gives the reply to an IMAP login.
func login(t *testing.T, s *harness.Server, user, password string) string {
	t.Helper()
	c := harness.Dial(t, s.Addr("imaps"))
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Line()
	return c.Command("LOGIN %s \"%s\"", user, password)
}

// TestChangesAtOnce: what a command changes holds at the running server with the command's end.
func TestChangesAtOnce(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	smtp := harness.SMTP(t, s.Addr("smtp"))
	rcpt := func(reply, to string) {
		t.Helper()
		smtp.Say("RSET")
		smtp.Want("250", "MAIL FROM:<x@far.test>")
		smtp.Want(reply, "RCPT TO:<%s>", to)
	}
	rcpt("550 5.1.1 ", "cid@example.test")
	want(t, 0, s.Config, "first\n", "account", "add", "cid@example.test", "--password-stdin")
	rcpt("250 ", "cid@example.test")
	if r := login(t, s, "cid@example.test", "first"); !strings.HasPrefix(r, "OK ") {
		t.Errorf("%s", r)
	}
	want(t, 0, s.Config, "second", "account", "passwd", "cid@example.test", "--password-stdin")
	if r := login(t, s, "cid@example.test", "first"); !strings.HasPrefix(r, "NO [AUTHENTICATIONFAILED]") { // though it was right a moment ago
		t.Errorf("%s", r)
	}
	if r := login(t, s, "cid@example.test", "second"); !strings.HasPrefix(r, "OK ") {
		t.Errorf("%s", r)
	}
	open := s.IMAP("cid@example.test", "second")
	open.Command("SELECT INBOX")
	want(t, 0, s.Config, "", "account", "rm", "cid@example.test")
	rcpt("550 5.1.1 ", "cid@example.test")
	if r := login(t, s, "cid@example.test", "second"); !strings.HasPrefix(r, "NO ") {
		t.Errorf("%s", r)
	}
	if r := open.Command("STATUS Sent (MESSAGES)"); strings.HasPrefix(r, "OK ") {
		t.Errorf("a session of an account that is gone: %s", r)
	}
	want(t, 0, s.Config, "third", "account", "add", "cid@example.test", "--password-stdin")
	if n := len(s.Inbox("cid@example.test", "third")); n != 0 {
		t.Errorf("the new account has %d messages of the old one", n)
	}
	rcpt("550 5.7.1 ", "x@new.test")
	want(t, 0, s.Config, "", "domain", "add", "new.test", "--catchall", ben)
	rcpt("250 ", "x@new.test")
	want(t, 0, s.Config, "", "alias", "add", "y@new.test", ann)
	want(t, 1, s.Config, "", "domain", "rm", "new.test") // it has an alias
	want(t, 0, s.Config, "", "alias", "rm", "y@new.test")
	want(t, 0, s.Config, "", "domain", "rm", "new.test")
	rcpt("550 5.7.1 ", "x@new.test")
}
