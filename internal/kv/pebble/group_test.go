package pebble

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// TestGroups: who is told of success was in the log before the sync that told it began; groups are synced one after the
// other; and the outcome of a sync is that of all its members.
func TestGroups(t *testing.T) {
	t.Parallel()
	var g groups
	var log, synced, running, syncs atomic.Int64
	broken := errors.New("broken")
	syncLog := func() error {
		if running.Add(1) != 1 {
			t.Error("two syncs at a time")
		}
		defer running.Add(-1)
		if syncs.Add(1)%4 == 0 {
			return broken
		}
		synced.Store(log.Load())
		return nil
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 200 {
				at := log.Add(1)
				c, first := g.join()
				if first {
					g.lead(c, syncLog)
				} else {
					<-c.done
				}
				if c.err == nil && synced.Load() < at {
					t.Errorf("record %d was told to be synced, and %d are", at, synced.Load())
				}
			}
		})
	}
	wg.Wait()
	if n := syncs.Load(); n < 4 || n > 32*200 {
		t.Errorf("%d syncs", n)
	}
	if g.open != nil || g.syncing != nil {
		t.Error("a group is left over")
	}
}

// TestGroupJoinsDuringSync: what comes while a sync runs waits for the next one, which serves all that came.
func TestGroupJoinsDuringSync(t *testing.T) {
	t.Parallel()
	var g groups
	first, lead := g.join()
	if !lead {
		t.Fatal("the first member does not lead")
	}
	var next []*group
	g.lead(first, func() error {
		for range 3 {
			c, lead := g.join()
			if lead != (len(next) == 0) || c == first {
				t.Error("the group that is being synced took a member")
			}
			next = append(next, c)
		}
		return nil
	})
	if next[0] != next[1] || next[1] != next[2] {
		t.Fatal("those who came meanwhile do not share a group")
	}
	broken := errors.New("broken")
	g.lead(next[0], func() error { return broken })
	if <-next[2].done; !errors.Is(next[2].err, broken) || first.err != nil {
		t.Errorf("outcomes %v, %v", first.err, next[2].err)
	}
}
