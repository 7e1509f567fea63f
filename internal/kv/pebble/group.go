package pebble

import (
	"runtime"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// group is some transactions that are in the log and wait for the same sync.
type group struct {
	done    chan struct{} // closed when synced or failed
	err     error         // written before done is closed
	before  *group        // that which was being synced when this one began; nil: none was
	members int           // guarded by groups.mu
}

// groups forms the groups: one takes members for as long as the one before it is being synced. Its first member syncs it for
// all.
type groups struct {
	mu      sync.Mutex
	open    *group // takes members; nil: the next member begins one
	syncing *group // nil: none
}

// maxYields bounds how often a group that grows lets others join before it is synced.
const maxYields = 8

// join makes a transaction that is in the log a member of a group; first tells that it has to call sync.
func (g *groups) join() (_ *group, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil {
		g.open, first = &group{done: make(chan struct{}), before: g.syncing}, true
	}
	g.open.members++
	return g.open, first
}

// lead closes a group that join began, once it is its turn, and calls sync for it.
//
// Those whom the sync before has just told of their success come back with another transaction in a moment. Were the first
// of them to sync at once, all others would wait for that and then for their own. So it lets go of its processor for as long as
// that brings members: without others to run it costs nothing, and no clock is involved.
func (g *groups) lead(c *group, sync func() error) {
	if c.before != nil {
		<-c.before.done
	}
	for members, n := 0, 0; n < maxYields; n++ {
		g.mu.Lock()
		grown := c.members > members
		members = c.members
		g.mu.Unlock()
		if !grown {
			break
		}
		runtime.Gosched()
	}
	g.mu.Lock()
	g.open, g.syncing = nil, c
	c.before = nil // else each group would keep all that were before it
	g.mu.Unlock()
	c.err = sync()
	g.mu.Lock()
	if g.syncing == c {
		g.syncing = nil
	}
	g.mu.Unlock()
	close(c.done)
}

// syncLog makes all durable that is in the log. The log is one sequence, and one that is full is synced before the next is
// begun; so an empty record that is durable is behind all that came before it.
func (s *Store) syncLog() error {
	b := s.db.NewBatch()
	err := b.LogData(nil, nil)
	if err == nil {
		err = s.db.ApplyNoSyncWait(b, pebble.Sync)
	}
	if err == nil {
		err = b.SyncWait()
	}
	if err != nil {
		s.poison(err) // b may lie in the engine's queue for ever: not to be used again
		return s.Err()
	}
	_ = b.Close() // only gives memory back
	// The guard lets the engine believe in a log that failed, so this asks the store and not the engine.
	return s.Err()
}
