// Package faults fails each call to the file system in turn, under everything that keeps mail: mailboxes, queue,
// directory, bodies in rows and bodies in files. The script is the same each time; what it came to without a fault is
// what it must come to with one.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// fault is one way to fail.
type fault struct {
	name string
	err  error
	read bool // reading fails, else what changes something
	half bool // a write puts half of it on the disk before it fails; only writes fail
	once bool // else all that follow fail too
}

func kinds() (all []fault) {
	for _, once := range []bool{true, false} {
		all = append(all,
			fault{"EIO", syscall.EIO, false, false, once},
			fault{"ENOSPC", syscall.ENOSPC, false, false, once},
			fault{"short write", syscall.ENOSPC, false, true, once},
			fault{"read", syscall.EIO, true, false, once})
	}
	return all
}

// golden is what the script comes to without a fault: the state before each step, and behind the last.
var golden = sync.OnceValues(func() ([]string, error) {
	w, err := open(context.Background(), vfs.NewCrashable())
	if err != nil {
		return nil, err
	}
	defer func() { _ = w.close() }()
	if err := setUp(w, nil); err != nil {
		return nil, err
	}
	all := script()
	states := make([]string, len(all)+1)
	for i := range states {
		if states[i], err = w.state(); err != nil || i == len(all) {
			return states, err
		}
		if err := w.take(all[i], i); err != nil {
			return nil, fmt.Errorf("step %d, %s: %w", i, all[i].name, err)
		}
	}
	return states, nil
})

// take does one step.
func (w *world) take(s step, i int) error {
	w.now = start().Add(time.Duration(i) * time.Second)
	return s.do(w, rand.New(rand.NewPCG(7, uint64(i))))
}

// TestFaults fails POSTEL_FAULTS calls of each kind (default 40, spread over the script; `make faults` fails every
// one).
func TestFaults(t *testing.T) {
	t.Parallel()
	states, err := golden()
	if err != nil {
		t.Fatal(err)
	}
	number := 40
	if n, err := strconv.Atoi(os.Getenv("POSTEL_FAULTS")); err == nil {
		number = n
	} else if testing.Short() {
		number = 8
	}
	began := time.Now()
	var runs, fails, poisoned atomic.Int64
	t.Run("kinds", func(t *testing.T) {
		for _, f := range kinds() {
			t.Run(fmt.Sprintf("%s once=%v", f.name, f.once), func(t *testing.T) {
				t.Parallel()
				total := (&run{t: t, fault: f, states: states}).once()
				step := max(1, total/int64(number))
				for n := 1 + rand.Int64N(step); n <= total && !t.Failed(); n += step {
					r := &run{t: t, fault: f, at: n, states: states}
					r.once()
					runs.Add(1)
					fails.Add(int64(r.fails))
					if r.poisoned {
						poisoned.Add(1)
					}
				}
				t.Logf("of %d calls, each %dth failed", total, step)
			})
		}
	})
	took := time.Since(began)
	t.Logf("%d steps, %d faults in %v (%.0f a minute): %d steps refused, %d stores ended", len(states)-1, runs.Load(),
		took.Round(time.Millisecond), float64(runs.Load())/took.Minutes(), fails.Load(), poisoned.Load())
}

// run is one time through the script with a fault.
type run struct {
	t *testing.T
	fault
	at       int64 // the call that fails, from 1; 0 is none
	states   []string
	seen     atomic.Int64
	fails    int // steps that were refused
	poisoned bool
}

// inject is asked before each call that this kind of fault is about.
func (r *run) inject() error {
	if i := r.seen.Add(1); r.at > 0 && (i == r.at || i > r.at && !r.fault.once) {
		return r.err
	}
	return nil
}

func (r *run) wrap(fs vfs.FS) vfs.FS {
	if r.half {
		return halfFS{fs, r.inject}
	}
	return vfs.WithFaults(fs, func(op vfs.Op) error {
		if op.Read != r.read {
			return nil
		}
		if err := r.inject(); err != nil {
			return &os.PathError{Op: "fault", Path: op.Path, Err: err}
		}
		return nil
	})
}

func (r *run) wrong(format string, args ...any) {
	r.t.Helper()
	r.t.Errorf("%s once=%v, call %d: %s", r.name, r.fault.once, r.at, fmt.Sprintf(format, args...))
}

