package pebble

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

const crashAccounts = 3

// small makes the log rotate and the memtable flush often.
func small(fs vfs.FS) Options { return Options{FS: fs, Dir: "/data/kv", MemTableSize: 96 << 10} }

// crashes gives how many crashes a test makes: few by default, more with POSTEL_CRASHES.
func crashes(t *testing.T, normal int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv("POSTEL_CRASHES")); err == nil {
		return n
	}
	if testing.Short() {
		return max(1, normal/4)
	}
	return normal
}

// slowSync makes each sync take a while, as a disk does: only then is there anything unsynced for long.
func slowSync(fs vfs.FS) vfs.FS {
	return vfs.WithFaults(fs, func(op vfs.Op) error {
		if op.Sync {
			time.Sleep(time.Duration(rand.IntN(400)) * time.Microsecond)
		}
		return nil
	})
}

// world is what the outside knows of a store: for each account how far its counter was acknowledged, and the
// farthest that anyone was shown.
type world struct {
	s     *Store
	acked [crashAccounts]atomic.Uint64
	shown [crashAccounts]atomic.Uint64
}

func raise(a *atomic.Uint64, n uint64) {
	for {
		if old := a.Load(); old >= n || a.CompareAndSwap(old, n) {
			return
		}
	}
}

func counterKey(a int) kv.Key { return kv.K(kv.Counters).Account(mail.AccountID(a)) }

func rowKey(a int, n uint64) kv.Key { return kv.K(kv.Emails).Account(mail.AccountID(a)).U64(n) }

// body gives the row that belongs to count n, of a size around n's.
func body(a int, n uint64) []byte {
	b := make([]byte, 8+n%2000)
	for i := range b {
		b[i] = byte(uint64(a)*7 + n + uint64(i))
	}
	binary.BigEndian.PutUint64(b, n)
	return b
}

func count(r kv.Reader, a int) (uint64, error) {
	v, err := r.Get(counterKey(a))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil || len(v) != 8 {
		return 0, fmt.Errorf("counter %q: %w", v, err)
	}
	return binary.BigEndian.Uint64(v), nil
}

// write raises a counter and adds its row; sometimes it only reads, sometimes it fails: both show what they read.
func (w *world) write(ctx context.Context, a int, rng *rand.Rand) error {
	var n uint64
	kind := rng.IntN(10)
	refused := errors.New("refused")
	err := w.s.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockAccount(mail.AccountID(a))}}, func(tx kv.Tx) (err error) {
		if n, err = count(tx, a); err != nil || kind == 0 {
			return err
		}
		if kind == 1 {
			tx.Set(counterKey(a), nil)
			return refused
		}
		n++
		tx.Set(counterKey(a), binary.BigEndian.AppendUint64(nil, n))
		tx.Set(rowKey(a, n), body(a, n))
		return nil
	})
	switch {
	case errors.Is(err, refused) || err == nil && kind == 0:
		raise(&w.shown[a], n)
	case err == nil:
		raise(&w.acked[a], n)
	default:
		return err
	}
	return nil
}

// read looks at one counter as a session does.
func (w *world) read(ctx context.Context, a int) error {
	return w.s.View(ctx, []kv.Key{kv.LockAccount(mail.AccountID(a))}, func(r kv.Reader) error {
		n, err := count(r, a)
		raise(&w.shown[a], n)
		return err
	})
}

// run keeps the store busy until ctx ends or a call fails; fail gets each failure.
func (w *world) run(ctx context.Context, seed uint64, fail func(error)) (wait func()) {
	var wg sync.WaitGroup
	for i := range 2 * crashAccounts {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		for _, act := range []func() error{
			func() error { return w.write(ctx, i%crashAccounts, rng) },
			func() error { return w.read(ctx, i%crashAccounts) },
		} {
			wg.Go(func() {
				for ctx.Err() == nil {
					if err := act(); err != nil {
						if !mail.Is(err, mail.Canceled) {
							fail(err)
						}
						return
					}
				}
			})
		}
	}
	return wg.Wait
}

// promise is what a crash must not take back.
type promise [crashAccounts]uint64

func (w *world) promise() (p promise) {
	for a := range p {
		p[a] = max(w.acked[a].Load(), w.shown[a].Load())
	}
	return p
}

// kept opens what a crash left and checks a promise: no counter lies below it, each counter's rows are all there
// and whole, and there is none above.
func (p promise) kept(t *testing.T, fs vfs.FS) {
	t.Helper()
	s, err := Open(small(fs))
	if err != nil {
		t.Fatalf("open after the crash: %v", err)
	}
	defer s.Close()
	for a, promised := range p {
		err := s.View(context.Background(), []kv.Key{kv.LockAccount(mail.AccountID(a))}, func(r kv.Reader) error {
			n, err := count(r, a)
			if n < promised {
				t.Errorf("account %d: counter stepped back from %d to %d", a, promised, n)
			}
			next := uint64(1)
			for row, err := range r.Scan(rowKey(a, 0), rowKey(a, 1<<62), kv.ScanOptions{}) {
				if err != nil {
					return err
				}
				if string(row.Key) != string(rowKey(a, next)) || string(row.Value) != string(body(a, next)) {
					t.Errorf("account %d: row %d is %q, %d octets", a, next, row.Key, len(row.Value))
				}
				next++
			}
			if next != n+1 {
				t.Errorf("account %d: counter is %d, rows end at %d", a, n, next-1)
			}
			return err
		})
		if err != nil {
			t.Errorf("account %d: %v", a, err)
		}
	}
}

