package transfer

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"postel/internal/mail"
)

// TestStream: what is written is read, a problem in the middle of a content is told, and a cut is noticed anywhere.
func TestStream(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := NewWriter(&b)
	long := strings.Repeat("0123456789", 300_000)
	for _, err := range []error{
		w.Put(Meta{Mailbox: "INBOX", Flags: []string{`\Seen`}, Key: KeyOf("INBOX", "1")}, strings.NewReader(long)),
		w.Put(Meta{Mailbox: "empty"}, nil),
		w.Put(Meta{Mailbox: "broken"}, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(errors.New("the disk is on fire")))),
		w.Put(Meta{Mailbox: "last"}, strings.NewReader("x")),
		w.Flush(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(bytes.NewReader(b.Bytes()))
	m, err := r.Next()
	content, rerr := io.ReadAll(r)
	if err != nil || rerr != nil || string(content) != long || m.Key != KeyOf("INBOX", "1") || m.Flags[0] != `\Seen` {
		t.Errorf("%v, %v, %v, %d octets", m, err, rerr, len(content))
	}
	if m, err := r.Next(); err != nil || m.Mailbox != "empty" {
		t.Error(m, err)
	}
	_, err = r.Next()
	content, rerr = io.ReadAll(r)
	if err != nil || !mail.Is(rerr, mail.Rejected) || !strings.Contains(rerr.Error(), "on fire") || string(content) != "abc" {
		t.Errorf("%v, %v, %q", err, rerr, content)
	}
	if m, err := r.Next(); err != nil || m.Mailbox != "last" {
		t.Error(m, err)
	}
	if _, err := r.Next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	for _, n := range []int{1, 50, 200, 1000, b.Len() / 2, b.Len() - 1} {
		if err := readAll(b.Bytes()[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// readAll reads a stream to its end.
func readAll(b []byte) error {
	r := NewReader(bytes.NewReader(b))
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			if _, err = io.Copy(io.Discard, r); mail.Is(err, mail.Rejected) {
				err = nil
			}
		}
		if err != nil {
			return err
		}
	}
}

// FuzzStream: any input ends with a plain error, in bounded memory; what is read whole is written again the same.
func FuzzStream(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b)
	_ = w.Put(Meta{Mailbox: "INBOX"}, strings.NewReader("abc"))
	_ = w.Flush()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		r := NewReader(bytes.NewReader(in))
		m, err := r.Next()
		if err != nil {
			return
		}
		content, err := io.ReadAll(r)
		if err != nil || len(content) > len(in) {
			return
		}
		var out bytes.Buffer
		w := NewWriter(&out)
		if err := w.Put(m, bytes.NewReader(content)); err != nil {
			return // more than the stream takes, once written our way
		}
		_ = w.Flush()
		again := NewReader(&out)
		if _, err := again.Next(); err != nil {
			t.Fatal(err)
		}
		if c, err := io.ReadAll(again); err != nil || !bytes.Equal(c, content) {
			t.Fatal(err)
		}
	})
}

// FuzzWire: whatever a server answers, reading ends and stays within what it sent.
func FuzzWire(f *testing.F) {
	f.Add([]byte("* LIST (\\HasNoChildren) \"/\" \"a\\\"b\"\r\np1 OK done\r\n"))
	f.Add([]byte("* 1 FETCH (UID 3 FLAGS (\\Seen) BODY[HEADER.FIELDS (X)] {3}\r\nabc)\r\np1 OK\r\n"))
	f.Add([]byte("* OK [UIDVALIDITY 3] x (\r\n+ go on\r\np1 NO no\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		w := newWire(struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(in), io.Discard})
		w.spool = &spool{}
		n := 0
		err := w.do("X", func(vs []value) error {
			n += size(vs)
			return nil
		})
		if n > len(in) {
			t.Fatalf("%d octets of %d", n, len(in))
		}
		if err != nil && mail.KindOf(err) == mail.Internal {
			t.Fatal(err)
		}
		_ = w.spool.reset()
	})
}

func size(vs []value) int {
	n := 0
	for _, v := range vs {
		n += len(v.text) + size(v.list)
	}
	return n
}
