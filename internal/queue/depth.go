package queue

import (
	"context"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Depth is how much is in the queue.
type Depth struct {
	Items               int       // altogether
	Due, Deferred, Held int       // of them: due now, due later, and those of which nothing waits
	Oldest              time.Time // when the oldest of them was put in; zero when there is none
}

// Depth counts what is in the queue, to limit items at most; beyond that it is a part.
func (q *Queue) Depth(ctx context.Context, limit int) (d Depth, err error) {
	err = q.kv.View(ctx, nil, func(r kv.Reader) error {
		d = Depth{}
		now := millis(q.clock())
		oldest := uint64(1 << 63)
		for row, err := range r.Scan(kv.K(kv.QueueItems), kv.K(kv.QueueItems).End(), kv.ScanOptions{KeysOnly: true, Limit: limit}) {
			if err != nil {
				return err
			}
			if id, ok := parseItemKey(row.Key); ok {
				d.Items++
				oldest = min(oldest, id.Number)
			}
		}
		for row, err := range r.Scan(kv.K(kv.QueueDue), kv.K(kv.QueueDue).End(), kv.ScanOptions{KeysOnly: true, Limit: limit}) {
			if err != nil {
				return err
			}
			if c, ok := parseDue(row.Key); ok && c.due <= now {
				d.Due++
			} else {
				d.Deferred++
			}
		}
		if d.Held = max(0, d.Items-d.Due-d.Deferred); d.Items > 0 {
			d.Oldest = fromMillis(oldest >> 22)
		}
		return nil
	})
	return d, mail.Wrap("queue.depth", err)
}
