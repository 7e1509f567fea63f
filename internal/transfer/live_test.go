package transfer

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"postel/internal/mail"
)

// moving is a maildir whose messages others move while it is read.
type moving struct {
	t   *testing.T
	dir string
}

func newMoving(t *testing.T) *moving {
	m := &moving{t, t.TempDir()}
	for _, sub := range []string{"cur", "new", "tmp"} {
		if err := os.Mkdir(filepath.Join(m.dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func (m *moving) add(names ...string) {
	m.t.Helper()
	for _, n := range names {
		if err := os.WriteFile(filepath.Join(m.dir, n), []byte("Subject: "+filepath.Base(n)+"\n\n"), 0o600); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *moving) move(from, to string) {
	m.t.Helper()
	if err := os.Rename(filepath.Join(m.dir, from), filepath.Join(m.dir, to)); err != nil {
		m.t.Fatal(err)
	}
}

// read gives the subjects in their order; after is called behind each, with how many there were.
func (m *moving) read(o Options, after func(n int)) (all []string) {
	m.t.Helper()
	s, err := Open("maildir", m.dir, o)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for msg, err := range s.Messages(context.Background()) {
		if err != nil {
			m.t.Fatal(err)
		}
		r, err := msg.Open()
		if err != nil {
			m.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			m.t.Fatal(err)
		}
		line, _, _ := strings.Cut(strings.TrimPrefix(string(b), "Subject: "), "\r\n")
		all = append(all, line)
		after(len(all))
	}
	return all
}

// TestMaildirInUse: a message that moves from new to cur behind the import's back, or is renamed because somebody read
// it, is imported by the same run, once; one that is expunged meanwhile is no error.
func TestMaildirInUse(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	m.add("cur/1.a:2,", "cur/2.a:2,", "cur/3.a:2,", "cur/9.a:2,", "new/4.a", "new/5.a", "new/6.a")
	got := m.read(Options{}, func(n int) {
		switch n {
		case 1: // cur has been listed
			m.move("cur/2.a:2,", "cur/2.a:2,S")
			m.move("new/4.a", "cur/4.a:2,S")
			if err := os.Remove(filepath.Join(m.dir, "cur", "9.a:2,")); err != nil {
				t.Fatal(err)
			}
		case 4: // 1 3 5 6, and 2 and 4 are to be found again
			m.move("cur/1.a:2,", "cur/1.a:2,RS")
		case 6:
			m.add("new/7.a")
		}
	})
	want := []string{"1.a:2,", "3.a:2,", "5.a", "6.a", "2.a:2,", "4.a", "7.a"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, not %q", got, want)
	}
}

// TestMaildirNeverStill: an import of a maildir in which messages move all the time ends, and says so.
func TestMaildirNeverStill(t *testing.T) {
	t.Parallel()
	m := newMoving(t)
	var told []string
	m.add("cur/0.a:2,", "cur/1.a:2,")
	at := "cur/1.a:2,"
	got := m.read(Options{Skipped: func(s string) { told = append(told, s) }}, func(n int) {
		to := fmt.Sprintf("cur/1.a:2,%s", strings.Repeat("S", n))
		m.move(at, to)
		at = to
		m.add(fmt.Sprintf("cur/0.%d:2,", n))
	})
	if len(got) != maxPasses || len(told) != 1 || !strings.Contains(told[0], "run it again") {
		t.Errorf("%q, %q", got, told)
	}
}

// TestMessageOfAnyName: a file that was named is the message, whatever its name ends in; a directory without any that
// looks like one is no success, and neither is an mbox.
func TestMessageOfAnyName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"letter.txt": letter, "letter": letter, "box": "From a@b Mon Nov  2 10:00:00 2026\n" + letter} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"letter.txt": "", "letter": "", "box": "import mbox", "": ".eml or .msg"} {
		s, err := Open("eml", filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for msg, merr := range s.Messages(context.Background()) {
			if err = merr; err == nil {
				n++
				_, err = msg.Open()
			}
		}
		if want == "" && (n != 1 || err != nil) || want != "" && (n != 0 || !mail.Is(err, mail.Invalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %d, %v", name, n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
