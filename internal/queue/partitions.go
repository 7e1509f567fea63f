package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postel/internal/kv"
	"postel/internal/lease"
	"postel/internal/mail"
)

// partitionSet is which partitions this node may work on. A queue of one process has none: all are its own. Guarded by
// Queue.mu.
type partitionSet struct {
	node     *lease.Node
	held     [partitions]lease.Lease
	draining [partitions]bool // no new work: another node is to have it
	giving   []lease.Lease    // given up, perhaps not recorded yet
}

// ErrLost says that the partition of an item is another node's now, and that nothing was recorded; its Kind is Busy.
// The item is tried there.
var ErrLost = lease.ErrLost

// Shared tells that other nodes work on the queue too.
func (q *Queue) Shared() bool { return q.parts != nil }

// Owns tells whether new work on the item's partition may begin here.
func (q *Queue) Owns(it *Item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.owns(it.ID.Partition)
}

// owns is Owns. Under the lock.
func (q *Queue) owns(p uint16) bool {
	s := q.parts
	return s == nil || !s.draining[p] && s.node.Held(s.held[p])
}

// Locks are what a transaction with DoneTx must hold: the item's locks and that of its partition's lease.
func (q *Queue) Locks(it *Item) []kv.Key {
	if q.parts == nil {
		return it.Locks()
	}
	return append(it.Locks(), kv.LockLease(partitionName(it.ID.Partition)))
}

func partitionName(p uint16) string { return fmt.Sprintf("queue/%02d", p) }

// assert fails with ErrLost unless the lease under which the item was taken stands.
func (q *Queue) assert(tx kv.Tx, id ID) error {
	if q.parts == nil {
		return nil
	}
	q.mu.Lock()
	l := q.leases[id.Number]
	q.mu.Unlock()
	if l == nil {
		return ErrLost
	}
	err := l.under.Assert(tx)
	if errors.Is(err, ErrLost) {
		q.lost(id.Partition, l.under)
	}
	return err
}

// lost forgets a lease that proved to be another's. Running it again does no harm.
func (q *Queue) lost(p uint16, l lease.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parts.held[p] == l {
		q.parts.held[p] = lease.Lease{}
	}
}

// Partitions tells how many partitions this node works on; all of them when it is alone.
func (q *Queue) Partitions() int {
	n := 0
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range uint16(partitions) {
		if q.owns(p) {
			n++
		}
	}
	return n
}

// Balance takes and gives back partitions, so that each of the nodes has its share. It is called at each tick of the
// node. A partition that is given up is first worked empty: what was begun is recorded here.
func (q *Queue) Balance(ctx context.Context, nodes int) error {
	if q.parts == nil {
		return nil
	}
	share := (partitions + nodes - 1) / max(nodes, 1)
	if err := q.giveUp(ctx, share); err != nil {
		return mail.Wrap("queue.balance", err)
	}
	want, names := q.wanted(share)
	if want <= 0 {
		return nil
	}
	taken, err := q.parts.node.Take(ctx, want, names...)
	if err != nil {
		return mail.Wrap("queue.balance", err)
	}
	if len(taken) > 0 {
		q.take(taken)
		q.rouse()
	}
	return nil
}

// giveUp gives back partitions beyond the share that nobody works on, and lets others run empty.
func (q *Queue) giveUp(ctx context.Context, share int) error {
	q.mu.Lock()
	s := q.parts
	own := q.prune()
	slices.SortStableFunc(own, func(a, b uint16) int { return q.load[a] - q.load[b] }) // the idle ones first
	for i, p := range own {
		s.draining[p] = i < len(own)-share
		if s.draining[p] && q.load[p] == 0 {
			s.giving = append(s.giving, s.held[p])
			s.held[p] = lease.Lease{}
		}
	}
	give := s.giving
	q.mu.Unlock()
	if err := s.node.Give(ctx, give...); err != nil {
		return err // whether they were given is not known: the next time again
	}
	q.mu.Lock()
	s.giving = nil
	q.mu.Unlock()
	return nil
}

// prune forgets leases of a membership that is over, and lists the partitions held. Under the lock.
func (q *Queue) prune() (own []uint16) {
	s := q.parts
	for p := range uint16(partitions) {
		if s.held[p].IsZero() {
			continue
		}
		if !s.node.Mine(s.held[p]) {
			s.held[p], s.draining[p] = lease.Lease{}, false
			continue
		}
		own = append(own, p)
	}
	return own
}

// wanted gives how many partitions are missing to the share, and the names of those that are not ours.
func (q *Queue) wanted(share int) (n int, names []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = share
	for p := range uint16(partitions) {
		if q.parts.held[p].IsZero() {
			names = append(names, partitionName(p))
		} else {
			n--
		}
	}
	return n, names
}

// take notes leases that were taken.
func (q *Queue) take(taken []lease.Lease) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for p := range uint16(partitions) {
		i := slices.IndexFunc(taken, func(l lease.Lease) bool { return l.Name == partitionName(p) })
		if i >= 0 {
			q.parts.held[p], q.parts.draining[p], q.floor[p], q.behind[p] = taken[i], false, 0, nil
		}
	}
}
