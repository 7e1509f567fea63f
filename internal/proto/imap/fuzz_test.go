package imap

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzCommand: nothing panics or exceeds its limits; a command that parses is written and parsed again to the
// same arguments; the decoder always comes to the end of its input or to an error.
func FuzzCommand(f *testing.F) {
	for s := range goodCommands() {
		f.Add([]byte("a1 " + s + "\r\n"))
	}
	for _, s := range []string{"XYZ {3+}\r\nabc\r\na2 NOOP", "RENAME a {1}\r\nb", "UID EXPUNGE 5:*", "APPEND x {3+}\r\nabc"} {
		f.Add([]byte("a1 " + s + "\r\n"))
	}
	lim := Limits{Command: 4096, Literal: 1024, Discard: 4096}
	f.Fuzz(func(t *testing.T, in []byte) {
		d := NewDecoder(bytes.NewReader(in), lim)
		for range len(in) + 1 {
			_, name := d.Command()
			if parse := parsers[name]; parse != nil {
				a := parse(d)
				if _, isAppend := a.(Append); isAppend && d.Err() == nil {
					_, _ = io.Copy(io.Discard, d.OpenMessage())
					_ = d.EndMessage()
				}
				if d.Err() == nil {
					again(t, name, a)
				}
			} else {
				d.invalid("unknown")
			}
			if len(d.line) > lim.Command {
				t.Fatalf("a line of %d octets is held", len(d.line))
			}
			if d.Finish() != nil {
				return
			}
		}
		t.Fatal("does not end")
	})
}

// again writes the command and parses what was written.
func again(t *testing.T, name string, a Arguments) {
	t.Helper()
	var b bytes.Buffer
	e := NewEncoder(&b)
	e.Client = true
	e.Command("t", name, a)
	if err := e.Flush(); err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(bytes.NewReader(b.Bytes()), Limits{Command: 1 << 20, Literal: 1 << 20, Discard: 1 << 20})
	tag, n := d.Command()
	got := parsers[n](d)
	if tag != "t" || n != name || d.Err() != nil {
		t.Fatalf("%q is parsed as %q %q, %v", b.String(), tag, n, d.Err())
	}
	same := cmp.Options{
		cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }),
		cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.String(), "Field") },
			cmp.Comparer(strings.EqualFold)),
	}
	if l, ok := a.(List); ok && l.Extended != got.(List).Extended {
		t.Fatalf("%q lost that it is extended", b.String())
	}
	if d := cmp.Diff(a, got, same); d != "" {
		t.Fatalf("%q: %s", b.String(), d)
	}
}

// FuzzMailboxName: what decodes encodes to a name that decodes to the same, in printable ASCII.
func FuzzMailboxName(f *testing.F) {
	for _, s := range []string{"&ZeVnLIqe-", "a&-b", "Entwürfe", "&2D3eAA-", "&AOk-&-", "inbox"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := DecodeMailbox(s)
		if !ok {
			return
		}
		wire := EncodeMailbox(name)
		for i := range len(wire) {
			if wire[i] < 0x20 || wire[i] >= 0x7f {
				t.Fatalf("%q is written as %q", name, wire)
			}
		}
		back, ok := DecodeMailbox(wire)
		if back != name || !ok {
			t.Fatalf("%q is %q, written as %q, read as %q, %v", s, name, wire, back, ok)
		}
	})
}