// TestCrash pulls the plug at random moments, keeping 0, 50 and 100 % of what was not synced.
func TestCrash(t *testing.T) {
	t.Parallel()
	for i := range crashes(t, 4) {
		fs := vfs.NewCrashable()
		s, err := Open(small(slowSync(fs)))
		if err != nil {
			t.Fatal(err)
		}
		w := &world{s: s}
		ctx, stop := context.WithCancel(context.Background())
		wait := w.run(ctx, uint64(i), func(err error) { t.Error(err) })
		for j, keep := range []int{0, 50, 100, 0, 50} {
			time.Sleep(time.Duration(5+rand.IntN(15)) * time.Millisecond)
			p := w.promise() // before the clone: all of it must be there
			p.kept(t, fs.Crash(keep, uint64(i*10+j)))
		}
		stop()
		wait()
		if p := w.promise(); p == (promise{}) {
			t.Error("nothing happened")
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFailures fails the nth of some operations, once or with all that follow, for many n: the store is poisoned (or
// never opens), no call hangs, nothing is acknowledged that a power failure would take back, and all later calls and
// the waiting ones get Kind Unavailable.
func TestFailures(t *testing.T) {
	t.Parallel()
	change := func(part string) func(vfs.Op) bool {
		return func(op vfs.Op) bool { return !op.Read && strings.Contains(op.Path, part) }
	}
	for name, c := range map[string]struct {
		match func(vfs.Op) bool
		max   int64 // largest n; so many must happen while the store is busy
	}{
		"sync":     {func(op vfs.Op) bool { return op.Sync }, 300},
		"change":   {change("/"), 600},
		"log":      {change(".log"), 600},
		"table":    {change(".sst"), 60},
		"manifest": {change("MANIFEST"), 25},
		"dir": {func(op vfs.Op) bool {
			return op.Sync && !strings.Contains(op.Path, ".") && !strings.Contains(op.Path, "-")
		}, 40},
	} {
		for _, once := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s once=%v", name, once), func(t *testing.T) {
				t.Parallel()
				step := max(1, c.max/int64(crashes(t, 5)))
				for n := int64(1); n <= c.max && !t.Failed(); n += 1 + rand.Int64N(step) {
					testFailure(t, c.match, n, once)
				}
			})
		}
	}
}

func testFailure(t *testing.T, match func(vfs.Op) bool, n int64, once bool) {
	t.Helper()
	fs := vfs.NewCrashable()
	var seen atomic.Int64
	s, err := Open(small(vfs.WithFaults(fs, func(op vfs.Op) error {
		if !match(op) {
			return nil
		}
		if i := seen.Add(1); i == n || i > n && !once {
			return vfs.ErrInjected
		}
		return nil
	})))
	if err != nil {
		if !errors.Is(err, vfs.ErrInjected) || !mail.Is(err, mail.Unavailable) {
			t.Errorf("fault %d: open: %v", n, err)
		}
		return
	}
	w := &world{s: s}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	wait := w.run(ctx, uint64(n), func(err error) {
		if !mail.Is(err, mail.Unavailable) {
			t.Errorf("fault %d: %v", n, err)
		}
	})
	failed := w.waitForFault(func() bool { return seen.Load() >= n })
	stop()
	wait() // a call that hangs is found by the test's timeout
	if failed {
		for _, err := range []error{s.Err(), w.write(t.Context(), 0, rand.New(rand.NewPCG(1, 1))), w.read(t.Context(), 0)} {
			if !mail.Is(err, mail.Unavailable) {
				t.Errorf("fault %d: a poisoned store gives %v", n, err)
			}
		}
	}
	if err := s.Close(); (failed || err != nil) && !mail.Is(err, mail.Unavailable) { // it may fail in closing
		t.Errorf("fault %d: failed %v, but Close gives %v", n, failed, err)
	}
	p := w.promise()
	for _, keep := range []int{0, 100} {
		p.kept(t, fs.Crash(keep, uint64(n)))
	}
	t.Logf("fault %d: %v", n, s.failErr)
}

// waitForFault waits until the fault has happened, and then until the store has failed. Faults of compactions and
// of removing files need not fail it, and some never come.
func (w *world) waitForFault(happened func() bool) (failed bool) {
	for range 60 {
		select {
		case <-w.s.Failed():
			return true
		case <-time.After(5 * time.Millisecond):
		}
		if happened() {
			break
		}
	}
	select {
	case <-w.s.Failed():
		return true
	case <-time.After(20 * time.Millisecond):
		return false
	}
}

// TestMarker cuts the power when a marker has been made and its directory has not been synced: whatever entries of the
// directory are kept, what the marker names is there.
func TestMarker(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashable()
	var made atomic.Bool // a marker, since the last sync
	var clones []vfs.Crashable
	watched := vfs.WithFaults(fs, func(op vfs.Op) error {
		if made.Swap(false) {
			for seed := range uint64(16) {
				clones = append(clones, fs.Crash(50, seed))
			}
		}
		made.Store(!op.Read && !op.Sync && strings.Contains(op.Path, "marker.manifest."))
		return nil
	})
	for range 3 { // each start begins a manifest
		s, err := Open(small(watched))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(clones) < 3*16 {
		t.Fatalf("only %d crashes", len(clones))
	}
	for i, c := range clones {
		s, err := Open(small(c))
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
