package blob

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// one is a Large that holds one object.
type one struct{ content []byte }

func (o *one) Create(context.Context, mail.ID) (LargeWriter, error) { o.content = nil; return o, nil }

func (o *one) Write(p []byte) (int, error)                      { o.content = append(o.content, p...); return len(p), nil }
func (o *one) Commit() error                                    { return nil }
func (o *one) Abort()                                           {}
func (o *one) Remove(context.Context, mail.ID) error            { return nil }
func (o *one) List(context.Context) iter.Seq2[LargeInfo, error] { return nil }
func (o *one) Open(context.Context, mail.ID) (LargeObject, error) {
	return object1{bytes.NewReader(o.content)}, nil
}

type object1 struct{ *bytes.Reader }

func (object1) Close() error { return nil }

// seal gives the row and the object of a body.
func seal(t testing.TB, s *Store, body []byte) row {
	t.Helper()
	w := s.New(context.Background())
	defer w.Discard()
	if _, err := w.Write(body); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Seal(); err != nil {
		t.Fatal(err)
	}
	r, ok := parseRow(bytes.Clone(w.row))
	if !ok {
		t.Fatal("the row does not parse")
	}
	return r
}

// FuzzObject reads an object of which some octets were changed, with the digest in its row made to fit when fit is
// set: the answer is the body, or an error; never other octets (with a fitting digest: never a panic or endless
// memory), and every range agrees with the whole.
func FuzzObject(f *testing.F) {
	f.Add(3000, 5, byte(1), false, 10, 2000)
	f.Add(600_000, 300_000, byte(0x80), true, 262_144, 1)
	f.Add(600_000, -9, byte(7), true, 0, 600_000)
	f.Add(0, 0, byte(0), true, 0, 0)
	f.Fuzz(func(t *testing.T, size, at int, flip byte, fit bool, off, n int) {
		if size < 0 || size > 1<<20 || off < 0 {
			t.Skip()
		}
		body := bytes.Repeat([]byte("a body of text and "), size/19+1)[:size]
		_, _ = rand.NewChaCha8([32]byte{1}).Read(body[:size/3])
		large := &one{}
		s := New(Options{Large: large, InlineMax: -1})
		r := seal(t, s, body)
		if at < 0 {
			at += len(large.content)
		}
		if at >= 0 && at < len(large.content) {
			large.content[at] ^= flip
		}
		if frames := (int64(size) + frameSize - 1) / frameSize; fit {
			r.digest = xxhash.Sum64(large.content[int64(len(large.content))-frames*indexEntry-trailerSize:])
		}
		whole, err := readAll(s, r, 0, -1)
		if err == nil && !bytes.Equal(whole, body) {
			t.Fatal("other octets")
		}
		if err != nil && (!mail.Is(err, mail.Internal) || flip == 0) {
			t.Fatal(err)
		}
		part, partErr := readAll(s, r, int64(off), int64(n))
		from := min(off, size)
		to := size
		if n >= 0 && n < size-from {
			to = from + n
		}
		if partErr == nil && !bytes.Equal(part, body[from:to]) || err == nil && partErr != nil {
			t.Fatalf("range %d+%d: %d octets, %v", off, n, len(part), partErr)
		}
	})
}

