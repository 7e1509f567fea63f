package queue

import (
	"cmp"
	"context"
	"slices"
	"time"

	"postel/internal/kv"
)

// candidate is a row of qd.
type candidate struct {
	due  uint64
	id   ID
	dest uint32 // the hash of the destination
}

// Due leases and gives items that are due, those waiting longest, at most n, and among them the urgent ones first; no
// destination gets more than its share of room, the size of the caller's window, at once.
func (q *Queue) Due(ctx context.Context, now time.Time, n, room int) ([]*Item, error) {
	found, err := q.candidates(ctx, millis(now), n, room)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.id.Number, b.id.Number))
	})
	taken := q.leaseSome(found, n, room)
	ids := make([]ID, len(taken))
	for i, c := range taken {
		ids[i] = c.id
	}
	items, err := q.fetch(ctx, ids)
	if err != nil {
		items = nil
	}
	items = slices.DeleteFunc(items, func(it *Item) bool {
		due, ok := it.Due()
		return !ok || due.After(now) // changed since it was found
	})
	q.keepOnly(taken, items)
	slices.SortStableFunc(items, func(a, b *Item) int { return cmp.Compare(b.Priority, a.Priority) })
	return items, err
}

// leaseSome leases n of what was found, as far as their destinations have room. The others are found again.
func (q *Queue) leaseSome(found []candidate, n, room int) (taken []candidate) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range found {
		share := q.share(c.dest, room)
		switch {
		case len(taken) == n:
			q.lower(c.id.Partition, c.due)
		case q.inWork(c.dest) >= share:
			q.passOver(c, share)
		case q.lease(c.id, c.dest):
			taken = append(taken, c)
		}
	}
	return taken
}

// keepOnly gives back the leases that are not of items, which are found again if they are there.
func (q *Queue) keepOnly(taken []candidate, items []*Item) {
	if len(taken) == len(items) {
		return
	}
	have := make(map[uint64]bool, len(items))
	for _, it := range items {
		have[it.ID.Number] = true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, c := range taken {
		if !have[c.id.Number] {
			q.drop(c.id, false)
			q.lower(c.id.Partition, c.due)
		}
	}
}

// candidates gives rows of qd due by now that are not leased, of each partition more than its part of n and no more of a
// destination than its share lets it have. The rows are read without the items' locks, so they are hints: fetch decides.
func (q *Queue) candidates(ctx context.Context, now uint64, n, room int) ([]candidate, error) {
	var found []candidate
	behind := q.resume(room)
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		found = found[:0]
		for p := range uint16(partitions) {
			if !q.ownsPartition(p) {
				continue
			}
			s := search{q: q, r: r, p: p, n: max(n/8, 64), room: room, counted: map[uint32]int{}}
			if err := s.run(behind[p], now); err != nil {
				return err
			}
			found = append(found, s.found...)
		}
		return nil
	})
	if err != nil {
		q.abandon(behind)
	}
	return found, err
}

func (q *Queue) ownsPartition(p uint16) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.owns(p)
}

// search looks for rows of one partition that may be worked on.
type search struct {
	q       *Queue
	r       kv.Reader
	p       uint16
	n, room int
	peek    bool // for when the next is due; nothing is noted
	found   []candidate
	counted map[uint32]int // of found, by destination
}

// run goes on with the destinations that are behind and have room again, then with all others from the floor.
func (s *search) run(behind map[uint32]uint64, until uint64) error {
	floor := s.q.floorOf(s.p)
	for dest, from := range behind {
		err := s.scan(from, floor, func(c candidate) bool { return c.dest != dest || s.look(c) })
		if err != nil {
			return err
		}
	}
	stopped := until
	err := s.scan(floor, until+1, func(c candidate) bool {
		if s.look(c); len(s.found) >= s.n {
			stopped = c.due
			return false
		}
		return true
	})
	if err == nil {
		s.q.raiseFloor(s.p, floor, stopped)
	}
	return err
}

// scan gives fn the rows that are due from a time until before another, as long as it returns true.
func (s *search) scan(from, to uint64, fn func(candidate) bool) error {
	if from >= to {
		return nil
	}
	first := kv.K(kv.QueueDue).U16(s.p)
	last := first.End()
	if to < 1<<62 {
		last = kv.K(kv.QueueDue).U16(s.p).U64(to)
	}
	for row, err := range s.r.Scan(first.U64(from), last, kv.ScanOptions{}) {
		if err != nil {
			return err
		}
		c, ok := parseDue(row.Key)
		if !ok {
			continue
		}
		if c.dest, err = destinationOf(s.r, c.id, row.Value); err != nil {
			return err
		}
		if !fn(c) {
			return nil
		}
	}
	return nil
}

// look takes a row, or passes over it; false when its destination has its share.
func (s *search) look(c candidate) bool {
	q := s.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.leases[c.id.Number] != nil {
		return true
	}
	if b, behind := q.behind[s.p][c.dest]; behind {
		if c.due < b.from { // it was committed after others that are due later
			b.from = c.due
			q.behind[s.p][c.dest] = b
		}
		return false
	}
	if share := q.share(c.dest, s.room); !s.peek && q.inWork(c.dest)+s.counted[c.dest] >= share {
		q.passOver(c, share)
		return false
	}
	s.found = append(s.found, c)
	s.counted[c.dest]++
	return true
}

// Next gives the time at which the next item is due that nobody works on; false when there is none. It knows nothing of
// destinations that are behind and have their share in work: Wake is signalled when they may go on.
func (q *Queue) Next(ctx context.Context) (due time.Time, ok bool, err error) {
	var least uint64
	err = q.kv.View(ctx, nil, func(r kv.Reader) error {
		least, ok = q.unattended()
		for p := range uint16(partitions) {
			if !q.ownsPartition(p) {
				continue
			}
			s := search{q: q, r: r, p: p, n: 1, peek: true, counted: map[uint32]int{}}
			if err := s.run(nil, 1<<62); err != nil {
				return err
			}
			if len(s.found) == 1 && (!ok || s.found[0].due < least) {
				least, ok = s.found[0].due, true
			}
		}
		return nil
	})
	return time.UnixMilli(int64(least)), ok, err
}
