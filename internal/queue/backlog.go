package queue

import (
	"encoding/binary"

	"postel/internal/kv"
)

// A destination with a long backlog must not fill the window: what is in work of each is bounded by a part of what the
// window has free, so that however many backlogs there are some room is left for a newcomer. Rows beyond that are passed
// over, and where the first of them lies is remembered: the search for others goes on behind them and never walks over them
// again, and that for the destination itself begins there when half of what it has in work is done. A destination begins
// with little and may have one more in work for each item that leaves it: one that hangs takes little for as long as it does.

// MaxShare is what part of the free room one destination may take, as a divisor; firstShare what it begins with.
const (
	MaxShare   = 4
	firstShare = 20
)

// held is what is in work of one destination.
type held struct {
	items int
	most  int // that may be, where there is room
}

// backlog is what is known of a destination whose rows were passed over.
type backlog struct {
	from   uint64 // the due time of the first of them
	refill int    // look again when it has so few in work
}

// share gives how many items of a destination may be in work in a window of room items. Under the lock.
func (q *Queue) share(dest uint32, room int) int {
	most := firstShare
	if h := q.busy[dest]; h != nil {
		most = h.most
	}
	return max(min(most, (room-len(q.leases))/MaxShare), 1)
}

// inWork gives how many items of a destination are in work. Under the lock.
func (q *Queue) inWork(dest uint32) int {
	if h := q.busy[dest]; h != nil {
		return h.items
	}
	return 0
}

// left notes that an item is no more in work; moved says that something came of it. Under the lock.
func (q *Queue) left(p uint16, dest uint32, moved bool) {
	h := q.busy[dest]
	if h == nil {
		return
	}
	if h.items--; moved {
		h.most++
	}
	if _, behind := q.behind[p][dest]; h.items <= 0 && !behind {
		delete(q.busy, dest)
	}
}

// passOver remembers a row of a destination that has its share. Under the lock.
func (q *Queue) passOver(c candidate, share int) {
	m := q.behind[c.id.Partition]
	if m == nil {
		m = map[uint32]backlog{}
		q.behind[c.id.Partition] = m
	}
	b, known := m[c.dest]
	if !known || c.due < b.from {
		b.from = c.due
	}
	b.refill = share / 2
	m[c.dest] = b
}

// resume takes the backlogs out that may go on, and gives where they begin; those that may not yet are asked about again
// when they have less in work.
func (q *Queue) resume(room int) (from [partitions]map[uint32]uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.behind {
		for dest, b := range q.behind[p] {
			if b.refill = q.share(dest, room) / 2; q.inWork(dest) > b.refill {
				q.behind[p][dest] = b
				continue
			}
			if from[p] == nil {
				from[p] = map[uint32]uint64{}
			}
			from[p][dest] = b.from
			delete(q.behind[p], dest) // what is passed over again comes back
		}
	}
	return from
}

// abandon is for a search that failed: what it took out is searched for from the floor.
func (q *Queue) abandon(from [partitions]map[uint32]uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range from {
		for _, due := range from[p] {
			q.lower(uint16(p), due)
		}
	}
}

// drained tells whether a destination that is behind has so little in work now that more may be read. Under the lock.
func (q *Queue) drained(p uint16, dest uint32) bool {
	b, behind := q.behind[p][dest]
	return behind && q.inWork(dest) <= b.refill
}

// unattended gives where the first backlog begins that may be read on already: what its destination had in work may have gone
// before it came to be behind, or was given back, so that nothing of its own wakes anyone.
func (q *Queue) unattended() (from uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range q.behind {
		for dest, b := range q.behind[p] {
			if q.owns(uint16(p)) && q.drained(uint16(p), dest) && (!ok || b.from < from) {
				from, ok = b.from, true
			}
		}
	}
	return from, ok
}

// destination gives the value of a row of qd: the hash of the item's destination.
func destinationValue(destination string) []byte {
	return binary.BigEndian.AppendUint32(nil, kv.Hash32(destination))
}

// destinationOf gives the hash of the destination of a row of qd; those of older programs have no value, and the item is
// read. What cannot be read is of destination 0.
func destinationOf(r kv.Reader, id ID, value []byte) (uint32, error) {
	if len(value) >= 4 {
		return binary.BigEndian.Uint32(value), nil
	}
	v, err := r.GetMulti([]kv.Key{id.key(kv.QueueItems)})
	if err != nil || v[0] == nil {
		return 0, err
	}
	it, err := decodeItem(id, v[0])
	if err != nil {
		return 0, nil //nolint:nilerr // whoever leases it is told
	}
	return kv.Hash32(it.Destination), nil
}
