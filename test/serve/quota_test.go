package serve

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestQuotas has an account and a domain fill up: what is said at RCPT, by LMTP for each recipient, and to APPEND, over a
// kill -9, and how an operator makes room.
func TestQuotas(t *testing.T) {
	t.Parallel()
	file := harness.WriteConfig(t, strings.Replace(company, "[[domain]]", "[[domain]]\nquota = \"39KiB\"\nmessages = 9", 1))
	addAccounts(t, file)
	s := harness.ServeFile(t, file)
	want(t, 0, file, "", "account", "quota", ben, "10KiB")
	ten := letter("ten") + strings.Repeat("0123456789abcdef\r\n", 9_950/18)
	c := harness.SMTP(t, s.Addr("smtp"))
	send := func(code, to, text string) {
		t.Helper()
		if r := c.Send("x@far.test", to, text); !strings.HasPrefix(r, code) {
			t.Errorf("%s: %q, want %s", to, r, code)
		}
		c.Want("250", "RSET")
	}
	sized := func(code, to string, size int) {
		t.Helper()
		c.Want("250", "MAIL FROM:<x@far.test> SIZE=%d", size)
		c.Want(code, "RCPT TO:<%s>", to)
		c.Want("250", "RSET")
	}
	sized("250", ben, 9_000)
	sized("552 5.2.2", ben, 11_000)
	send("250", ben, ten)
	sized("452 4.2.2", ben, 1_000)
	sized("250", ann, 25_000)
	sized("452 4.2.2", ann, 35_000) // the domain
	sized("552 5.2.2", ann, 45_000)
	send("250", ann, ten)
	send("250", ann, ten)
	send("250", ann, ten)
	send("452 4.2.2", ann, ten) // not announced, but full already
	s.Kill()

	s = harness.ServeFile(t, file)
	c = harness.SMTP(t, s.Addr("smtp"))
	sized("452 4.2.2", ann, 2_000)
	if out := want(t, 0, file, "", "domain", "quota", "example.test"); !strings.Contains(out, "39KiB") || !strings.Contains(out, "4 messages of 9") {
		t.Errorf("domain quota: %s", out)
	}
	imap := s.IMAP(ann, "\""+password+"\"")
	text := strings.Repeat("x", 3000)
	imap.Put(fmt.Sprintf("a APPEND INBOX {%d}\r\n", len(text)))
	if l := imap.Line(); strings.HasPrefix(l, "+") {
		imap.Put(text + "\r\n")
		if l := imap.Line(); !strings.HasPrefix(l, "a NO [OVERQUOTA]") {
			t.Errorf("APPEND: %s", l)
		}
	} else if !strings.HasPrefix(l, "a NO [OVERQUOTA]") {
		t.Errorf("APPEND: %s", l)
	}
	imap.Command("SELECT INBOX")
	imap.Command("STORE 1:2 +FLAGS (\\Deleted)")
	imap.Command("EXPUNGE")
	sized("250", ann, 2_000)
	for range 7 {
		c.Send("x@far.test", ann, letter("small"))
	}
	send("452 4.2.2", ann, letter("the tenth"))
	want(t, 0, file, "", "domain", "quota", "example.test", "--messages", "none")
	send("250", ann, letter("the tenth"))
	want(t, 0, file, "", "account", "quota", ben, "none")
	sized("250", ben, 11_000)
	want(t, 2, file, "", "account", "quota", ben, "much")
	want(t, 1, file, "", "account", "quota", "nobody@example.test")
	want(t, 1, file, "", "domain", "quota", "nowhere.test", "1GiB")
}

// TestFullForGood: by the operator's choice a full mailbox refuses for good.
func TestFullForGood(t *testing.T) {
	t.Parallel()
	s := open(t, "limits.over_quota = \"never\"\n")
	want(t, 0, s.Config, "", "account", "quota", ann, "10KB")
	c := harness.SMTP(t, s.Addr("smtp"))
	c.Want("250", "MAIL FROM:<x@far.test> SIZE=9000")
	c.Want("250", "RCPT TO:<%s>", ann)
	c.Want("354", "DATA")
	c.Want("250", "%s.", letter("large")+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 130))
	c.Want("250", "MAIL FROM:<x@far.test> SIZE=1000")
	c.Want("552 5.2.2 ", "RCPT TO:<%s>", ann)
}
