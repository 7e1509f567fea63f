package search

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/vfs"
)

// TestCrash takes crash clones while an index is built, merged and mended under mail that comes and goes, and looks
// whether what is left is never wrong and can be finished.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := uint64(6)
	if testing.Short() {
		rounds = 3
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(seed, 3))
		fs := vfs.NewCrashable()
		src := &emails{all: map[uint64]string{}}
		o := Options{Least: 1, Batch: 3000, Largest: 60_000}
		w := openWorld(t, fs, src, o)
		var stop atomic.Bool
		done := make(chan error, 1)
		go func() {
			r := rand.New(rand.NewPCG(seed, 4))
			for i := 0; !stop.Load(); i++ {
				for range 5 {
					src.add(synthetic(r))
				}
				if i%3 == 0 {
					ids := src.ids()
					src.remove(ids[r.IntN(len(ids))])
				}
				if i%20 == 19 {
					w.damage(r)
				}
				if err := w.Build(context.Background(), account); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for crash := range uint64(3) {
			time.Sleep(time.Duration(r.IntN(30)) * time.Millisecond)
			clone := fs.Crash([]int{0, 50, 100}[crash], seed*10+crash)
			after := openWorld(t, clone, src.copy(), o)
			for range 8 {
				after.lookAtRandom(r)
			}
			if err := after.Build(t.Context(), account); err != nil {
				t.Fatal(err)
			}
			if u, _ := after.agree("invoice", message.Anywhere); u != 0 {
				t.Errorf("%d emails are not indexed in the end", u)
			}
		}
		stop.Store(true)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// full is a store that has no room now and then.
type full struct {
	kv.Store
	left int // updates until it has none
}

func (f *full) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	if f.left--; f.left < 0 {
		f.left = 2
		return mail.E("full", mail.Unavailable, "no room")
	}
	return f.Store.Update(ctx, t, fn)
}

// TestNoRoom: what cannot be written is not there, searches stay right, and it goes on later.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(5, 5))
	w := newWorld(t, Options{Least: 1, Batch: 3000})
	for range 100 {
		w.src.add(synthetic(r))
	}
	w.o.KV = &full{Store: w.o.KV}
	failed := 0
	for {
		err := w.Build(t.Context(), account)
		w.lookAtRandom(r)
		if err == nil {
			break
		}
		if failed++; !mail.Is(err, mail.Unavailable) || failed > 100 {
			t.Fatal(err)
		}
	}
	if u, _ := w.agree("invoice", message.Anywhere); u != 0 || failed == 0 {
		t.Error(u, failed)
	}
}

// TestUnreadable: an email that cannot be read is looked at by whoever searches; a store that is gone ends the build.
func TestUnreadable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Least: 1})
	for range 4 {
		w.src.add("Subject: invoice\r\n\r\nbody\r\n")
	}
	w.src.broken = map[uint64]error{2: mail.E("test", mail.Internal, "damaged")}
	w.src.spoils = map[uint64]error{3: mail.E("test", mail.Internal, "damaged too")}
	if err := w.Build(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if u, maybe := w.agree("invoice", message.InHeader); u != 0 || maybe != 2 {
		t.Error(u, maybe)
	}
	w.src.add("Subject: another\r\n\r\nbody\r\n")
	gone := errors.Join(mail.E("test", mail.Unavailable, "gone"))
	w.src.broken = map[uint64]error{5: gone}
	if err := w.Build(t.Context(), account); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}

// TestOtherEpoch: what was built while messages were understood in another way is not asked.
func TestOtherEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t, Options{Least: 1})
	w.src.add("Subject: invoice\r\n\r\nbody\r\n")
	if err := w.Build(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	o := w.o
	o.Limits.Parts = 7
	other := &world{Index: New(o), t: t, kv: w.kv, src: w.src, memo: w.memo}
	if u, _ := other.agree("invoice", message.Anywhere); u != 1 {
		t.Error(u)
	}
	if err := other.Build(t.Context(), account); err != nil {
		t.Fatal(err)
	}
	if u, _ := other.agree("invoice", message.Anywhere); u != 0 {
		t.Error(u)
	}
	if u, _ := w.agree("invoice", message.Anywhere); u != 1 {
		t.Error(u)
	}
}