// once goes through the script, then looks what a power failure leaves of it; it gives the number of calls.
func (r *run) once() int64 {
	r.t.Helper()
	fs := vfs.NewCrashable()
	w, err := open(r.t.Context(), r.wrap(fs))
	if err != nil {
		if r.at == 0 || !errors.Is(err, r.err) {
			r.wrong("open: %v", err)
		}
		r.judge(fs, nil)
		return r.seen.Load()
	}
	lo, hi := r.script(w)
	left := fs.Crash(int(r.at%3)*50, uint64(r.at))
	r.poisoned = w.failed()
	err = w.close()
	if r.poisoned != (err != nil) && !w.failed() {
		r.wrong("closing: %v", err)
	}
	if lo < 0 {
		r.judge(left, nil)
		return r.seen.Load()
	}
	r.judge(left, r.states[lo:hi+1])
	if r.at%7 == 0 {
		r.judge(fs, r.states[lo:hi+1]) // as the process left it
	}
	return r.seen.Load()
}

// script goes as far as it gets. What is there then is between the states of lo and hi; -1 is before everything.
func (r *run) script(w *world) (lo, hi int) {
	if err := setUp(w, nil); err != nil {
		if err = setUp(w, nil); err != nil {
			return -1, 0
		}
	}
	all := script()
	for i := range all {
		err := w.take(all[i], i)
		if err == nil {
			continue
		}
		r.refused(all[i].name, err)
		if w.failed() {
			r.closed(w)
			return i, i + 1
		}
		now, err := w.state()
		switch {
		case err != nil:
			r.refused("looking", err)
			return i, i + 1
		case now == r.states[i+1]: // done after all
		case now != r.states[i]:
			r.wrong("behind the failed %s there is neither the old state nor the new:\n%s", all[i].name, difference(r.states[i], now))
			return i, i + 1
		default:
			if err := w.take(all[i], i); err != nil {
				r.refused(all[i].name, err)
				return i, i + 1
			}
		}
	}
	return len(all), len(all)
}

// refused looks whether an error is what a client may be told: not now, or that something is broken here; never that
// what is there is not.
func (r *run) refused(what string, err error) {
	r.fails++
	switch mail.KindOf(err) {
	case mail.Unavailable, mail.Internal, mail.Full:
	default:
		r.wrong("%s: Kind %v: %v", what, mail.KindOf(err), err)
	}
}

// closed looks whether a store that failed refuses everything.
func (r *run) closed(w *world) {
	if _, err := w.Mailboxes(w.ctx, first); !mail.Is(err, mail.Unavailable) {
		r.wrong("a store that failed reads: %v", err)
	}
	if err := w.appendTo(first, 1, 100); !mail.Is(err, mail.Unavailable) {
		r.wrong("a store that failed takes mail: %v", err)
	}
}

// judge opens what is left on a sound disk: it is one of the states, no invariant is broken, no file is left over, and
// it takes mail. Without states the accounts may be there or not.
func (r *run) judge(fs vfs.Crashable, states []string) {
	r.t.Helper()
	w, err := open(r.t.Context(), fs)
	if err != nil {
		r.wrong("open afterwards: %v", err)
		return
	}
	defer func() {
		if err := w.close(); err != nil {
			r.wrong("close afterwards: %v", err)
		}
	}()
	if states != nil {
		r.compare(w, states)
	} else if err := setUp(w, nil); err != nil {
		r.wrong("setting up afterwards: %v", err)
	}
	if found, err := w.broken(); err != nil || len(found) > 0 {
		r.wrong("broken: %v %v", found, err)
	}
	if _, err := w.blobs.Sweep(w.ctx, -time.Hour); err != nil {
		r.wrong("sweep: %v", err)
	}
	if n, err := w.blobs.Sweep(w.ctx, -time.Hour); n != 0 || err != nil {
		r.wrong("a second sweep finds %d, %v", n, err)
	}
	if states != nil {
		r.compare(w, states)
	}
	if err := w.appendTo(first, 1, 5000); err != nil {
		r.wrong("append afterwards: %v", err)
	}
}

func (r *run) compare(w *world, states []string) {
	r.t.Helper()
	now, err := w.state()
	if err != nil {
		r.wrong("reading afterwards: %v", err)
		return
	}
	for _, s := range states {
		if now == s {
			return
		}
	}
	r.wrong("it is none of %d states:\n%s", len(states), difference(states[len(states)-1], now))
}
