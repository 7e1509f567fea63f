package search

import (
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/vfs"
)

// fault is a way in which a disk fails.
type fault struct {
	err  error
	read bool // reading fails, else what changes something, syncs among it
	once bool // one call fails, else all from it on
}

// disk is a file system that fails while it is armed.
type disk struct {
	vfs.Crashable
	fault
	at    int64 // the call that fails, from 1; 0 is none
	calls atomic.Int64
	armed atomic.Bool
}

func (d *disk) fs() vfs.FS {
	return vfs.WithFaults(d.Crashable, func(op vfs.Op) error {
		if !d.armed.Load() || op.Read != d.read {
			return nil
		}
		if n := d.calls.Add(1); d.at > 0 && (n == d.at || n > d.at && !d.once) {
			return &os.PathError{Op: "fault", Path: op.Path, Err: d.err}
		}
		return nil
	})
}

// TestFaults fails calls to the file system while an index is built and merged: searches stay right as long as the
// store lives, and the index is finished once the disk is sound again, by the same process, or by the next where the
// store ended itself.
func TestFaults(t *testing.T) {
	t.Parallel()
	number := int64(8)
	if testing.Short() {
		number = 4
	}
	for _, f := range []fault{
		{syscall.ENOSPC, false, true},
		{syscall.ENOSPC, false, false},
		{syscall.EIO, false, true},
		{syscall.EIO, false, false},
		{syscall.EIO, true, true},
		{syscall.EIO, true, false},
	} {
		t.Run(fmt.Sprintf("%v read=%v once=%v", f.err, f.read, f.once), func(t *testing.T) {
			t.Parallel()
			total, _ := buildOn(t, f, 0)
			step, failed := max(1, total/number), 0
			for at := int64(1); at <= total && !t.Failed(); at += step {
				if _, did := buildOn(t, f, at); did {
					failed++
				}
			}
			t.Logf("of %d calls, each %dth failed: %d builds did not end", total, step, failed)
			if failed == 0 && !f.once {
				t.Error("no build noticed")
			}
		})
	}
}

// buildOn builds an index on a disk whose call number at fails, from when the store is open, and gives the number of
// calls and whether the build failed.
func buildOn(t *testing.T, f fault, at int64) (calls int64, failed bool) {
	t.Helper()
	d := &disk{Crashable: vfs.NewCrashable(), fault: f, at: at}
	src, o := &emails{all: map[uint64]string{}}, Options{Least: 1, Batch: 3000, Largest: 60_000}
	r := rand.New(rand.NewPCG(uint64(at), 11))
	more := func(n int) {
		for range n {
			src.add(synthetic(r))
		}
	}
	more(60)
	w := openWorld(t, d.fs(), src, o)
	if err := w.Build(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if err := w.kv.Close(); err != nil {
		t.Fatal(err)
	}
	w = openWorld(t, d.fs(), src, o) // nothing of it is in memory
	more(90)
	d.armed.Store(true)
	err := w.Build(t.Context(), account)
	if err != nil && !mail.Is(err, mail.Full) && !mail.Is(err, mail.Unavailable) && !mail.Is(err, mail.Internal) {
		t.Errorf("call %d: %v", at, err)
	}
	if !f.read {
		w.lookWhileItLives(r)
	}
	d.armed.Store(false)
	calls = d.calls.Load()
	if w.ended() {
		w = openWorld(t, d.Crash(int(at%3)*50, uint64(at)), src, o)
	}
	w.lookWhileItLives(r)
	if again := w.Build(t.Context(), account); again != nil {
		t.Fatalf("call %d, on a sound disk: %v", at, again)
	}
	if u, _ := w.agree("invoice", message.Anywhere); u != 0 {
		t.Errorf("call %d: %d emails are not indexed in the end", at, u)
	}
	w.lookWhileItLives(r)
	return calls, err != nil
}

func (w *world) ended() bool {
	select {
	case <-w.kv.(kv.Waiter).Failed():
		return true
	default:
		return false
	}
}

// lookWhileItLives looks for some texts unless the store has ended itself, when it answers nothing.
func (w *world) lookWhileItLives(r *rand.Rand) {
	w.t.Helper()
	for range 6 {
		if w.ended() {
			return
		}
		w.lookAtRandom(r)
	}
}
