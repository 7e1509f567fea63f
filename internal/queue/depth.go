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

// Depth counts what is in the queue, on one snapshot, by its two slim indexes: some tenths of a second for a million items.
func (q *Queue) Depth(ctx context.Context) (d Depth, err error) {
	err = q.kv.View(ctx, nil, func(r kv.Reader) error {
		d = Depth{}
		if err := d.countDue(r, millis(q.clock())); err != nil {
			return err
		}
		for row, err := range r.Scan(kv.K(kv.QueueDomains), kv.K(kv.QueueDomains).End(), kv.ScanOptions{KeysOnly: true}) {
			if err != nil {
				return err
			}
			if _, ok := parseDomainKey(row.Key); ok {
				d.Items++
			}
		}
		d.Held = max(0, d.Items-d.Due-d.Deferred)
		return d.findOldest(r)
	})
	return d, mail.Wrap("queue.depth", err)
}

func (d *Depth) countDue(r kv.Reader, now uint64) error {
	for row, err := range r.Scan(kv.K(kv.QueueDue), kv.K(kv.QueueDue).End(), kv.ScanOptions{KeysOnly: true}) {
		if err != nil {
			return err
		}
		if c, ok := parseDue(row.Key); ok && c.due <= now {
			d.Due++
		} else {
			d.Deferred++
		}
	}
	return nil
}

// findOldest looks at the first item of each partition: numbers rise with time.
func (d *Depth) findOldest(r kv.Reader) error {
	for p := range uint16(partitions) {
		from := kv.K(kv.QueueItems).U16(p)
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: 1}) {
			if err != nil {
				return err
			}
			id, ok := parseItemKey(row.Key)
			if born := fromMillis(id.Number >> 22); ok && (d.Oldest.IsZero() || born.Before(d.Oldest)) {
				d.Oldest = born
			}
		}
	}
	return nil
}
