package serve

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// TestSessionsSeeEachOther: what one session does, the others are told: in IDLE within a second, else at their next
// command.
func TestSessionsSeeEachOther(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	user := func() *harness.Conn {
		c := s.IMAP(ann, "\""+password+"\"")
		if r := c.Command("SELECT INBOX"); !strings.HasPrefix(r, "OK ") {
			t.Fatal(r)
		}
		return c
	}
	idle, busy, actor := user(), user(), user()
	idle.Put("i IDLE\r\n")
	if l := idle.Line(); !strings.HasPrefix(l, "+") {
		t.Fatal(l)
	}
	heard := func(what string) {
		t.Helper()
		begin := time.Now()
		for time.Since(begin) < 5*time.Second {
			if l := idle.Line(); strings.Contains(l, what) {
				if d := time.Since(begin); d > time.Second {
					t.Errorf("%s was heard after %v", what, d)
				}
				return
			}
		}
		t.Errorf("%s was not heard", what)
	}
	smtp := harness.SMTP(t, s.Addr("smtp"))
	for i := range 3 {
		if r := smtp.Send("x@far.test", ann, letter(fmt.Sprint("seen ", i))); r[0] != '2' {
			t.Fatal(r)
		}
		heard(fmt.Sprintf("* %d EXISTS", i+1))
	}
	actor.Command("NOOP")
	if _, lines := busy.Untagged("NOOP"); !strings.Contains(strings.Join(lines, "\n"), "* 3 EXISTS") {
		t.Errorf("%v", lines)
	}
	actor.Command(`STORE 1 +FLAGS (\Seen \Deleted)`)
	heard(`\Deleted`)
	actor.Command("EXPUNGE")
	heard("* 1 EXPUNGE")
	r, lines := busy.Untagged("FETCH 1:* (UID)") // which never tells of an expunge (RFC 3501 §7.4.1)
	if all := strings.Join(lines, "\n"); strings.Contains(all, "EXPUNGE") || !strings.HasPrefix(r, "OK ") {
		t.Errorf("%s\n%s", r, all)
	}
	if _, lines := busy.Untagged("NOOP"); !strings.Contains(strings.Join(lines, "\n"), "* 1 EXPUNGE") {
		t.Errorf("%v", lines)
	}
	if _, lines := busy.Untagged("UID SEARCH ALL"); strings.Join(lines, "") != "* SEARCH 2 3" {
		t.Errorf("%v", lines)
	}
	idle.Put("DONE\r\n")
	if l := idle.Line(); !strings.HasPrefix(l, "i OK") {
		t.Errorf("%s", l)
	}
}

// TestSessionsOfAUser: twenty of one user from one address; a maildrop is open to one.
func TestSessionsOfAUser(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	n := 0
	for ; n < 25; n++ {
		c := harness.Dial(t, s.Addr("imaps"))
		if err := c.Upgrade(s.TLS()); err != nil {
			t.Fatal(err)
		}
		c.Line()
		if r := c.Command("LOGIN %s \"%s\"", ann, password); !strings.HasPrefix(r, "OK ") {
			if !strings.HasPrefix(r, "NO [LIMIT]") && !strings.HasPrefix(r, "NO [UNAVAILABLE]") && r != harness.EOF {
				t.Errorf("%s", r)
			}
			break
		}
	}
	if n != 20 {
		t.Errorf("%d sessions of one user", n)
	}
	pop := func() (*harness.Conn, string) {
		c := harness.Dial(t, s.Addr("pop3s"))
		if err := c.Upgrade(s.TLS()); err != nil {
			t.Fatal(err)
		}
		c.Line()
		c.Say("USER %s", ben)
		return c, c.Say("PASS %s", password)
	}
	first, r := pop()
	if !strings.HasPrefix(r, "+OK") {
		t.Fatal(r)
	}
	if _, r := pop(); !strings.HasPrefix(r, "-ERR [IN-USE]") {
		t.Errorf("the second: %s", r)
	}
	_ = first.Close() // without QUIT
	harness.Eventually(t, func() error {
		if c, r := pop(); !strings.HasPrefix(r, "+OK") {
			return fmt.Errorf("after the first has gone: %s", r)
		} else {
			c.Say("QUIT")
		}
		return nil
	})
}

// TestLMTP: one reply a recipient, and a message that was here before is a loop.
func TestLMTP(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	c := harness.Dial(t, s.Addr("lmtp"))
	c.Reply()
	c.Want("500 ", "EHLO x.test")
	c.Want("250", "LHLO x.test")
	c.Want("250", "MAIL FROM:<x@far.test>")
	c.Want("250", "RCPT TO:<%s>", ann)
	c.Want("550 5.1.1 ", "RCPT TO:<nobody@example.test>")
	c.Want("250", "RCPT TO:<%s>", ben)
	c.Want("354", "DATA")
	c.Put("Delivered-To: " + ben + "\r\n" + letter("lmtp") + ".\r\n")
	if r := c.Reply(); !strings.HasPrefix(r, "250 2.0.0 <"+ann+"> ") && !strings.HasPrefix(r, "250 2.1.5 <"+ann+"> ") {
		t.Errorf("%s", r)
	}
	if r := c.Reply(); !strings.HasPrefix(r, "554 5.4.6 <"+ben+"> ") {
		t.Errorf("%s", r)
	}
	if m := count(t, s, ann, 1)[0]; !strings.Contains(m, "with LMTP") {
		t.Errorf("%s", m)
	}
	count(t, s, ben, 0)
	smtp := harness.SMTP(t, s.Addr("smtp"))
	if r := smtp.Send("x@far.test", ann, "Delivered-To: "+ann+"\r\n"+letter("loop")); !strings.HasPrefix(r, "554 5.4.6 ") {
		t.Errorf("%s", r)
	}
}
