package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"postel/internal/mail"
)

func TestParseChunk(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"0": "0 false", "10": "10 false", "10 LAST": "10 true", "010 last ": "10 true", "9223372036854775807": "9223372036854775807 false",

		"":                                 "-1 501 5.5.4 BDAT octets [LAST]",
		"LAST":                             "-1 501 5.5.4 BDAT octets [LAST]",
		"-1":                               "-1 501 5.5.4 BDAT octets [LAST]",
		"+1":                               "-1 501 5.5.4 BDAT octets [LAST]",
		"0x10":                             "-1 501 5.5.4 BDAT octets [LAST]",
		"10 LEAST":                         "10 501 5.5.4 BDAT octets [LAST]",
		"10 LAST LAST":                     "10 501 5.5.4 BDAT octets [LAST]",
		"9223372036854775808":              "-1 552 5.3.4 chunk too large",
		"18446744073709551617":             "-1 552 5.3.4 chunk too large",
		strings.Repeat("9", 100) + " LAST": "-1 552 5.3.4 chunk too large",
	} {
		c, err := ParseChunk(in)
		got := fmt.Sprint(c.Size, " ", c.Last)
		if err != nil {
			got = fmt.Sprint(c.Size, " ", ReplyOf(err, false))
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}

// inChunks reads in as chunks of the sizes given, all that is left being the last, through pieces of out octets.
func inChunks(in []byte, sizes []byte, limit int64, bare BareLF, binary bool, out int, one bool) ([]byte, *ChunkReader, error) {
	var src io.Reader = bytes.NewReader(in)
	if one {
		src = iotest.OneByteReader(src)
	}
	left := len(in)
	next := func() (Chunk, error) {
		if len(sizes) == 0 || int(sizes[0]) > left {
			return Chunk{Size: int64(left), Last: true}, nil
		}
		c := Chunk{Size: int64(sizes[0])}
		left, sizes = left-int(sizes[0]), sizes[1:]
		return c, nil
	}
	first, _ := next()
	c := NewChunkReader(bufio.NewReaderSize(src, 16), limit, bare, binary, first, next)
	got, err := readAll(c, out)
	return got, c, err
}

// FuzzChunkReader holds ChunkReader against the definition: however the octets are cut into chunks, the content is the
// same, and it is taken and refused as by DATA.
func FuzzChunkReader(f *testing.F) {
	for _, s := range []string{"", "a", "a\r\nb\r\n", "a\nb", "a\r", "\r\n.\r\nQUIT\r\n", "\x00", "..\r\n.", "\r\r\n", "a\n\nb\r\n"} {
		f.Add([]byte(s), []byte{0, 1, 2}, uint8(200), uint8(3), false, false)
		f.Add([]byte(s), []byte{1, 1, 1, 0, 0}, uint8(3), uint8(0), true, false)
		f.Add([]byte(s), []byte{}, uint8(200), uint8(1), false, true)
	}
	f.Fuzz(func(t *testing.T, in, sizes []byte, limit, out uint8, repair, binary bool) {
		mode := RefuseBareLF
		if repair {
			mode = RepairBareLF
		}
		got, c, err := inChunks(in, bytes.Clone(sizes), int64(limit), mode, binary, 1+int(out)%9, out%2 == 1)
		want, kind := chunkReference(string(in), int(limit), mode, binary)
		if c.Lost() {
			t.Fatal("lost")
		}
		if kind != 0 {
			tooLong := len(in)+2*bytes.Count(in, []byte("\n"))+2 > int(limit) // which of two faults is seen first is free
			if err == nil || !mail.Is(err, kind) && !(tooLong && (mail.Is(err, mail.TooLarge) || mail.Is(err, mail.Rejected))) {
				t.Fatalf("%q in %v: %q, %v; want %v", in, sizes, got, err, kind)
			}
			return
		}
		if err != nil || string(got) != want || c.Size() != int64(len(want)) {
			t.Fatalf("%q in %v: %q, %v; want %q", in, sizes, got, err, want)
		}
	})
}

func chunkReference(in string, limit int, bare BareLF, binary bool) (string, mail.Kind) {
	if binary {
		if len(in) > limit {
			return "", mail.TooLarge
		}
		return in, 0
	}
	lines := strings.Split(in, "\r\n")
	for i, l := range lines {
		if bare == RepairBareLF {
			l = strings.ReplaceAll(l, "\n", "\r\n")
		} else if strings.Contains(l, "\n") {
			return "", mail.Rejected
		}
		if strings.Contains(strings.ReplaceAll(l, "\r\n", ""), "\r") || strings.Contains(l, "\x00") {
			return "", mail.Rejected
		}
		lines[i] = l
	}
	out := strings.Join(lines, "\r\n")
	if out != "" && !strings.HasSuffix(out, "\r\n") {
		out += "\r\n"
	}
	if len(out) > limit {
		return "", mail.TooLarge
	}
	return out, 0
}

// The rest of a refused chunk is taken in, and no octet of what follows it.
func TestChunkReaderSkip(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]string{"bare LF": "a\nbcdefghi", "NUL": "\x00bcdefghij", "bare CR": "a\rbcdefghi"} {
		br := bufio.NewReader(strings.NewReader(in + "QUIT\r\n"))
		c := NewChunkReader(br, 100, RefuseBareLF, false, Chunk{Size: 10, Last: true}, nil)
		if _, err := io.ReadAll(c); !mail.Is(err, mail.Rejected) {
			t.Errorf("%s: %v", name, err)
		}
		if err := c.Skip(); err != nil || c.Lost() {
			t.Error(name, err)
		}
		if rest, _ := io.ReadAll(br); string(rest) != "QUIT\r\n" {
			t.Errorf("%s: %q is left", name, rest)
		}
	}
}

