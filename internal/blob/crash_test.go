package blob_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// ledger is what the outside knows: bodies acknowledged, and those whose removal was.
type ledger struct {
	mu      sync.Mutex
	present map[mail.ID]uint64 // the seed of its body
	started map[mail.ID]uint64 // may be there or not
}

func newLedger() *ledger {
	return &ledger{present: map[mail.ID]uint64{}, started: map[mail.ID]uint64{}}
}

func (l *ledger) note(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// copy gives the ledger as it is now.
func (l *ledger) copy() *ledger {
	c := newLedger()
	l.note(func() {
		for id, seed := range l.present {
			c.present[id] = seed
		}
		for id, seed := range l.started {
			c.started[id] = seed
		}
	})
	return c
}

// bodyOf gives the body of a seed: of any size, text and noise.
func bodyOf(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 1))
	n := rng.IntN(4000)
	if rng.IntN(4) == 0 {
		n = 100_000 + rng.IntN(400_000)
	}
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b[:n/2])
	return b
}

// churn stores, reads and removes bodies until ctx ends or something fails.
func (w *world) churn(ctx context.Context, l *ledger, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 2))
	account := kv.LockAccount(mail.AccountID(seed))
	o := blob.Owner{Kind: blob.Email, A: seed, ID: 1}
	var mine []mail.ID
	for n := seed << 32; ctx.Err() == nil; n++ {
		if len(mine) > 5 {
			at := rng.IntN(len(mine))
			id := mine[at]
			mine = append(mine[:at], mine[at+1:]...)
			var was uint64
			l.note(func() { was = l.present[id]; l.started[id] = was; delete(l.present, id) })
			err := w.kv.Update(ctx, kv.Txn{Lock: []kv.Key{account, kv.LockBlob(id)}}, func(tx kv.Tx) error {
				return w.blobs.Unlink(tx, id, o)
			})
			if err != nil {
				return err
			}
			continue
		}
		id, err := w.store(ctx, l, n, account, o)
		if err != nil {
			return err
		}
		mine = append(mine, id)
		if got, err := w.read(id, 0, -1); err != nil || !bytes.Equal(got, bodyOf(n)) {
			return errors.Join(err, errors.New("a body just stored differs"))
		}
	}
	return nil
}

func (w *world) store(ctx context.Context, l *ledger, n uint64, account kv.Key, o blob.Owner) (mail.ID, error) {
	b := w.blobs.New(ctx)
	defer b.Discard()
	l.note(func() { l.started[b.ID()] = n })
	if _, err := b.Write(bodyOf(n)); err != nil {
		return mail.ID{}, err
	}
	id, err := b.Seal()
	if err != nil {
		return mail.ID{}, err
	}
	err = w.kv.Update(ctx, kv.Txn{Lock: []kv.Key{account}}, func(tx kv.Tx) error { b.Link(tx, o); return nil })
	if err == nil {
		l.note(func() { l.present[id] = n; delete(l.started, id) })
	}
	return id, err
}

// openFS opens a world on any file system, with a log and memtable so small that they turn over often.
func openFS(fs vfs.FS) (*world, error) {
	s, err := pebble.Open(pebble.Options{FS: fs, Dir: "/data/kv", MemTableSize: 256 << 10})
	if err != nil {
		return nil, err
	}
	f, err := file.New(file.Options{FS: fs, Dir: "/data/blob"})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &world{fs, s, blob.New(blob.Options{KV: s, Large: f})}, nil
}

// verify opens what a crash left: everything acknowledged is there and whole, what was under way is there and whole
// or not at all, and after a sweep nothing else is.
func (l *ledger) verify(t *testing.T, fs vfs.FS) {
	t.Helper()
	w, err := openFS(fs)
	if err != nil {
		t.Fatal(err)
	}
	defer w.kv.Close()
	for id, seed := range l.present {
		if got, err := w.read(id, 0, -1); err != nil || !bytes.Equal(got, bodyOf(seed)) {
			t.Errorf("acknowledged %s: %d octets, %v", id, len(got), err)
		}
	}
	for id, seed := range l.started {
		got, err := w.read(id, 0, -1)
		if !mail.Is(err, mail.NotFound) && (err != nil || !bytes.Equal(got, bodyOf(seed))) {
			t.Errorf("under way %s: %d octets, %v", id, len(got), err)
		}
	}
	if _, err := w.blobs.Sweep(context.Background(), -time.Hour); err != nil {
		t.Error(err)
	}
	w.noneElse(t, l)
}

