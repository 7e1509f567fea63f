package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"postel/internal/mail"
)

// reference is the DataReader as one would write it on paper: the end is the first CRLF.CRLF of the whole input.
func reference(in string, limit int, bare BareLF) (content, rest string, repaired int, kind mail.Kind, ok, found bool) {
	all := "\r\n" + in
	end := strings.Index(all, "\r\n.\r\n")
	if end < 0 {
		return "", "", 0, 0, false, false
	}
	body, rest := all[:end+2], all[end+5:]
	body = strings.ReplaceAll(body, "\r\n.", "\r\n")
	// What follows an unstuffed dot is no line start of its own: the replacement above does not overlap.
	body = body[2:]
	content = strings.ReplaceAll(body, "\r\n", "\x01\x02") // stand-ins, not in the inputs of the fuzzer
	if bare == RepairBareLF {
		repaired = strings.Count(content, "\n")
		content = strings.ReplaceAll(content, "\n", "\x01\x02")
	}
	bad := strings.ContainsAny(content, "\r\n\x00")
	content = strings.ReplaceAll(content, "\x01\x02", "\r\n")
	switch {
	case bad:
		return "", rest, repaired, mail.Rejected, false, true
	case len(content) > limit:
		return "", rest, repaired, mail.TooLarge, false, true
	}
	return content, rest, repaired, 0, true, true
}

func FuzzDataReader(f *testing.F) {
	for _, s := range []string{
		".\r\n", "a\r\n.\r\nQUIT\r\n", "a\n.\nb\r\n.\r\n", "a\n.\r\nb\r\n.\r\n", "a\r.\r\n.\r\n", "a\r\n..b\r\n.\r\n",
		"a\r\n.\rb\r\n.\r\n", "\r\r\n.\r\n", "a\r\n.\n\r\n.\r\n", "..\r\n...\r\n.\r\n", "\x00\r\n.\r\n", "a", "a\r\n.\r\r\n.\r\n",
		"\n", "\n\n\r\n.\r\nx", "a\r\n.\r", ".a\r\n.\r\n",
	} {
		f.Add([]byte(s), uint8(3), uint8(1), true)
		f.Add([]byte(s), uint8(200), uint8(0), false)
	}
	f.Fuzz(func(t *testing.T, in []byte, limit, chunking uint8, repair bool) {
		if bytes.ContainsAny(in, "\x01\x02") {
			return
		}
		mode := RefuseBareLF
		if repair {
			mode = RepairBareLF
		}
		want, rest, repaired, kind, ok, found := reference(string(in), int(limit), mode)
		var src io.Reader = bytes.NewReader(in)
		switch chunking % 3 {
		case 1:
			src = iotest.OneByteReader(src)
		case 2:
			src = iotest.HalfReader(src)
		}
		br := bufio.NewReaderSize(src, 16+int(chunking))
		d := NewDataReader(br, int64(limit), mode)
		got, err := readAll(d, 1+int(chunking)/3)
		if !found {
			if err == nil || !d.Lost() {
				t.Fatalf("%q: no end, yet %q, %v", in, got, err)
			}
			return
		}
		if (err == nil) != ok || ok && string(got) != want || d.Lost() {
			t.Fatalf("%q: %q, %v; want %q, %v", in, got, err, want, ok)
		}
		if after, _ := io.ReadAll(br); string(after) != rest {
			t.Fatalf("%q: %q is left, want %q", in, after, rest)
		}
		if ok && d.Repaired() != repaired || ok && d.Size() != int64(len(want)) {
			t.Fatalf("%q: repaired %d, size %d; want %d, %d", in, d.Repaired(), d.Size(), repaired, len(want))
		}
		// Which of two faults is seen first is free; a repaired LF counts as two octets.
		if both := kind == mail.Rejected && len(in)+bytes.Count(in, []byte("\n")) > int(limit); !ok && !both && !mail.Is(err, kind) {
			t.Fatalf("%q: %v, want %v", in, err, kind)
		}
		if _, again := d.Read(make([]byte, 1)); again == nil || ok && again != io.EOF {
			t.Fatalf("%q: then %v", in, again)
		}
	})
}

// readAll reads in pieces of n octets.
func readAll(r io.Reader, n int) ([]byte, error) {
	var out []byte
	buf := make([]byte, n)
	for {
		k, err := r.Read(buf)
		out = append(out, buf[:k]...)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// normal is what a DataWriter makes of any content.
func normal(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", " ")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return strings.ReplaceAll(s, "\n", "\r\n")
}

func FuzzDataWriter(f *testing.F) {
	for _, s := range []string{"", ".", "a\r\n.\r\n", "\r", "\n.\n", "a\rb", "\r\r\n", "..\r\n.", "a\r\n\r\n"} {
		f.Add(s, uint8(1))
	}
	f.Fuzz(func(t *testing.T, in string, piece uint8) {
		if strings.Contains(in, "\x00") {
			return
		}
		var wire bytes.Buffer
		w := NewDataWriter(bufio.NewWriter(&wire))
		step := int(piece)%7 + 1
		for i := 0; i < len(in); i += step {
			if n, err := w.Write([]byte(in[i:min(i+step, len(in))])); err != nil || n != min(step, len(in)-i) {
				t.Fatal(n, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		wire.WriteString("QUIT\r\n")
		br := bufio.NewReader(&wire)
		got, err := io.ReadAll(NewDataReader(br, 1<<20, RefuseBareLF))
		if err != nil || string(got) != normal(in) {
			t.Fatalf("%q became %q (%v), want %q", in, got, err, normal(in))
		}
		if rest, _ := io.ReadAll(br); string(rest) != "QUIT\r\n" {
			t.Fatalf("%q: %q is left", in, rest)
		}
	})
}

func TestDataReaderDrainIsBounded(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("a\n"), endlessLines{})
	d := NewDataReader(bufio.NewReader(endless), 1000, RefuseBareLF)
	_, err := io.ReadAll(d)
	if !mail.Is(err, mail.Rejected) || !d.Lost() || d.Size() > 2_000_000 {
		t.Errorf("%v, lost %v, %d octets", err, d.Lost(), d.Size())
	}
}

type endlessLines struct{}

func (endlessLines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '.'
	}
	return len(p), nil
}

// benchBody is n octets of text in lines of 72 with a dot in front of each tenth.
func benchBody(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		if i%10 == 0 {
			b.WriteByte('.')
		}
		b.WriteString(strings.Repeat("x", 72) + "\r\n")
	}
	return b.Bytes()
}

func BenchmarkDataReader(b *testing.B) {
	body := append(benchBody(1<<20), ".\r\n"...)
	b.SetBytes(int64(len(body)))
	src := bytes.NewReader(body)
	br := bufio.NewReaderSize(src, ReadBuffer)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		src.Reset(body)
		br.Reset(src)
		d := NewDataReader(br, 1<<30, RefuseBareLF)
		for {
			if _, err := d.Read(buf); err != nil {
				break
			}
		}
	}
}

func BenchmarkDataWriter(b *testing.B) {
	body := benchBody(1 << 20)
	b.SetBytes(int64(len(body)))
	bw := bufio.NewWriterSize(io.Discard, 16<<10)
	for b.Loop() {
		w := NewDataWriter(bw)
		_, _ = w.Write(body)
		_ = w.Close()
	}
}