// A chunk beyond the limit costs nothing: not one that is close, which is taken in, nor one that never ends.
func TestChunkReaderBounds(t *testing.T) {
	t.Parallel()
	for size, lost := range map[int64]bool{101: false, 100 + MaxJunk: false, 101 + MaxJunk: true, math.MaxInt64: true} {
		c := NewChunkReader(bufio.NewReader(endlessLines{}), 100, RefuseBareLF, false, Chunk{Size: size}, nil)
		if _, err := c.Read(make([]byte, 1)); !mail.Is(err, mail.TooLarge) {
			t.Errorf("%d: %v", size, err)
		}
		if err := c.Skip(); err != nil || c.Lost() != lost {
			t.Errorf("%d: lost %v, %v", size, c.Lost(), err)
		}
	}
	sum := 0
	c := NewChunkReader(bufio.NewReader(endlessLines{}), 100, RefuseBareLF, true, Chunk{Size: 60}, func() (Chunk, error) {
		sum++
		return Chunk{Size: 60}, nil
	})
	if n, err := io.Copy(io.Discard, c); n != 60 || sum != 1 || !mail.Is(err, mail.TooLarge) {
		t.Errorf("%d octets, %d chunks more: %v", n, sum, err)
	}
	c = NewChunkReader(bufio.NewReader(strings.NewReader("abc")), 100, RefuseBareLF, false, Chunk{Size: 4, Last: true}, nil)
	if _, err := io.ReadAll(c); !errors.Is(err, io.ErrUnexpectedEOF) || !c.Lost() {
		t.Error(err)
	}
	c = NewChunkReader(bufio.NewReader(strings.NewReader("abc")), 100, RefuseBareLF, false, Chunk{Size: 3}, func() (Chunk, error) {
		return Chunk{}, io.EOF
	})
	if _, err := io.ReadAll(c); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("hung up between two chunks: %v", err)
	}
}

func BenchmarkChunkReader(b *testing.B) {
	body := benchBody(1 << 20)
	b.SetBytes(int64(len(body)))
	src := bytes.NewReader(body)
	br := bufio.NewReaderSize(src, ReadBuffer)
	buf := make([]byte, 32<<10)
	for b.Loop() {
		src.Reset(body)
		br.Reset(src)
		c := NewChunkReader(br, 1<<30, RefuseBareLF, false, Chunk{Size: int64(len(body)), Last: true}, nil)
		for {
			if _, err := c.Read(buf); err != nil {
				break
			}
		}
	}
}