func readAll(s *Store, r row, off, n int64) ([]byte, error) {
	off = min(off, r.length)
	if n < 0 || n > r.length-off {
		n = r.length - off
	}
	rc, err := s.openObject(context.Background(), mail.ID{}, r, off, n)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// FuzzRow parses any octets as a row: what parses is written back the same, and reading its body ends in the body
// of the length and digest it names, or not at all.
func FuzzRow(f *testing.F) {
	s := New(Options{})
	for _, body := range []string{"", "a", strings.Repeat("text ", 100)} {
		r := seal(f, s, []byte(body))
		f.Add(append(r.appendHeader(nil), r.body...))
	}
	f.Add([]byte{rowVersion, 1, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, ok := parseRow(b)
		if !ok {
			return
		}
		if !bytes.Equal(append(r.appendHeader(nil), r.body...), b) {
			t.Fatal("not the same written back")
		}
		if r.form == object {
			return
		}
		plain, ok := s.plain(nil, r)
		if ok && (int64(len(plain)) != r.length || xxhash.Sum64(plain) != r.digest) {
			t.Fatalf("%d octets, row says %d", len(plain), r.length)
		}
	})
}

func TestDense(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 300_000)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(noise)
	hex := fmt.Appendf(nil, "%x", noise)
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{"noise": {noise, true}, "hex": {hex, false}, "short noise": {noise[:1000], false}, "zero": {make([]byte, 9000), false}} {
		if got := dense(c.data); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestBomb has a row whose body unpacks to more than it says: nothing of it is unpacked.
func TestBomb(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	z := s.codec.encoder().EncodeAll(make([]byte, 100<<20), nil)
	for _, length := range []int64{10, frameSize, frameSize + 1, 100 << 20, 1 << 50} {
		if plain, ok := s.plain(nil, row{form: inlineZstd, length: length, body: z}); ok || cap(plain) > 1<<20 {
			t.Errorf("%d: %v, %d octets", length, ok, cap(plain))
		}
	}
}

// TestBombS2 has a row whose body says another length than the row.
func TestBombS2(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	for _, size := range []int{quickMax, 100 << 20} {
		z := s2.Encode(nil, make([]byte, size))
		for _, length := range []int64{0, 10, quickMax - 1, quickMax + 1, 100 << 20, 1 << 50} {
			if plain, ok := s.plain(nil, row{form: inlineS2, length: length, body: z}); ok || cap(plain) > 1<<20 {
				t.Errorf("%d as %d: %v, %d octets", size, length, ok, cap(plain))
			}
		}
	}
}

// TestSmall packs bodies of all small sizes into buffers of any room, and looks at the form they get.
func TestSmall(t *testing.T) {
	t.Parallel()
	s := New(Options{})
	text := bytes.Repeat([]byte("mail is words, and words come again.\r\n"), 2*quickMax/38+1)
	noise := make([]byte, quickMax)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	for _, n := range []int{1, 100, 5000, quickMax - 1, quickMax, quickMax + 1} {
		want := inlineS2
		if n == 1 {
			want = inlineRaw
		} else if n > quickMax {
			want = inlineZstd
		}
		for _, room := range []int{0, 10, 64 << 10} {
			dst := append(make([]byte, 0, 3+room), "abc"...)
			b, f, ok := s.codec.compressInline(dst, text[:n])
			if !ok && want != inlineRaw || ok && f != want || string(b[:3]) != "abc" {
				t.Fatalf("%d octets, room %d: form %d, %v", n, room, f, ok)
			}
			if !ok {
				continue
			}
			plain, good := s.plain([]byte("x"), row{form: f, length: int64(n), digest: xxhash.Sum64(text[:n]), body: b[3:]})
			if !good || !bytes.Equal(plain[1:], text[:n]) {
				t.Fatalf("%d octets, room %d: not what was packed", n, room)
			}
		}
	}
	if b, _, ok := s.codec.compressInline([]byte("abc"), noise); ok || string(b) != "abc" {
		t.Error("noise was packed")
	}
}

// BenchmarkSmall compares the forms on 5 KB of words.
func BenchmarkSmall(b *testing.B) {
	c := New(Options{}).codec
	words := strings.Fields("report meeting schedule budget please review attached project deadline tomorrow server of to in for")
	r := rand.New(rand.NewPCG(1, 2))
	var text []byte
	for len(text) < 5000 {
		text = append(append(text, words[r.IntN(len(words))]...), ' ')
	}
	quick, _, _ := c.compressInline(nil, text)
	small, _ := c.compress(nil, text)
	buf := make([]byte, 0, 1<<16)
	b.Run("pack/s2", func(b *testing.B) {
		for b.Loop() {
			c.compressInline(buf, text)
		}
		b.ReportMetric(float64(len(quick))/float64(len(text)), "ratio")
	})
	b.Run("pack/zstd", func(b *testing.B) {
		for b.Loop() {
			c.compress(buf, text)
		}
		b.ReportMetric(float64(len(small))/float64(len(text)), "ratio")
	})
	b.Run("unpack/s2", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.unpackS2(buf, quick, len(text))
		}
	})
	b.Run("unpack/zstd", func(b *testing.B) {
		for b.Loop() {
			_, _ = c.decompress(buf, small, len(text))
		}
	})
}

// failing is a Large that fails at some point.
type failing struct {
	one
	at string
}

var errDisk = errors.New("no space left on device")

func (f *failing) Create(context.Context, mail.ID) (LargeWriter, error) {
	if f.at == "create" {
		return nil, errDisk
	}
	return f, nil
}

func (f *failing) Write(p []byte) (int, error) {
	if f.at == "write" {
		return 0, errDisk
	}
	return len(p), nil
}

func (f *failing) Commit() error {
	if f.at == "commit" {
		return errDisk
	}
	return nil
}

// TestFailingBackend has each step fail: Kind Unavailable, at the latest from Seal, and again at every later call.
func TestFailingBackend(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"create", "write", "commit"} {
		w := New(Options{Large: &failing{at: at}}).New(context.Background())
		_, _ = w.Write(make([]byte, 300_000))
		for range 2 {
			if _, err := w.Seal(); !mail.Is(err, mail.Unavailable) || !errors.Is(err, errDisk) {
				t.Errorf("%s: %v", at, err)
			}
		}
		w.Discard()
	}
	ctx, end := context.WithCancel(context.Background())
	end()
	w := New(Options{Large: &one{}}).New(ctx)
	defer w.Discard()
	if _, err := w.Write(make([]byte, 300_000)); !mail.Is(err, mail.Canceled) {
		t.Errorf("after the end of ctx: %v", err)
	}
}

// BenchmarkStore measures New to Discard without the commit, and BenchmarkOpen reading, for mails of 5 KB and for
// large ones; B/s counts the plain octets.
func BenchmarkStore(b *testing.B) {
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			s := New(Options{Large: &failing{}})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				seal(b, s, body)
			}
		})
	}
}

// BenchmarkOpen: see BenchmarkStore.
func BenchmarkOpen(b *testing.B) {
	for name, body := range benchBodies() {
		b.Run(name, func(b *testing.B) {
			db, err := pebble.OpenMemory()
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			s := New(Options{KV: db, Large: &one{}})
			id := put(b, s, body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				r, err := s.Open(context.Background(), id, 0, -1)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); n != int64(len(body)) || err != nil {
					b.Fatal(n, err)
				}
				_ = r.Close()
			}
		})
	}
}

func put(b *testing.B, s *Store, body []byte) mail.ID {
	b.Helper()
	w := s.New(context.Background())
	defer w.Discard()
	if _, err := w.Write(body); err != nil {
		b.Fatal(err)
	}
	id, err := w.Seal()
	if err == nil {
		err = s.kv.Update(context.Background(), kv.Txn{}, func(tx kv.Tx) error { w.Link(tx, Owner{Kind: Email}); return nil })
	}
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func benchBodies() map[string][]byte {
	var text []byte
	for i := range 1 << 16 {
		text = binary.AppendUvarint(text, uint64(i*i))
		text = fmt.Appendf(text, " the quick brown fox %x jumps over\r\n", i)
	}
	noise := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	return map[string][]byte{"text 5 KB": text[:5000], "text 1 MB": text[:1<<20], "noise 1 MB": noise}
}
