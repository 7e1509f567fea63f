package queue

import (
	"testing"
	"time"

	"postel/internal/vfs"
)

// TestHeldBack: nobody makes a message go before its sender wants it to (RFC 4865 §4.1).
func TestHeldBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	it := f.item("remote.test", "a")
	it.Hold = f.clock().Add(time.Hour)
	it.Recipients[0].Due = it.Hold
	f.add(t, it)
	for _, op := range []func() error{
		func() error { return f.Retry(t.Context(), it.ID) },
		func() error { _, err := f.Kick(t.Context(), "remote.test"); return err },
		func() error { return f.Queue.Hold(t.Context(), it.ID) },
		func() error { return f.Release(t.Context(), it.ID) },
	} {
		if err := op(); err != nil {
			t.Fatal(err)
		}
		if due, err := f.Due(t.Context(), f.clock(), 10, 100); err != nil || len(due) > 0 {
			t.Fatal("due before its time", err)
		}
	}
	if got, err := f.Due(t.Context(), it.Hold, 10, 100); err != nil || len(got) != 1 {
		t.Fatal("not due at its time", err)
	}
}

// TestUrgentFirst: of what is due the urgent comes first, and else what waits longest (RFC 6710 §5).
func TestUrgentFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	for i, p := range []int8{0, -3, 4, 0, 9} {
		it := f.item("remote.test", "a")
		it.Priority = p
		it.Recipients[0].Due = f.clock().Add(time.Duration(i) * time.Second)
		f.add(t, it)
	}
	items, err := f.Due(t.Context(), f.clock().Add(time.Minute), 10, 100)
	if err != nil || len(items) != 5 {
		t.Fatal(len(items), err)
	}
	for i, want := range []int8{9, 4, 0, 0, -3} {
		if items[i].Priority != want {
			t.Errorf("%d: priority %d, want %d", i, items[i].Priority, want)
		}
	}
	if items[2].Recipients[0].Due.After(items[3].Recipients[0].Due) {
		t.Error("of two equals the later came first")
	}
}
