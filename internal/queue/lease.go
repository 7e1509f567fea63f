package queue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/lease"
)

// work says that a worker of this process has an item.
type work struct {
	partition uint16
	stale     bool        // an operator changed the item since it was read
	under     lease.Lease // the partition's, when it was taken
}

// MaxShare is how much of the room one partition may hold at once, as a divisor: a destination with a long backlog
// leaves room for others.
const MaxShare = 4

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
// the caller's window, of which one partition gets its share only.
func (q *Queue) Lease(it *Item, room int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.load[it.ID.Partition] >= share(room) {
		return false
	}
	return q.lease(it.ID)
}

func share(room int) int { return max(room/MaxShare, 1) }

// lease takes an item. Under the lock.
func (q *Queue) lease(id ID) bool {
	if q.leases[id.Number] != nil || !q.owns(id.Partition) {
		return false
	}
	w := &work{partition: id.Partition}
	if q.parts != nil {
		w.under = q.parts.held[id.Partition]
	}
	q.leases[id.Number] = w
	q.load[id.Partition]++
	return true
}

// Return gives a lease back, after Done or instead of it. An item that an operator changed meanwhile may have become due
// while nobody could lease it: Wake is signalled once more.
func (q *Queue) Return(it *Item) {
	q.mu.Lock()
	l := q.leases[it.ID.Number]
	stale := l != nil && l.stale
	q.drop(it.ID)
	q.mu.Unlock()
	if stale {
		q.rouse()
	}
}

func (q *Queue) drop(id ID) {
	if l := q.leases[id.Number]; l != nil {
		q.load[l.partition]--
		delete(q.leases, id.Number)
	}
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

// candidate is a row of qd.
type candidate struct {
	due uint64
	id  ID
}

// Due leases and gives items that are due, those waiting longest, at most n, and among them the urgent ones first; no partition gets more than its
// share of room, the size of the caller's window, at once.
func (q *Queue) Due(ctx context.Context, now time.Time, n, room int) ([]*Item, error) {
	found, err := q.candidates(ctx, millis(now), n, share(room))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id.Number, b.id.Number))
	})
	ids := q.leaseSome(found[:min(n, len(found))])
	items, err := q.fetch(ctx, ids)
	if err != nil {
		items = nil
	}
	items = slices.DeleteFunc(items, func(it *Item) bool {
		due, ok := it.Due()
		return !ok || due.After(now) // changed since it was found
	})
	q.keepOnly(ids, items)
	slices.SortStableFunc(items, func(a, b *Item) int { return cmp.Compare(b.Priority, a.Priority) })
	return items, err
}

func (q *Queue) leaseSome(found []candidate) []ID {
	q.mu.Lock()
	defer q.mu.Unlock()
	var ids []ID
	for _, c := range found {
		if q.lease(c.id) {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// keepOnly gives back the leases of ids that are not among items.
func (q *Queue) keepOnly(ids []ID, items []*Item) {
	if len(ids) == len(items) {
		return
	}
	have := make(map[uint64]bool, len(items))
	for _, it := range items {
		have[it.ID.Number] = true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, id := range ids {
		if !have[id.Number] {
			q.drop(id)
		}
	}
}

// candidates gives rows of qd due by now that are not leased, n a partition at most and share together with what
// the partition has leased. The rows are read without the items' locks, so they are hints: fetch decides.
func (q *Queue) candidates(ctx context.Context, now uint64, n, share int) ([]candidate, error) {
	var found []candidate
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		found = found[:0]
		for p := range uint16(partitions) {
			room := min(n, q.roomOf(p, share))
			if room <= 0 {
				continue
			}
			part, err := q.search(r, p, now, room)
			if err != nil {
				return err
			}
			found = append(found, part...)
		}
		return nil
	})
	return found, err
}

// roomOf gives how many more items of a partition may be leased.
func (q *Queue) roomOf(p uint16, share int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.owns(p) {
		return 0
	}
	return share - q.load[p]
}

func (q *Queue) isLeased(id ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.leases[id.Number] != nil
}

// search gives at most n rows of one partition that are due by until and not leased.
func (q *Queue) search(r kv.Reader, p uint16, until uint64, n int) ([]candidate, error) {
	floor := q.floorOf(p)
	from := kv.K(kv.QueueDue).U16(p)
	to := from.End()
	if until < 1<<62 {
		to = kv.K(kv.QueueDue).U16(p).U64(until + 1)
	}
	if floor > 0 {
		from = from.U64(floor)
	}
	var found []candidate
	least := until
	for row, err := range r.Scan(from, to, kv.ScanOptions{KeysOnly: true}) {
		if err != nil {
			return nil, err
		}
		c, ok := parseDue(row.Key)
		if !ok {
			continue
		}
		least = min(least, c.due)
		if q.isLeased(c.id) {
			continue
		}
		if found = append(found, c); len(found) == n {
			break
		}
	}
	q.raiseFloor(p, floor, least)
	return found, nil
}

// Next gives the time at which the next item that nobody works on is due; false when there is none.
func (q *Queue) Next(ctx context.Context) (due time.Time, ok bool, err error) {
	var least uint64
	err = q.kv.View(ctx, nil, func(r kv.Reader) error {
		ok = false
		for p := range uint16(partitions) {
			if q.roomOf(p, 1<<30) <= 0 {
				continue
			}
			found, err := q.search(r, p, 1<<63, 1)
			if err != nil {
				return err
			}
			if len(found) == 1 && (!ok || found[0].due < least) {
				least, ok = found[0].due, true
			}
		}
		return nil
	})
	return time.UnixMilli(int64(least & (1<<62 - 1))), ok, err
}
