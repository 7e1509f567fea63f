package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/test/harness"
)

// seen is what a client knows of a mailbox.
func seen(t *testing.T, s *harness.Server) string {
	t.Helper()
	c := s.IMAP(alice, password)
	defer func() { _ = c.Close() }()
	ok(t, c, "EXAMINE INBOX")
	_, lines := c.Untagged("UID FETCH 1:* (FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")
	return strings.NewReplacer(`\Recent `, "", ` \Recent`, "", `\Recent`, "").Replace(strings.Join(lines, "\n"))
}

// TestBackupAndRestore loses a whole data directory, and has all of it back from a chain of three archives.
func TestBackupAndRestore(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	data := filepath.Join(dir, "data")
	s := harness.Dev(t, "--data", data)
	send(t, s, "one", "two", "three")
	c := s.IMAP(alice, password)
	ok(t, c, "CREATE work")
	ok(t, c, "SELECT INBOX")
	ok(t, c, `STORE 1 +FLAGS.SILENT (\Seen $Label)`)
	ok(t, c, "COPY 2 work")
	archives := []string{filepath.Join(dir, "1.backup"), filepath.Join(dir, "2.backup"), filepath.Join(dir, "3.backup")}
	postel(t, s, 0, "backup", archives[0])
	if info, err := os.Stat(archives[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	send(t, s, "four")
	postel(t, s, 0, "backup", archives[1], "--since", archives[0])
	ok(t, c, `STORE 2 +FLAGS.SILENT (\Deleted)`)
	ok(t, c, "EXPUNGE")
	send(t, s, "five")
	postel(t, s, 0, "backup", archives[2], "--since", archives[1])
	postel(t, s, 1, "backup", archives[2]) // nothing is overwritten
	p, uidls := pop(t, s)
	p.Put("QUIT\r\n")
	want := seen(t, s)
	s.Kill()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	restore := append([]string{"restore"}, archives...)
	out, code := harness.Run(t, "", harness.Binary(t), append(restore, "--data", data)...)
	if code != 0 {
		t.Fatal(out)
	}
	s = harness.Dev(t, "--data", data)
	if got := seen(t, s); got != want {
		t.Errorf("was:\n%s\nis:\n%s", want, got)
	}
	p, again := pop(t, s)
	p.Put("QUIT\r\n")
	if strings.Join(again, " ") != strings.Join(uidls, " ") {
		t.Errorf("UIDL was %v and is %v", uidls, again)
	}
	if out := postel(t, s, 0, restore...); !strings.HasPrefix(out, "0 messages are back") {
		t.Error(out)
	}
	t.Run("parts", func(t *testing.T) { parts(t, s, archives) })
	t.Run("damage", func(t *testing.T) { damage(t, s, archives) })
}

// parts brings back a message and a mailbox into the running server, and an account's mail into another.
func parts(t *testing.T, s *harness.Server, archives []string) {
	c := s.IMAP(alice, password)
	ok(t, c, "SELECT INBOX")
	ok(t, c, `STORE 1:* +FLAGS.SILENT \Deleted`)
	ok(t, c, "EXPUNGE")
	ok(t, c, "DELETE work")
	restore := append([]string{"restore"}, archives...)
	postel(t, s, 0, append(restore, "--account", alice, "--message", "<three@postel.test>")...)
	if got := subjects(s.Inbox(alice, password)); got != "three" {
		t.Error(got)
	}
	if out := postel(t, s, 0, append(restore, "--account", alice, "--mailbox", "work", "--dry-run")...); !strings.HasPrefix(out, "1 messages") {
		t.Error(out)
	}
	postel(t, s, 0, append(restore, "--account", alice, "--mailbox", "work")...)
	ok(t, c, "SELECT work")
	postel(t, s, 0, append(restore, "--account", alice)...)
	if got := subjects(s.Inbox(alice, password)); got != "three,one,four,five" {
		t.Error(got)
	}
	postel(t, s, 0, append(restore, "--account", alice, "--to", "bob@postel.test", "--since", "1d")...)
	if got := subjects(s.Inbox("bob@postel.test", password)); got != "one,three,four,five" {
		t.Error(got)
	}
	postel(t, s, 1, append(restore, "--account", "nobody@postel.test")...)
	postel(t, s, 2, append(restore, "--to", alice)...)
}

// damage cuts an archive and has that named.
func damage(t *testing.T, s *harness.Server, archives []string) {
	b, err := os.ReadFile(archives[0])
	if err != nil {
		t.Fatal(err)
	}
	postel(t, s, 0, append([]string{"backup", "verify"}, archives...)...)
	b[len(b)/2] ^= 0x20
	bad := filepath.Join(filepath.Dir(archives[0]), "bad.backup")
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if out := postel(t, s, 1, "backup", "verify", bad); !strings.Contains(out, "damaged") {
		t.Error(out)
	}
	if err := os.WriteFile(bad, []byte("not an archive at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := postel(t, s, 2, "restore", bad); !strings.Contains(out, "no archive") {
		t.Error(out)
	}
}
