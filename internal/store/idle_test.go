package store

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestIdleSnapshot opens a mailbox again: within half a minute nothing is read anew but what changed meanwhile, later all
// is, and what is kept is bounded.
func TestIdleSnapshot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for i := range 600 {
		w.append(1, Inbox, fmt.Sprint(i), 0)
	}
	look := func() *Snapshot {
		t.Helper()
		v, err := w.Open(ctx(t), 1, Inbox, true)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		p, err := v.Latest(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	first := look()
	if again := look(); &again.chunks[0].slots[0] != &first.chunks[0].slots[0] {
		t.Error("all was read anew")
	}
	w.append(1, Inbox, "one more", 0)
	if err := w.SetFlags(ctx(t), 1, Inbox, []UID{600}, Add, Seen, nil); err != nil {
		t.Fatal(err)
	}
	after := look()
	if after.Len() != 601 || !after.At(600).Flags.Has(Seen) || &after.chunks[0].slots[0] != &first.chunks[0].slots[0] {
		t.Errorf("%d messages, and flags %v", after.Len(), after.At(600).Flags)
	}
	if w.open.entries != 601 || len(w.open.idle) != 1 {
		t.Errorf("%d entries in %d mailboxes are kept", w.open.entries, len(w.open.idle))
	}
	w.open.forget(w.open.boxes[boxID{1, Inbox}])
	if len(w.open.boxes) != 0 || w.open.entries != 0 {
		t.Errorf("%d mailboxes are left, with %d entries", len(w.open.boxes), w.open.entries)
	}
	if last := look(); last.Len() != 601 || &last.chunks[0].slots[0] == &first.chunks[0].slots[0] {
		t.Error("it was kept for ever")
	}
	if err := w.Close(); err != nil || len(w.open.idle) != 0 {
		t.Errorf("%d are left at the end, %v", len(w.open.idle), err)
	}
}

// TestIdleEnds has the time go by.
func TestIdleEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var g registry
		s := &Store{}
		views := make([]*View, idleBoxes+5)
		for i := range views {
			views[i] = &View{}
			g.hold(s, 1, MailboxID(i+1), views[i])
		}
		for _, v := range views {
			v.h.snap.Store(new(Snapshot))
			g.release(v.h, v)
		}
		if len(g.idle) != idleBoxes || len(g.boxes) != idleBoxes {
			t.Errorf("%d are kept, %d known", len(g.idle), len(g.boxes))
		}
		again := &View{}
		g.hold(s, 1, idleBoxes, again)
		time.Sleep(idleTime + time.Second)
		synctest.Wait()
		if len(g.idle) != 0 || len(g.boxes) != 1 {
			t.Errorf("later %d are kept, %d known", len(g.idle), len(g.boxes))
		}
		g.close()
		g.release(again.h, again)
		if len(g.boxes) != 0 {
			t.Error("one is kept after the end")
		}
	})
}
