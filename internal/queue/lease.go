package queue

import (
	"context"
	"slices"

	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/lease"
)

// work says that a worker of this process has an item.
type work struct {
	partition uint16
	dest      uint32      // the hash of its destination
	stale     bool        // an operator changed the item since it was read
	under     lease.Lease // the partition's, when it was taken
}

// Wake is signalled after something became due by other means than its time: an operator or Kick.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// Kicked gives, once, the destinations for which Wake was signalled: what was known of their hosts counts no more.
func (q *Queue) Kicked() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	k := q.kicked
	q.kicked = nil
	return k
}

// maxKicked bounds what waits to be told by Kicked; beyond it destinations come back by their own time.
const maxKicked = 10_000

// signal says that items of a destination became due.
func (q *Queue) signal(destination string) {
	q.mu.Lock()
	if !slices.Contains(q.kicked, destination) && len(q.kicked) < maxKicked {
		q.kicked = append(q.kicked, destination)
	}
	q.mu.Unlock()
	if q.bus != nil {
		q.bus.Publish(bus.Topic{Kind: bus.Queue}, 0)
	}
	q.rouse()
}

// rouse says that there may be work.
func (q *Queue) rouse() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// Lease takes an item for the caller, who has just committed it or read it, unless it is taken. room is the size of
// the caller's window, of which one destination gets its share only.
func (q *Queue) Lease(it *Item, room int) bool {
	dest := kv.Hash32(it.Destination)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.inWork(dest) < q.share(dest, room) && q.lease(it.ID, dest)
}

// lease takes an item. Under the lock.
func (q *Queue) lease(id ID, dest uint32) bool {
	if q.leases[id.Number] != nil || !q.owns(id.Partition) {
		return false
	}
	w := &work{partition: id.Partition, dest: dest}
	if q.parts != nil {
		w.under = q.parts.held[id.Partition]
	}
	q.leases[id.Number] = w
	q.load[id.Partition]++
	h := q.busy[dest]
	if h == nil {
		h = &held{most: firstShare}
		q.busy[dest] = h
	}
	h.items++
	return true
}

// Left says that an item was committed that is due and that nobody here has leased, so that the next search finds it.
func (q *Queue) Left(it *Item) {
	if due, waits := it.Due(); waits {
		q.lowerFloor(it.ID.Partition, due)
	}
}

// Return gives a lease back instead of Done: the item is found again as it is.
func (q *Queue) Return(it *Item) {
	q.Left(it)
	q.giveBack(it, false)
}

// Recorded gives a lease back after Done. An item that an operator changed meanwhile may have become due while nobody
// could lease it, and a destination that was behind may go on: Wake is signalled once more.
func (q *Queue) Recorded(it *Item) { q.giveBack(it, true) }

func (q *Queue) giveBack(it *Item, moved bool) {
	q.mu.Lock()
	l := q.leases[it.ID.Number]
	again := l != nil && l.stale
	if q.drop(it.ID, moved); l != nil {
		again = again || q.drained(l.partition, l.dest)
	}
	q.mu.Unlock()
	if again {
		q.rouse()
	}
}

// drop ends a lease. Under the lock.
func (q *Queue) drop(id ID, moved bool) {
	l := q.leases[id.Number]
	if l == nil {
		return
	}
	q.load[l.partition]--
	q.left(l.partition, l.dest, moved)
	delete(q.leases, id.Number)
}

// Leased gives the number of items that are being worked on.
func (q *Queue) Leased() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.leases)
}

// Fresh gives a leased item as it is now: it, or read again when an operator may have changed it since; Kind NotFound
// when it is gone, or no longer this node's to work on. Call it before work begins.
func (q *Queue) Fresh(ctx context.Context, it *Item) (*Item, error) {
	q.mu.Lock()
	l := q.leases[it.ID.Number]
	stale := l != nil && l.stale || q.parts != nil // operators are at other nodes too
	if l != nil {
		l.stale = false
	}
	mine := q.parts == nil || l != nil && q.parts.node.Held(l.under)
	q.mu.Unlock()
	if !mine {
		return nil, errGone("queue.fresh")
	}
	if !stale {
		return it, nil
	}
	return q.Show(ctx, it.ID)
}

// stale marks items as changed behind the back of who leased them.
func (q *Queue) stale(ids ...ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if l := q.leases[id.Number]; l != nil {
			l.stale = true
		}
	}
}
