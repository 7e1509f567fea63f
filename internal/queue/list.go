package queue

import (
	"context"
	"iter"
	"strings"
	"sync"
	"sync/atomic"

	"postel/internal/kv"
	"postel/internal/mail"
)

// scanStep is how many rows are looked at under one snapshot.
const scanStep = 512

// List gives items in the order of their ids, and the id to go on from, zero when there are no more. Only what is
// durable is shown.
func (q *Queue) List(ctx context.Context, f Filter) (items []*Item, next ID, err error) {
	if f.Limit <= 0 {
		f.Limit = 1000
	}
	from := kv.K(kv.QueueItems)
	if f.Domain != "" { // it has one partition
		from = from.U16(partition(strings.ToLower(f.Domain)))
	}
	to := from.End()
	if !f.After.IsZero() {
		from = f.After.key(kv.QueueItems).U8(0)
	}
	for {
		ids, err := q.itemIDs(ctx, from, to)
		if err != nil || len(ids) == 0 {
			return items, ID{}, mail.Wrap("queue.list", err)
		}
		found, err := q.fetch(ctx, ids)
		if err != nil {
			return nil, ID{}, err
		}
		for _, it := range found {
			if !f.matches(it) {
				continue
			}
			if len(items) == f.Limit {
				return items, items[len(items)-1].ID, nil
			}
			items = append(items, it)
		}
		from = ids[len(ids)-1].key(kv.QueueItems).U8(0)
	}
}

// All gives all items that match, in the order of their ids, a bounded number in memory at once.
func (q *Queue) All(ctx context.Context, f Filter) iter.Seq2[*Item, error] {
	f.Limit = scanStep
	return func(yield func(*Item, error) bool) {
		for {
			items, next, err := q.List(ctx, f)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, it := range items {
				if !yield(it, nil) {
					return
				}
			}
			if next.IsZero() {
				return
			}
			f.After = next
		}
	}
}

// Each calls fn with the ids of all items that match, some at once, and gives the number of those that it changed. What
// fn finds gone, or not in a state for it (Kinds NotFound and Denied), is passed over; another error ends it.
func (q *Queue) Each(ctx context.Context, f Filter, fn func(context.Context, ID) error) (int, error) {
	const atOnce = 16 // so that they share syncs
	var changed atomic.Int64
	var running sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for it, err := range q.All(ctx, f) {
		if err != nil {
			cancel(err)
			break
		}
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			switch err := fn(ctx, it.ID); {
			case err == nil:
				changed.Add(1)
			case !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Denied):
				cancel(err)
			}
		})
	}
	running.Wait()
	return int(changed.Load()), mail.Wrap("queue.each", context.Cause(ctx))
}

// itemIDs gives the ids of the next items between from and to.
func (q *Queue) itemIDs(ctx context.Context, from, to kv.Key) ([]ID, error) {
	var ids []ID
	err := q.kv.View(ctx, nil, func(r kv.Reader) error {
		ids = nil
		for row, err := range r.Scan(from, to, kv.ScanOptions{KeysOnly: true, Limit: scanStep}) {
			if err != nil {
				return err
			}
			if id, ok := parseItemKey(row.Key); ok {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}