// noneElse checks that each blob row has a link and each link, row and object is of a known body.
func (w *world) noneElse(t *testing.T, l *ledger) {
	t.Helper()
	seen := map[kv.Prefix]map[mail.ID]bool{kv.Blobs: {}, kv.BlobLinks: {}, kv.BlobGarbage: {}}
	err := w.kv.View(context.Background(), nil, func(r kv.Reader) error {
		for p, ids := range seen {
			for row, err := range r.Scan(kv.K(p), kv.K(p).End(), kv.ScanOptions{KeysOnly: true}) {
				if err != nil {
					return err
				}
				ids[mail.ID(row.Key[2:18])] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	for id := range seen[kv.Blobs] {
		if !seen[kv.BlobLinks][id] {
			t.Errorf("%s has no link", id)
		}
	}
	for id := range seen[kv.BlobLinks] {
		_, acked := l.present[id]
		if _, known := l.started[id]; !seen[kv.Blobs][id] || !acked && !known {
			t.Errorf("link of %s, which is not there", id)
		}
	}
	if n := len(seen[kv.BlobGarbage]); n > 0 {
		t.Errorf("%d garbage rows after the sweep", n)
	}
	if objects := w.files(t); objects > len(seen[kv.Blobs]) {
		t.Errorf("%d objects, %d blobs", objects, len(seen[kv.Blobs]))
	}
}

func rounds(t *testing.T, normal int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("POSTEL_CRASHES")); err == nil {
		return n
	}
	if testing.Short() {
		return 1
	}
	return normal
}

// TestCrash pulls the plug on kv and files at once, keeping 0, 50 and 100 % of what was not synced, while bodies come
// and go and the sweep runs.
func TestCrash(t *testing.T) {
	t.Parallel()
	for i := range rounds(t, 3) {
		fs := vfs.NewCrashable()
		w, err := openFS(vfs.WithFaults(fs, func(op vfs.Op) error {
			if op.Sync {
				time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
			}
			return nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		l := newLedger()
		ctx, stop := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for writer := range uint64(4) {
			wg.Go(func() {
				if err := w.churn(ctx, l, writer+1); err != nil && !mail.Is(err, mail.Canceled) {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := w.blobs.Sweep(ctx, time.Hour); err != nil && !mail.Is(err, mail.Canceled) {
					t.Error(err)
				}
				time.Sleep(3 * time.Millisecond)
			}
		})
		for j, keep := range []int{0, 50, 100} {
			time.Sleep(time.Duration(20+rand.IntN(30)) * time.Millisecond)
			crashed, before := l.crash(fs, keep, uint64(i*10+j))
			before.verify(t, crashed)
		}
		stop()
		wg.Wait()
		if err := w.kv.Close(); err != nil {
			t.Error(err)
		}
	}
}

// crash takes a clone of the disk. What is acknowledged before the clone and not being removed after it must be in
// it: so the ledger is taken before, and what was begun until after the clone may be there too.
func (l *ledger) crash(fs vfs.Crashable, keep int, seed uint64) (vfs.Crashable, *ledger) {
	before := l.copy()
	crashed := fs.Crash(keep, seed)
	after := l.copy()
	for id, n := range after.present {
		if _, ok := before.present[id]; !ok {
			before.started[id] = n
		}
	}
	for id, n := range after.started {
		before.started[id] = n
		delete(before.present, id)
	}
	return crashed, before
}

// TestFailures fails the nth change of the disk for good: no call hangs, and what was acknowledged is there.
func TestFailures(t *testing.T) {
	t.Parallel()
	step := int64(max(1, 200/rounds(t, 12)))
	for n := int64(20); n < 500; n += 1 + rand.Int64N(2*step) {
		fs := vfs.NewCrashable()
		var seen atomic.Int64
		w, err := openFS(vfs.WithFaults(fs, func(op vfs.Op) error {
			if !op.Read && seen.Add(1) >= n {
				return vfs.ErrInjected
			}
			return nil
		}))
		if err != nil {
			continue
		}
		l := newLedger()
		var wg sync.WaitGroup
		for writer := range uint64(3) {
			wg.Go(func() {
				if err := w.churn(t.Context(), l, writer+1); !mail.Is(err, mail.Unavailable) {
					t.Errorf("fault %d: %v", n, err)
				}
			})
		}
		wg.Wait()
		if err := w.kv.Close(); !mail.Is(err, mail.Unavailable) {
			t.Errorf("fault %d: closing a poisoned store gives %v", n, err)
		}
		for _, keep := range []int{0, 100} {
			l.verify(t, fs.Crash(keep, uint64(n)))
		}
	}
}
