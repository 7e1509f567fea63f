package queue

import (
	"context"
	"iter"
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// kickStep is how many items of a destination are read, and made due, at once.
const kickStep = 64

// Kick makes all that waits for a destination due now and gives the number of items.
func (q *Queue) Kick(ctx context.Context, destination string) (kicked int, err error) {
	for items, err := range q.waiting(ctx, destination, ID{}) {
		n := 0
		if err == nil {
			n, err = q.kick(ctx, items)
		}
		if kicked += n; err != nil {
			return kicked, mail.Wrap("queue.kick", err)
		}
	}
	q.signal(destination)
	return kicked, nil
}

// Waiting gives how many items wait for a destination, and whether there are more than most, of which it counts no
// more.
func (q *Queue) Waiting(ctx context.Context, destination string, most int) (n int, more bool, err error) {
	for items, err := range q.waiting(ctx, destination, ID{}) {
		if err != nil {
			return n, false, mail.Wrap("queue.waiting", err)
		}
		if n += len(items); n > most {
			return most, true, nil
		}
	}
	return n, false, nil
}

// Take leases and gives the next items of a destination of which something waits, whether it is due or not, the oldest
// first, those behind the given one; none when there are no more. It passes over what is being worked on, which busy
// tells. Kind Busy where another node works on the destination.
func (q *Queue) Take(ctx context.Context, destination string, behind ID) (items []*Item, busy bool, err error) {
	if !q.Owns(&Item{ID: ID{Partition: partition(destination)}}) {
		return nil, false, mail.E("queue.take", mail.Busy, "another node works on this destination")
	}
	for found, err := range q.waiting(ctx, destination, behind) {
		if err != nil {
			return nil, busy, mail.Wrap("queue.take", err)
		}
		var taken []candidate
		var ids []ID
		q.mu.Lock()
		for _, it := range found {
			due, _ := it.Due()
			c := candidate{due: millis(due), id: it.ID, dest: kv.Hash32(it.Destination)}
			if q.lease(c.id, c.dest) {
				taken, ids = append(taken, c), append(ids, c.id)
			}
		}
		q.mu.Unlock()
		busy = busy || len(taken) < len(found)
		if len(taken) == 0 {
			continue
		}
		items, err := q.fetch(ctx, ids) // again: they may have changed before they were leased
		if err != nil {
			items = nil
		}
		items = slices.DeleteFunc(items, func(it *Item) bool { return !it.waits(q.clock()) })
		q.keepOnly(taken, items)
		if len(items) > 0 || err != nil {
			return items, busy, mail.Wrap("queue.take", err)
		}
	}
	return nil, busy, nil
}

// waits tells whether something of an item waits that may be sent at all: not for its sender's time (RFC 4865).
func (it *Item) waits(now time.Time) bool {
	_, waits := it.Due()
	return waits && !it.Hold.After(now)
}

// waiting gives the items of a destination of which something waits, the oldest first, those behind the given one, a
// few at once. What is added meanwhile may be among them.
func (q *Queue) waiting(ctx context.Context, destination string, behind ID) iter.Seq2[[]*Item, error] {
	from := kv.K(kv.QueueDomains).U16(partition(destination)).U32(kv.Hash32(destination))
	to := from.End()
	if !behind.IsZero() {
		from = behind.domainKey(destination).U8(0)
	}
	return func(yield func([]*Item, error) bool) {
		for {
			ids, err := q.numbers(ctx, from, to)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(ids) == 0 {
				return
			}
			items, err := q.fetch(ctx, ids)
			items = slices.DeleteFunc(items, func(it *Item) bool {
				return it.Destination != destination || !it.waits(q.clock()) // another may have its hash
			})
			if (len(items) > 0 || err != nil) && !yield(items, err) || err != nil {
				return
			}
			from = ids[len(ids)-1].domainKey(destination).U8(0)
		}
	}
}

// kick makes what waits of the items due now, in one transaction.
func (q *Queue) kick(ctx context.Context, items []*Item) (kicked int, err error) {
	locks := make([]kv.Key, len(items))
	for i, it := range items {
		locks[i] = it.ID.Lock()
	}
	var changed []ID
	err = q.kv.Update(ctx, kv.Txn{Lock: locks}, func(tx kv.Tx) error {
		changed = changed[:0]
		now := q.clock()
		for _, it := range items {
			cur := it.clone()
			if err := q.reread(tx, cur); mail.Is(err, mail.NotFound) {
				continue
			} else if err != nil {
				return err
			}
			if q.makeDue(tx, cur, now) {
				changed = append(changed, cur.ID)
			}
		}
		return nil
	})
	q.stale(changed...)
	return len(changed), err
}

// makeDue makes what waits of an item due now; false when nothing does.
func (q *Queue) makeDue(tx kv.Tx, it *Item, now time.Time) bool {
	was, waits := it.Due()
	if !waits {
		return false
	}
	var outs []Outcome
	for n := range it.Recipients {
		if r := &it.Recipients[n]; r.State == Waiting && r.Due.After(now) {
			outs = append(outs, Outcome{N: n, State: Waiting, Due: now})
		}
	}
	for _, n := range it.apply(outs, now) {
		tx.Set(it.ID.rcptKey(n), it.Recipients[n].encode())
	}
	q.moveDue(tx, it, was, true)
	return true
}

// numbers gives the ids of the next rows of qk between from and to.
func (q *Queue) numbers(ctx context.Context, from, to kv.Key) ([]ID, error) {
	var ids []ID
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		ids = nil
		for row, err := range r.Scan(from, to, kv.ScanOptions{KeysOnly: true, Limit: kickStep}) {
			if err != nil {
				return err
			}
			if id, ok := parseDomainKey(row.Key); ok {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}
