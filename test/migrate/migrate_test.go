// Package migrate is the story of a server whose data moves from one storage to another.
package migrate

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postel/internal/blob/s3test"
	"postel/internal/kv/pgtest"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice = "alice@postel.test"
	bob   = "bob@postel.test"
)

func letter(name string, lines int) string {
	return fmt.Sprintf("From: x@far.test\r\nSubject: %s\r\n\r\n%s", name, strings.Repeat("a line of "+name+"\r\n", lines))
}

// fill has mail come, of all sizes, and gives what readers see.
func fill(t *testing.T, s *harness.Server) map[string][]string {
	t.Helper()
	c := harness.SMTP(t, s.Addr("smtp"))
	for i := range 30 {
		lines := 3
		if i%10 == 0 {
			lines = 20_000
		}
		if r := c.Send("x@far.test", []string{alice, bob}[i%2], letter(fmt.Sprint("m", i), lines)); r[0] != '2' {
			t.Fatal(r)
		}
	}
	im := s.IMAP(alice, "postel")
	defer im.Close()
	for _, cmd := range []string{"CREATE Work", "SELECT INBOX", "STORE 1:3 +FLAGS (\\Seen red)", "COPY 2:5 Work", "UID EXPUNGE 1"} {
		if r := im.Command("%s", cmd); !strings.HasPrefix(r, "OK") && !strings.HasPrefix(cmd, "UID") {
			t.Fatal(cmd, r)
		}
	}
	return seen(t, s)
}

// seen gives what clients see: all of INBOX, and the flags and UIDs of each mailbox.
func seen(t *testing.T, s *harness.Server) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, user := range []string{alice, bob} {
		out[user] = s.Inbox(user, "postel")
		c := s.IMAP(user, "postel")
		for _, box := range []string{"INBOX", "Work"} {
			if r := c.Command("EXAMINE %s", box); strings.HasPrefix(r, "OK") {
				_, out[user+" "+box] = c.Untagged("FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)")
				_, st := c.Untagged("STATUS %s (UIDNEXT UIDVALIDITY MESSAGES)", box)
				out[user+" "+box] = append(out[user+" "+box], st...)
			}
		}
		c.Close()
	}
	return out
}

func same(t *testing.T, what string, got, want map[string][]string) {
	t.Helper()
	if len(got[alice]) != 15 || len(want[alice+" Work"]) != 5 {
		t.Errorf("%s: %d and %d", what, len(got[alice]), len(want[alice+" Work"]))
	}
	for k, v := range want {
		if !slices.Equal(got[k], v) {
			t.Errorf("%s: %s is not what it was", what, k)
		}
	}
}

// migrate runs the command and gives its result.
func migrate(t *testing.T, args ...string) (r struct{ Rows, Bodies int }) {
	t.Helper()
	out, code := harness.Run(t, "", harness.Binary(t), append([]string{"migrate", "--json"}, args...)...)
	if code != 0 || json.Unmarshal([]byte(out), &r) != nil {
		t.Fatal(code, out)
	}
	return r
}

func refused(t *testing.T, want string, code int, args ...string) {
	t.Helper()
	out, got := harness.Run(t, "", harness.Binary(t), append([]string{"migrate"}, args...)...)
	if got != code || !strings.Contains(out, want) {
		t.Errorf("%q: %d %q, want %d and %q", args, got, out, code, want)
	}
}

// TestDirectories moves a data directory to another; nobody moves one that is in use, missing, or not empty.
func TestDirectories(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	s := harness.Dev(t, "--data", a)
	want := fill(t, s)
	refused(t, "another postel runs on", 1, "--from", "embedded:"+a, "--to", "embedded:"+b)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if r := migrate(t, "--from", "embedded:"+a, "--to", "embedded:"+b); r.Rows < 200 || r.Bodies != 3 {
		t.Errorf("%+v", r)
	}
	refused(t, "is not empty", 1, "--from", "embedded:"+a, "--to", "embedded:"+b)
	refused(t, "no unfinished migration", 2, "--from", "embedded:"+a, "--to", "embedded:"+b, "--resume")
	refused(t, "is no data directory", 1, "--from", "embedded:"+dir+"/none", "--to", "embedded:"+dir+"/c")
	refused(t, "same place", 2, "--from", "embedded:"+a, "--to", "embedded:"+a)
	refused(t, "both", 2, "--from", "embedded:"+a)
	refused(t, "want", 2, "--from", "embedded:"+a, "--to", "mysql://u:secret@h/d")
	if _, err := os.Stat(dir + "/none"); err == nil {
		t.Error("a source was made")
	}
	same(t, "the new directory", seen(t, harness.Dev(t, "--data", b)), want)
	same(t, "the old directory", seen(t, harness.Dev(t, "--data", a)), want)
}

// TestDatabase moves a data directory into PostgreSQL and a bucket, and from there into another directory.
func TestDatabase(t *testing.T) {
	t.Parallel()
	pg := pgtest.Start(t, false)
	bucket := s3test.Versity(t) + "/mail/prefix"
	dir := harness.Dir(t)
	a, c := filepath.Join(dir, "a"), filepath.Join(dir, "c")
	s := harness.Dev(t, "--data", a)
	want := fill(t, s)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	url := pg.URL(t)
	refused(t, "say where they are to go", 2, "--from", "embedded:"+a, "--to", url)
	if r := migrate(t, "--from", "embedded:"+a, "--to", url, "--to-blobs", bucket, "--resume"); r.Bodies != 3 {
		t.Errorf("%+v", r)
	}
	s = harness.Dev(t, "--data", filepath.Join(dir, "b"), "--storage", url, "--blobs", bucket)
	same(t, "the database", seen(t, s), want)
	s.Kill()
	if r := migrate(t, "--from", url, "--from-blobs", bucket, "--to", "embedded:"+c); r.Bodies != 3 {
		t.Errorf("%+v", r)
	}
	same(t, "back in a directory", seen(t, harness.Dev(t, "--data", c)), want)
}
