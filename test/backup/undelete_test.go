// Package backup tells how mail that was lost comes back: undelete, backup and restore, with the real binary and bare
// clients that remember what they saw.
package backup

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const alice, password = "alice@postel.test", "postel"

func text(subject string) string {
	return fmt.Sprintf("From: bob@postel.test\r\nTo: alice@postel.test\r\nSubject: %s\r\nMessage-ID: <%s@postel.test>\r\n\r\nIt is about %s.\r\n",
		subject, strings.ReplaceAll(subject, " ", "-"), subject)
}

// send delivers messages to alice's INBOX.
func send(t *testing.T, s *harness.Server, subjects ...string) {
	t.Helper()
	c := harness.SMTP(t, s.Addr("smtp"))
	defer func() { _ = c.Close() }()
	for _, subject := range subjects {
		if r := c.Send("bob@postel.test", alice, text(subject)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
}

func ok(t *testing.T, c *harness.Conn, format string, args ...any) {
	t.Helper()
	if r := c.Command(format, args...); !strings.HasPrefix(r, "OK") {
		t.Fatalf("%s: %s", fmt.Sprintf(format, args...), r)
	}
}

func subjects(mails []string) string {
	var all []string
	for _, m := range mails {
		_, after, _ := strings.Cut(m, "Subject: ")
		s, _, _ := strings.Cut(after, "\r\n")
		all = append(all, s)
	}
	return strings.Join(all, ",")
}

// pop logs in by POP3 and gives what UIDL lists.
func pop(t *testing.T, s *harness.Server) (*harness.Conn, []string) {
	t.Helper()
	c := harness.Dial(t, s.Addr("pop3"))
	c.Line()
	for _, line := range []string{"USER " + alice, "PASS " + password, "UIDL"} {
		c.Put(line + "\r\n")
		if r := c.Line(); !strings.HasPrefix(r, "+OK") {
			t.Fatalf("%s: %s", line, r)
		}
	}
	var all []string
	for l := c.Line(); l != "." && l != harness.EOF; l = c.Line() {
		all = append(all, strings.Fields(l)[1])
	}
	return c, all
}

func postel(t *testing.T, s *harness.Server, want int, args ...string) string {
	t.Helper()
	out, code := s.Postel(args...)
	if code != want {
		t.Fatalf("postel %s: %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// TestUndelete expunges by IMAP, by POP3 and with a whole mailbox, and brings all of it back.
func TestUndelete(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	send(t, s, "one", "two", "three")
	c := s.IMAP(alice, password)
	ok(t, c, "CREATE work")
	ok(t, c, "SELECT INBOX")
	ok(t, c, "COPY 3 work")
	ok(t, c, `STORE 1,3 +FLAGS.SILENT (\Seen \Deleted $Label)`)
	ok(t, c, "EXPUNGE")
	p, uidls := pop(t, s)
	p.Put("DELE 1\r\nQUIT\r\n")
	for l := p.Line(); l != harness.EOF; l = p.Line() {
		if !strings.HasPrefix(l, "+OK") {
			t.Fatal(l)
		}
	}
	ok(t, c, "DELETE work")
	if got := subjects(s.Inbox(alice, password)); got != "" {
		t.Fatal(got)
	}
	out := postel(t, s, 0, "account", "undelete", alice, "--list", "--json")
	var listed []string
	for d := json.NewDecoder(strings.NewReader(out)); d.More(); {
		var x struct{ Mailbox, Subject string }
		if err := d.Decode(&x); err != nil {
			t.Fatal(err)
		}
		listed = append(listed, x.Mailbox+":"+x.Subject)
	}
	if got := strings.Join(listed, " "); got != "INBOX:one INBOX:two work:three" {
		t.Error(got)
	}
	postel(t, s, 0, "account", "undelete", alice, "--mailbox", "work")
	if out := postel(t, s, 0, "account", "undelete", alice, "--since", "1h"); !strings.HasPrefix(out, "2 messages are back") {
		t.Error(out)
	}
	if got := subjects(s.Inbox(alice, password)); got != "one,two" {
		t.Error(got)
	}
	ok(t, c, "NOOP")
	_, lines := c.Untagged("FETCH 1 FLAGS")
	if got := strings.Join(lines, " "); !strings.Contains(got, `\Seen`) || !strings.Contains(got, "$Label") || strings.Contains(got, `\Deleted`) {
		t.Error(got)
	}
	ok(t, c, "STATUS work (MESSAGES)")
	if _, again := pop(t, s); len(again) != 2 || again[1] == uidls[0] || !strings.HasPrefix(again[1], uidls[0]) {
		t.Errorf("UIDL was %v and is %v: want a new copy of the same email", uidls, again)
	}
	ok(t, c, "SELECT INBOX")
	ok(t, c, `STORE 1:* +FLAGS.SILENT \Deleted`)
	ok(t, c, "EXPUNGE")
	postel(t, s, 0, "account", "quota", alice, "1")
	if out := postel(t, s, 1, "account", "undelete", alice); !strings.HasPrefix(out, "0 messages are back") || !strings.Contains(out, "2 have no room") {
		t.Error(out)
	}
	postel(t, s, 0, "account", "undelete", alice, "--purge")
	if out := postel(t, s, 0, "account", "undelete", alice); !strings.HasPrefix(out, "0 messages are back") {
		t.Error(out)
	}
	postel(t, s, 1, "account", "undelete", "nobody@postel.test")
	postel(t, s, 2, "account", "undelete", alice, "--since", "yesterday")
}
