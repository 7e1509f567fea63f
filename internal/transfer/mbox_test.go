package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// got is a message of a source as tests compare it.
type got struct {
	Mailbox, Content string
	Flags            []string
}

// drain reads a whole source.
func drain(t testing.TB, s Source) []got {
	t.Helper()
	var all []got
	for m, err := range s.Messages(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Open()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		all = append(all, got{m.Mailbox, string(b), m.Flags})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return all
}

// readMbox reads an mbox in memory.
func readMbox(text string) (all []mboxItem, contents []string, err error) {
	m, err := newMbox(strings.NewReader(text))
	if err != nil {
		return nil, nil, err
	}
	for {
		var it mboxItem
		if err := m.next(&it); errors.Is(err, io.EOF) {
			return all, contents, nil
		} else if err != nil {
			return nil, nil, err
		}
		r, err := it.content.open()
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, nil, err
		}
		all, contents = append(all, it), append(contents, string(b))
	}
}

// TestMbox has the kinds of mbox that are met: RFC 4155, mboxo, mboxrd, mboxcl, CRLF, and broken ones.
func TestMbox(t *testing.T) {
	t.Parallel()
	const from = "From a@b.org Mon Jan  6 10:00:00 2025\n"
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"one", from + "Subject: x\n\nbody\n\n", []string{"Subject: x\n\nbody\n"}},
		{"two", from + "A: 1\n\nx\n\n" + from + "A: 2\n\ny\n\n", []string{"A: 1\n\nx\n", "A: 2\n\ny\n"}},
		{"no empty line at the end", from + "A: 1\n\nx", []string{"A: 1\n\nx"}},
		{"From_ in the text needs an empty line before it", from + "A: 1\n\nx\n" + from + "y\n", []string{"A: 1\n\nx\n" + from + "y\n"}},
		{"a sentence is no From_ line", from + "A: 1\n\n\nFrom here on it rains.\n", []string{"A: 1\n\n\nFrom here on it rains.\n"}},
		{"quoted", from + "A: 1\n\n>From x\n>>From y\n> From z\n", []string{"A: 1\n\nFrom x\n>From y\n> From z\n"}},
		{"header only", from + "A: 1\n\n" + from + "A: 2\n\n", []string{"A: 1\n", "A: 2\n"}},
		{"empty body", from + "A: 1\n\n\n" + from + "A: 2\n\n\n", []string{"A: 1\n\n", "A: 2\n\n"}},
		{
			"Content-Length", from + "Content-Length: 42\n\nx\n\n" + from + "\n\n" + from + "A: 2\n\n",
			[]string{"Content-Length: 42\n\nx\n\n" + from + "\n", "A: 2\n"},
		},
		{
			"a wrong Content-Length", from + "Content-Length: 1\n\nx\ny\n\n" + from + "A: 2\n\n",
			[]string{"Content-Length: 1\n\nx\ny\n", "A: 2\n"},
		},
		{"CRLF", strings.ReplaceAll(from+"A: 1\n\nx\n\n"+from+"A: 2\n\n", "\n", "\r\n"), []string{"A: 1\r\n\r\nx\r\n", "A: 2\r\n"}},
		{"empty lines in front", "\n\n" + from + "A: 1\n\nx\n", []string{"A: 1\n\nx\n"}},
		{"status", from + "Status: RO\nA: 1\nX-Status: AF\nX-Keywords: work $Label1\n\nx\n", []string{"A: 1\n\nx\n"}},
	} {
		_, contents, err := readMbox(c.text)
		if err != nil || !slices.Equal(contents, c.want) {
			t.Errorf("%s: %q, %v, not %q", c.name, contents, err, c.want)
		}
	}
	if _, _, err := readMbox("Subject: not an mbox\n\n"); err == nil {
		t.Error("no mbox was taken")
	}
	items, _, _ := readMbox(from + "Status: RO\nX-Status: AFTD\nX-Keywords: work\n\nx\n")
	if want := []string{`\Seen`, `\Answered`, `\Flagged`, `\Draft`, `\Deleted`, "work"}; !slices.Equal(items[0].flags, want) {
		t.Errorf("flags %q", items[0].flags)
	}
	if d := items[0].date; !d.Equal(time.Date(2025, 1, 6, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("date %v", d)
	}
}

// TestLineEnds has both directions.
func TestLineEnds(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"": "", "\n": "\r\n", "a\nb": "a\r\nb", "a\r\nb\nc": "a\r\nb\nc", "a\nb\r\nc\n": "a\r\nb\r\nc\r\n",
		"a\rb\n": "a\rb\r\n", strings.Repeat("x", 70000) + "\n": strings.Repeat("x", 70000) + "\r\n",
		strings.Repeat("x", 64<<10) + "\n" + "y\n": strings.Repeat("x", 64<<10) + "\r\ny\r\n",
	} {
		for _, r := range []io.Reader{strings.NewReader(in), oneByOne{strings.NewReader(in)}} {
			if b, err := io.ReadAll(CRLF(r)); err != nil || string(b) != want {
				t.Errorf("%.40q: %.40q, %v", in, b, err)
			}
		}
	}
	for in, want := range map[string]bool{
		"": true, "a\r\n": true, "a": true, "a\n": false, "a\r": false, "a\rb\r\n": false, "\r\n\r\n": true, "\n": false, "\r\r\n": false,
	} {
		var whole, parts lossless
		_, _ = whole.Write([]byte(in))
		for i := range in {
			_, _ = parts.Write([]byte(in[i : i+1]))
		}
		if whole.ok() != want || parts.ok() != want {
			t.Errorf("%q: %v, in parts %v", in, whole.ok(), parts.ok())
		}
	}
}

