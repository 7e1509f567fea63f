package queue

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Ended gives how the recipients of an item ended, while that is kept; none for an unknown item or one that lives.
func (q *Queue) Ended(ctx context.Context, id ID) ([]Ended, error) {
	var out []Ended
	today := dayOf(q.clock())
	first := max(dayOf(fromMillis(id.Number>>22)), today-min(today, q.keepDays()))
	err := q.kv.View(ctx, []kv.Key{id.Lock()}, func(r kv.Reader) error {
		out = nil
		for day := first; day <= today+1; day++ { // clocks step
			from := kv.K(kv.QueueEnded).U32(day).U64(id.Number)
			for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
				if err != nil {
					return err
				}
				x, err := decodeEnded(row.Key, row.Value)
				if err != nil {
					return err
				}
				if x.ID == id {
					out = append(out, x)
				}
			}
		}
		return nil
	})
	return out, mail.Wrap("queue.ended", err)
}

// Fate says in a word how it ended: "delivered" to an account here, "relayed" to another host, "bounced", or "dropped" by
// an operator.
func (x *Ended) Fate() string {
	switch {
	case x.Dropped:
		return "dropped"
	case x.State != Delivered:
		return "bounced"
	case strings.HasPrefix(x.Destination, localPrefix):
		return "delivered"
	}
	return "relayed"
}

// AllEnded gives how the recipients of all items ended that match, day by day, a bounded number in memory at once. Only
// what is durable is shown.
func (q *Queue) AllEnded(ctx context.Context, f Filter) iter.Seq2[Ended, error] {
	return func(yield func(Ended, error) bool) {
		from, to := kv.K(kv.QueueEnded), kv.K(kv.QueueEnded).End()
		if !f.Since.IsZero() {
			from = from.U32(dayOf(f.Since))
		}
		for {
			keys, err := q.endedKeys(ctx, from, to)
			if err != nil {
				yield(Ended{}, mail.Wrap("queue.ended", err))
				return
			}
			if len(keys) == 0 {
				return
			}
			found, err := q.readEnded(ctx, keys)
			for _, x := range found {
				if f.matchesEnded(&x) && !yield(x, nil) {
					return
				}
			}
			if err != nil {
				yield(Ended{}, mail.Wrap("queue.ended", err))
				return
			}
			from = append(keys[len(keys)-1], 0)
		}
	}
}

// readEnded reads rows of qe, those that are there.
func (q *Queue) readEnded(ctx context.Context, keys []kv.Key) (found []Ended, err error) {
	locks := make([]kv.Key, 0, len(keys))
	for _, k := range keys {
		if number, err := decodeEndedKey(k); err == nil {
			locks = append(locks, kv.LockQueueItem(number))
		}
	}
	err = q.kv.View(ctx, locks, func(r kv.Reader) error {
		found = found[:0]
		values, err := r.GetMulti(keys)
		if err != nil {
			return err
		}
		for i, v := range values {
			if v == nil {
				continue
			}
			x, err := decodeEnded(keys[i], v)
			if err != nil {
				return err
			}
			found = append(found, x)
		}
		return nil
	})
	return found, err
}

func (q *Queue) keepDays() uint32 { return uint32(q.keep/(24*time.Hour)) + 1 }

// Clean forgets how items ended whose time is over, and gives the number of rows removed. Call it now and then.
func (q *Queue) Clean(ctx context.Context) (removed int, err error) {
	today := dayOf(q.clock())
	if today <= q.keepDays() {
		return 0, nil
	}
	from, to := kv.K(kv.QueueEnded), kv.K(kv.QueueEnded).U32(today-q.keepDays())
	for {
		keys, err := q.endedKeys(ctx, from, to)
		if err != nil || len(keys) == 0 {
			return removed, mail.Wrap("queue.clean", err)
		}
		if err := q.forget(ctx, keys); err != nil {
			return removed, mail.Wrap("queue.clean", err)
		}
		removed += len(keys)
		from = append(keys[len(keys)-1], 0)
	}
}

func (q *Queue) endedKeys(ctx context.Context, from, to kv.Key) ([]kv.Key, error) {
	var keys []kv.Key
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		keys = nil
		for row, err := range r.Scan(from, to, kv.ScanOptions{KeysOnly: true, Limit: scanStep}) {
			if err != nil {
				return err
			}
			if len(row.Key) == endedKeyLen {
				keys = append(keys, slices.Clone(row.Key))
			}
		}
		return nil
	})
	return keys, err
}

// forget removes rows of ended items; a crash may keep them, the next Clean finds them again.
func (q *Queue) forget(ctx context.Context, keys []kv.Key) error {
	t := kv.Txn{Lazy: true, Frees: true}
	for _, k := range keys {
		if x, err := decodeEndedKey(k); err == nil {
			t.Lock = append(t.Lock, kv.LockQueueItem(x))
		}
	}
	return q.kv.Update(ctx, t, func(tx kv.Tx) error {
		for _, k := range keys {
			tx.Delete(k)
		}
		return nil
	})
}
