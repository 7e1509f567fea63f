package queue

import (
	"maps"
	"time"
)

// The floor of a partition is a due time below which no row of qd is expected but of items in work and of destinations
// that are behind (backlog.go), so that a search need not walk over these, nor over what is left of the items that are
// done: thousands of deleted rows in a busy minute. It is a hint. Whatever writes a due row lowers it, and so does whoever
// gives an item back that was not worked on; a row that is committed long after that is found by the next search of
// everything.
const (
	floorLag  = time.Second      // behind the clock: rows younger than this may be on their way
	sharedLag = 30 * time.Second // the same for those of other nodes, whose clocks may differ
	wholeScan = time.Minute      // how often a search begins at the bottom
)

// floorOf gives the due time at which a search of the partition begins.
func (q *Queue) floorOf(p uint16) uint64 {
	now := q.clock()
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.whole) >= wholeScan || now.Before(q.whole) {
		q.whole, q.floor, q.behind = now, [partitions]uint64{}, [partitions]map[uint32]backlog{}
		maps.DeleteFunc(q.busy, func(_ uint32, h *held) bool { return h.items <= 0 })
	}
	return q.floor[p]
}

// raiseFloor notes that a search from a floor left nothing below to. A floor that was lowered meanwhile stays.
func (q *Queue) raiseFloor(p uint16, from, to uint64) {
	lag := floorLag
	if q.parts != nil {
		lag = sharedLag
	}
	limit := millis(q.clock().Add(-lag))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.floor[p] == from {
		q.floor[p] = max(from, min(to, limit))
	}
}

// lowerFloor notes that a row is about to be written, or to be worked on again.
func (q *Queue) lowerFloor(p uint16, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lower(p, millis(due))
}

// lower is lowerFloor. Under the lock.
func (q *Queue) lower(p uint16, due uint64) { q.floor[p] = min(q.floor[p], due) }
