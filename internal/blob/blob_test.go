package blob_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// world is a blob store over kv and files on one file system.
type world struct {
	fs    vfs.FS
	kv    kv.Store
	blobs *blob.Store
}

func open(t testing.TB, fs vfs.FS) *world {
	t.Helper()
	s, err := pebble.Open(pebble.Options{FS: fs, Dir: "/data/kv"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	f, err := file.New(file.Options{FS: fs, Dir: "/data/blob"})
	if err != nil {
		t.Fatal(err)
	}
	return &world{fs, s, blob.New(blob.Options{KV: s, Large: f})}
}

// strictly is open under kvtest.Strict.
func strictly(t *testing.T) *world {
	t.Helper()
	w := open(t, vfs.NewMem())
	f, err := file.New(file.Options{FS: w.fs, Dir: "/data/blob"})
	if err != nil {
		t.Fatal(err)
	}
	w.kv = kvtest.Strict(w.kv, kvtest.Options{Report: t.Error})
	w.blobs = blob.New(blob.Options{KV: w.kv, Large: f})
	return w
}

var owner = blob.Owner{Kind: blob.Email, A: 1, ID: 1}

// put stores a body with one link and gives its id.
func (w *world) put(t testing.TB, body []byte, owners ...blob.Owner) mail.ID {
	t.Helper()
	b := w.blobs.New(context.Background())
	defer b.Discard()
	for rest := body; len(rest) > 0; { // in uneven pieces
		n := min(len(rest), 70_000)
		if _, err := b.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	id, err := b.Seal()
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != int64(len(body)) || b.ID() != id {
		t.Fatalf("size %d, id %s; want %d, %s", b.Size(), b.ID(), len(body), id)
	}
	if len(owners) == 0 {
		owners = []blob.Owner{owner}
	}
	w.update(t, nil, func(tx kv.Tx) {
		for _, o := range owners {
			b.Link(tx, o)
		}
	})
	return id
}

func (w *world) update(t testing.TB, lock []kv.Key, fn func(kv.Tx)) {
	t.Helper()
	if err := w.kv.Update(context.Background(), kv.Txn{Lock: lock}, func(tx kv.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

func (w *world) unlink(t testing.TB, id mail.ID, owners ...blob.Owner) {
	t.Helper()
	w.update(t, []kv.Key{kv.LockBlob(id)}, func(tx kv.Tx) {
		for _, o := range owners {
			if err := w.blobs.Unlink(tx, id, o); err != nil {
				t.Error(err)
			}
		}
	})
}

func (w *world) read(id mail.ID, off, n int64) ([]byte, error) {
	r, err := w.blobs.Open(context.Background(), id, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (w *world) files(t testing.TB) int {
	t.Helper()
	n := 0
	dirs, err := w.fs.List("/data/blob")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		names, err := w.fs.List("/data/blob/" + d)
		if err != nil {
			t.Fatal(err)
		}
		n += len(names)
	}
	return n
}

// bodies gives what mail is made of, at sizes around every limit.
func bodies() map[string][]byte {
	r := rand.NewChaCha8([32]byte{7})
	noise := make([]byte, 3<<20)
	_, _ = r.Read(noise)
	text := []byte(strings.Repeat("From: a@example.org\r\nSubject: hello there\r\n\r\nGood day.\r\n", 20_000))
	base := []byte(base64.StdEncoding.EncodeToString(noise[:600_000]))
	m := map[string][]byte{"mixed": append(append(append([]byte(nil), text[:300_000]...), noise[:700_000]...), base...)}
	for _, n := range []int{0, 1, 100, 5000, 128<<10 - 1, 128 << 10, 128<<10 + 1, 256 << 10, 256<<10 + 1, 512 << 10, 700_001} {
		m[fmt.Sprintf("text %d", n)] = text[:n]
		m[fmt.Sprintf("noise %d", n)] = noise[:n]
		m[fmt.Sprintf("base64 %d", n)] = base[:n]
	}
	return m
}

func TestReadBack(t *testing.T) {
	t.Parallel()
	w := strictly(t)
	for name, body := range bodies() {
		id := w.put(t, body)
		got, err := w.read(id, 0, -1)
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d octets, %v", name, len(got), err)
		}
		if n, err := w.blobs.Size(context.Background(), id); err != nil || n != int64(len(body)) {
			t.Errorf("%s: size %d, %v", name, n, err)
		}
		size := int64(len(body))
		for _, g := range [][2]int64{
			{0, 0},
			{0, 1},
			{1, 3},
			{size / 2, 10},
			{size - 1, 5},
			{size, 1},
			{size + 9, -1},
			{256<<10 - 1, 2},
			{256 << 10, 1},
			{100, 256 << 10},
			{0, 1 << 62},
		} {
			if g[0] < 0 {
				continue
			}
			from := min(g[0], size)
			to := min(size, from+min(g[1], size))
			if g[1] < 0 {
				to = size
			}
			if got, err := w.read(id, g[0], g[1]); err != nil || !bytes.Equal(got, body[from:to]) {
				t.Errorf("%s: range %v gives %d octets, %v; want %d", name, g, len(got), err, to-from)
			}
		}
	}
	if _, err := w.read(mail.ID{}, 0, -1); !mail.Is(err, mail.NotFound) {
		t.Errorf("a missing body gives %v", err)
	}
	if _, err := w.read(mail.ID{}, -1, -1); !mail.Is(err, mail.Invalid) {
		t.Errorf("a negative offset gives %v", err)
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	second := blob.Owner{Kind: blob.QueueItem, A: 3, ID: 9}
	third := blob.Owner{Kind: blob.Email, A: 2, ID: 1}
	for _, size := range []int{3000, 300_000} {
		w := strictly(t)
		body := bytes.Repeat([]byte("x1"), size/2)
		gone := func(id mail.ID, want bool) {
			t.Helper()
			if _, err := w.blobs.Sweep(context.Background(), time.Hour); err != nil {
				t.Fatal(err)
			}
			_, err := w.read(id, 0, -1)
			if is := mail.Is(err, mail.NotFound); is != want || !is && err != nil {
				t.Fatalf("size %d: %v", size, err)
			}
			if n := w.files(t); want && n != 0 {
				t.Fatalf("size %d: %d files left", size, n)
			}
		}
		id := w.put(t, body, owner, second)
		w.unlink(t, id, owner)
		gone(id, false)
		w.update(t, []kv.Key{kv.LockBlob(id)}, func(tx kv.Tx) { w.blobs.Link(tx, id, third) })
		w.unlink(t, id, second)
		gone(id, false)
		w.unlink(t, id, third)
		gone(id, true)

		id = w.put(t, body, owner, second) // both in one transaction
		w.unlink(t, id, owner, second)
		gone(id, true)

		id = w.put(t, body, owner) // from the queue into a mailbox
		w.update(t, []kv.Key{kv.LockBlob(id)}, func(tx kv.Tx) {
			w.blobs.Link(tx, id, second)
			if err := w.blobs.Unlink(tx, id, owner); err != nil {
				t.Error(err)
			}
		})
		gone(id, false)
		w.update(t, nil, func(tx kv.Tx) { w.blobs.UnlinkLater(tx, id, second) })
		gone(id, true)
	}
}

func TestDiscardAndSweep(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	ctx := context.Background()
	big := bytes.Repeat([]byte("y"), 400_000)
	for _, step := range []string{"written", "sealed", "linked in a failed transaction"} {
		b := w.blobs.New(ctx)
		if _, err := b.Write(big); err != nil {
			t.Fatal(err)
		}
		if step != "written" {
			if _, err := b.Seal(); err != nil {
				t.Fatal(err)
			}
		}
		failed := errors.New("no")
		if strings.HasPrefix(step, "linked") {
			err := w.kv.Update(ctx, kv.Txn{}, func(tx kv.Tx) error { b.Link(tx, owner); return failed })
			if !errors.Is(err, failed) {
				t.Fatal(err)
			}
		}
		b.Discard()
		b.Discard()
		if _, err := b.Write(big); err == nil {
			t.Error("written after the end")
		}
		if strings.HasPrefix(step, "linked") {
			if n, err := w.blobs.Sweep(ctx, time.Hour); n != 0 || err != nil || w.files(t) != 1 {
				t.Errorf("a young file: %d removed, %v", n, err)
			}
			if n, err := w.blobs.Sweep(ctx, -time.Hour); n != 1 || err != nil {
				t.Errorf("an old file: %d removed, %v", n, err)
			}
		}
		if n := w.files(t); n != 0 {
			t.Errorf("%s: %d files left", step, n)
		}
	}
	id := w.put(t, big)
	if n, err := w.blobs.Sweep(ctx, -time.Hour); n != 0 || err != nil {
		t.Errorf("a linked file: %d removed, %v", n, err)
	}
	if _, err := w.read(id, 0, -1); err != nil {
		t.Error(err)
	}
	b := w.blobs.New(ctx) // a crash while writing
	if _, err := b.Write(big); err != nil {
		t.Fatal(err)
	}
	if _, err := file.New(file.Options{FS: w.fs, Dir: "/data/blob"}); err != nil || w.files(t) != 1 {
		t.Errorf("%d files after the start, %v", w.files(t), err)
	}
}

// TestDamage flips every octet of a row, and octets all over a file: the answer is the body or an error that names
// the id.
func TestDamage(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	check := func(id mail.ID, body []byte, what string) {
		t.Helper()
		got, err := w.read(id, 0, -1)
		if err == nil && bytes.Equal(got, body) {
			return
		}
		var e *mail.Error
		if !errors.As(err, &e) || e.Kind != mail.Internal || !strings.Contains(e.Text, id.String()) {
			t.Fatalf("%s: %d octets, error %v", what, len(got), err)
		}
	}
	small := bytes.Repeat([]byte("small "), 40)
	id := w.put(t, small)
	key := kv.K(kv.Blobs).ID(id)
	var row []byte
	w.update(t, nil, func(tx kv.Tx) { v, _ := tx.Get(key); row = bytes.Clone(v) })
	for i := range row {
		bad := bytes.Clone(row)
		bad[i] ^= 1 << (i % 8)
		w.update(t, nil, func(tx kv.Tx) { tx.Set(key, bad) })
		check(id, small, fmt.Sprintf("row octet %d", i))
		w.update(t, nil, func(tx kv.Tx) { tx.Set(key, row[:i]) })
		check(id, small, fmt.Sprintf("row cut at %d", i))
	}
	large := bodies()["mixed"]
	id = w.put(t, large)
	name := "/data/blob/" + id.String()[:4] + "/" + id.String()
	content, err := vfs.ReadFile(w.fs, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(content); i += 1 + len(content)/60 {
		bad := bytes.Clone(content)
		bad[len(bad)-1-i] ^= 0x10
		for _, b := range [][]byte{bad, content[:i], append(bytes.Clone(content), 0)} {
			if err := vfs.WriteFileSync(w.fs, name, b); err != nil {
				t.Fatal(err)
			}
			check(id, large, fmt.Sprintf("file octet %d", i))
		}
	}
	if err := w.fs.Remove(name); err != nil {
		t.Fatal(err)
	}
	check(id, large, "file removed")
}

// TestOtherInlineMax reads bodies that were written under another limit.
func TestOtherInlineMax(t *testing.T) {
	t.Parallel()
	w := open(t, vfs.NewMem())
	usual := w.blobs
	w.blobs = blob.New(blob.Options{KV: w.kv, InlineMax: 3 << 20})
	body := bodies()["mixed"]
	id := w.put(t, body)
	w.blobs = usual
	if got, err := w.read(id, 0, -1); err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d octets, %v", len(got), err)
	}
}

func TestTooLargeWithoutBackend(t *testing.T) {
	t.Parallel()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := blob.New(blob.Options{KV: s, InlineMax: 100}).New(context.Background())
	defer w.Discard()
	if _, err := w.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte{1}); !mail.Is(err, mail.TooLarge) {
		t.Fatalf("got %v", err)
	}
}