type oneByOne struct{ r io.Reader }

func (o oneByOne) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

// corpus is the real and broken mails.
func corpus(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../message/testdata/mails/*.eml")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(f)] = string(b)
	}
	return all
}

// TestRoundTrip writes the corpus into each kind of target and reads it back, octet for octet, flags and mailboxes too.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"maildir", "mbox", "eml"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			target, err := Create(kind, dir)
			if err != nil {
				t.Fatal(err)
			}
			boxes := []string{"INBOX", "Sent", "Sent/2024", "Ärger & Söhne", "a.b", "..", "x:y*"}
			var want []got
			uid := uint32(0)
			for _, text := range corpus(t) {
				if kind == "mbox" && !strings.HasSuffix(text, "\n") {
					text += "\r\n"
				}
				uid++
				m := Meta{Mailbox: boxes[int(uid)%len(boxes)], UID: uid, Date: time.Unix(1700000000+int64(uid), 0).UTC(), Flags: []string{`\Flagged`, `\Seen`}}
				if kind != "eml" {
					m.Flags = append(m.Flags, "work")
				}
				if err := target.Put(m, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				want = append(want, got{m.Mailbox, text, m.Flags})
			}
			if err := target.Close(nil); err != nil {
				t.Fatal(err)
			}
			source, err := Open(kind, dir, Options{Skipped: func(s string) { t.Errorf("left aside: %s", s) }})
			if err != nil {
				t.Fatal(err)
			}
			have := drain(t, source)
			compare(t, have, want)
		})
	}
}

// TestMboxStateIsOurs: fields of a message that say in an mbox what its flags are do not come before those it has
// here, or add to them.
func TestMboxStateIsOurs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "out")
	target, err := Create("mbox", dir)
	if err != nil {
		t.Fatal(err)
	}
	const state = "Status: RO\r\nX-Status: A\r\nX-Keywords: foo\r\n bar\r\nX-UID: 4\r\nX-IMAP: 1 2\r\n"
	const rest = "From: a@b.test\r\n\tStatus: no field\r\nSubject: x\r\n\r\nStatus: RO\r\n"
	want := []got{{"INBOX", rest, []string{`\Deleted`}}, {"INBOX", rest, nil}}
	for i, w := range want {
		if err := target.Put(Meta{Mailbox: "INBOX", UID: uint32(i + 1), Flags: w.Flags}, strings.NewReader(state+rest)); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Close(nil); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "INBOX.mbox")); err != nil || strings.Contains(string(b), "foo") || strings.Contains(string(b), "X-UID") {
		t.Errorf("%v in\n%s", err, b)
	}
	source, err := Open("mbox", dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	compare(t, drain(t, source), want)
}

// compare compares without order; names that a file system cannot have may have changed.
func compare(t *testing.T, have, want []got) {
	t.Helper()
	key := func(g got) string {
		slices.Sort(g.Flags)
		return fmt.Sprintf("%q %q", g.Flags, g.Content)
	}
	left := map[string]int{}
	for _, g := range want {
		left[key(g)]++
	}
	for _, g := range have {
		left[key(g)]--
	}
	for k, n := range left {
		if n != 0 {
			t.Errorf("%+d of %.200s", n, k)
		}
	}
}

// FuzzMbox: whatever an mbox holds, reading ends, loses nothing but separators, and what is written is read back.
func FuzzMbox(f *testing.F) {
	f.Add([]byte("From a@b.org Mon Jan  6 10:00:00 2025\nStatus: RO\nA: 1\n\n>From x\n\n"))
	f.Add([]byte("From a@b.org Mon Jan  6 10:00:00 2025\r\nContent-Length: 3\r\n\r\nx\r\n"))
	f.Add([]byte("\n\nFrom - Mon Jan  6 10:00:00 2025\n\n\nFrom - Mon Jan  6 10:00:00 2025\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, contents, err := readMbox(string(b))
		n := 0
		for _, c := range contents {
			n += len(c)
		}
		if n > len(b) {
			t.Fatalf("%d octets of %d", n, len(b))
		}
		if err != nil {
			return
		}
		roundTrip(t, b)
	})
}

// roundTrip writes b as one message of an mbox between two others.
func roundTrip(t *testing.T, b []byte) {
	var clean lossless
	_, _ = clean.Write(b)
	head := bytes.ToLower(b)
	for _, f := range []string{"status", "x-status", "x-keywords", "x-uid", "x-imap", "content-length"} {
		if bytes.Contains(head, []byte(f)) {
			return // fields that belong to mboxes
		}
	}
	if !clean.ok() || !bytes.HasSuffix(b, []byte("\r\n")) || bytes.HasPrefix(b, []byte(" ")) || bytes.HasPrefix(b, []byte("\t")) ||
		bytes.HasPrefix(b, []byte("From ")) || bytes.Contains(b, []byte("\nFrom ")) {
		return
	}
	dir := t.TempDir()
	target, err := Create("mbox", filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	other := "A: 1\r\n\r\nx\r\n"
	for i, text := range []string{other, string(b), other} {
		if err := target.Put(Meta{Mailbox: "INBOX", UID: uint32(i + 1)}, strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Close(nil); err != nil {
		t.Fatal(err)
	}
	source, err := Open("mbox", filepath.Join(dir, "x"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	have := drain(t, source)
	if len(have) != 3 || have[1].Content != string(b) {
		t.Fatalf("%q", have)
	}
}
