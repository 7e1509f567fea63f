package faults

import (
	"fmt"
	"math/rand/v2"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

// stepAccept is the transaction that accepts mail for two accounts and two destinations elsewhere.
func (w *world) stepAccept(r *rand.Rand) error {
	m, discard, err := w.receive(300 + r.IntN(10_000))
	if err != nil {
		return err
	}
	defer discard()
	t := kv.Txn{Lock: []kv.Key{kv.LockAccount(first), kv.LockAccount(second)}}
	items := []*queue.Item{w.item(m, "one.test"), w.item(m, "two.test")}
	for _, it := range items {
		t.Lock = append(t.Lock, it.ID.Lock())
	}
	var done []store.Appended
	err = w.kv.Update(w.ctx, t, func(tx kv.Tx) error {
		done = done[:0]
		for _, a := range []mail.AccountID{first, second} {
			ap, err := w.Append(tx, m, store.Delivery{Account: a})
			if err != nil {
				return err
			}
			done = append(done, ap)
		}
		return w.add(tx, m, items...)
	})
	if err == nil {
		w.Notify(done...)
	}
	return err
}

func (w *world) item(m *store.Message, destination string) *queue.Item {
	it := &queue.Item{
		ID: w.queue.NewID(destination), Destination: destination, Blob: m.ID(), Size: m.Size(),
		From: mail.Address{Local: "x", Domain: "postel.test"}, Received: w.now,
	}
	for i := range 2 {
		it.Recipients = append(it.Recipients, queue.Recipient{
			Recipient: mail.Recipient{Address: mail.Address{Local: fmt.Sprintf("r%d-%d", w.now.Unix(), i), Domain: mail.Domain(destination)}},
			Due:       w.now,
		})
	}
	return it
}

func (w *world) add(tx kv.Tx, m *store.Message, items ...*queue.Item) error {
	for _, it := range items {
		if err := w.queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { w.Link(tx, m, o) }); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) stepQueue(r *rand.Rand) error {
	m, discard, err := w.receive(300 + r.IntN(30_000))
	if err != nil {
		return err
	}
	defer discard()
	it := w.item(m, "three.test")
	return w.kv.Update(w.ctx, kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error { return w.add(tx, m, it) })
}

// stepAttempt takes what is due and records how that went, all in one way so that the order does not matter.
func (w *world) stepAttempt(r *rand.Rand) error {
	items, err := w.items()
	if err != nil {
		return err
	}
	var mine *queue.Item
	for _, it := range items {
		if due, ok := it.Due(); ok && !due.After(w.now) && w.queue.Lease(it, 100) {
			mine = it
			break
		}
	}
	if mine == nil {
		return nil
	}
	defer w.queue.Return(mine)
	outs := []queue.Outcome{
		{N: 0, State: queue.Delivered, Result: mail.Result{Code: 250}},
		{N: 1, State: queue.Waiting, Result: mail.Result{Code: 451}, Due: w.now.Add(time.Duration(r.IntN(20)) * time.Second)},
	}
	if mine.Recipients[1].Attempts > 0 {
		outs[1] = queue.Outcome{N: 1, State: queue.Failed, Result: mail.Result{Code: 550}}
	}
	_, err = w.queue.Done(w.ctx, mine, outs)
	return err
}

func (w *world) stepOperate(r *rand.Rand) error {
	items, err := w.items()
	if err != nil || len(items) == 0 {
		return err
	}
	it := items[r.IntN(len(items))]
	if _, waits := it.Due(); !waits {
		return w.queue.Release(w.ctx, it.ID)
	}
	switch r.IntN(3) {
	case 0:
		return w.queue.Hold(w.ctx, it.ID)
	case 1:
		return w.queue.Retry(w.ctx, it.ID)
	}
	_, err = w.queue.Drop(w.ctx, it.ID)
	return err
}
