package queue

import (
	"context"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Retry makes what waits of an item due now, or when its sender lets it go (RFC 4865); Kind NotFound, or Denied when all
// of it is held.
func (q *Queue) Retry(ctx context.Context, id ID) error {
	it, err := q.change(ctx, "queue.retry", id, func(it *Item, now time.Time) (outs []Outcome) {
		for n := range it.Recipients {
			if it.Recipients[n].State == Waiting {
				outs = append(outs, Outcome{N: n, State: Waiting, Due: it.notBefore(now)})
			}
		}
		return outs
	})
	if err == nil && it == nil {
		return mail.E("queue.retry", mail.Denied, "the item is held; release it first")
	}
	return err
}

// Hold keeps what waits of an item from being tried until Release or Drop; Kind NotFound. An attempt that has
// begun goes on, and what it delivers is delivered.
func (q *Queue) Hold(ctx context.Context, id ID) error {
	it, err := q.change(ctx, "queue.hold", id, func(it *Item, _ time.Time) (outs []Outcome) {
		for n := range it.Recipients {
			if it.Recipients[n].State == Waiting {
				outs = append(outs, Outcome{N: n, State: Held})
			}
		}
		return outs
	})
	q.tell(Holding, it)
	return err
}

// Release makes what is held of an item wait again, due now; Kind NotFound.
func (q *Queue) Release(ctx context.Context, id ID) error {
	it, err := q.change(ctx, "queue.release", id, func(it *Item, now time.Time) (outs []Outcome) {
		for n := range it.Recipients {
			if r := &it.Recipients[n]; r.State == Held {
				r.State = Waiting
				outs = append(outs, Outcome{N: n, State: Waiting, Due: it.notBefore(now)})
			}
		}
		return outs
	})
	q.tell(Releasing, it)
	return err
}

// Drop gives up what is not final of an item, without a report to anyone, and gives the item as it was; Kind
// NotFound. Who has the message already, and of whom only the sender has to be told, ends as delivered.
func (q *Queue) Drop(ctx context.Context, id ID) (*Item, error) {
	it, err := q.Show(ctx, id)
	if err != nil {
		return nil, err
	}
	var outs []Outcome
	for n := range it.Recipients {
		switch r := &it.Recipients[n]; {
		case r.State.Final():
		case r.Last.Delivered(): // all that is given up is to tell the sender
			outs = append(outs, Outcome{N: n, State: Delivered, Result: r.Last, byHand: true})
		default:
			outs = append(outs, Outcome{N: n, State: Failed, dropped: true})
		}
	}
	err = q.kv.Update(ctx, kv.Txn{Lock: it.Locks(), Frees: true}, func(tx kv.Tx) error {
		_, err := q.record(tx, it, outs)
		return err
	})
	if err != nil {
		return nil, mail.Wrap("queue.drop", err)
	}
	q.stale(id)
	q.tell(Dropping, it)
	return it, nil
}

// Bounce ends what is not final of an item as if its time were over: it is due now, with a refusal of that text (RFC 3463
// §3.5), so that whoever delivers reports it to the sender as the sender wants. Kind NotFound, or Denied when nothing is
// left to refuse. What is being delivered at this moment may be delivered still.
func (q *Queue) Bounce(ctx context.Context, id ID, text string) error {
	it, err := q.change(ctx, "queue.bounce", id, func(it *Item, now time.Time) (outs []Outcome) {
		for n := range it.Recipients {
			r := &it.Recipients[n]
			if r.State.Final() || r.Returning() || r.Last.Delivered() {
				continue
			}
			refusal := mail.Result{Scope: mail.ScopeMessage, Code: 550, Enhanced: mail.Enhanced{5, 4, 7}, Text: text}
			if r.Last.Code != 0 {
				refusal.Text += "; last: " + r.Last.String()
			}
			r.State = Waiting
			outs = append(outs, Outcome{N: n, State: Waiting, Due: now, Result: refusal, byHand: true})
		}
		return outs
	})
	if err == nil && it == nil {
		return mail.E("queue.bounce", mail.Denied, "it is on its way back already")
	}
	return err
}

// Returning tells whether a recipient only waits for its sender to be told that it was refused for good.
func (r *Recipient) Returning() bool {
	return r.State == Waiting && r.Last.Permanent() && (r.Last.Scope >= mail.ScopeMessage || r.Last.Host == "")
}

// Reroute has an item sent by a given host, in the form host:port, from now on; "" is the way of its destination again.
// What waits is due now. Kind NotFound, or Denied for an item that is to be delivered here.
func (q *Queue) Reroute(ctx context.Context, id ID, via string) error {
	it, err := q.change(ctx, "queue.reroute", id, func(it *Item, now time.Time) (outs []Outcome) {
		if it.Local() {
			return nil
		}
		it.Via = via
		for n := range it.Recipients {
			if it.Recipients[n].State == Waiting {
				outs = append(outs, Outcome{N: n, State: Waiting, Due: it.notBefore(now)})
			}
		}
		return outs
	})
	q.tell(Rerouting, it)
	if err != nil || it != nil {
		return err
	}
	if it, err = q.Show(ctx, id); err == nil && it.Local() {
		err = mail.E("queue.reroute", mail.Denied, "it is to be delivered here, not sent")
	}
	return err
}

// Deed is what an operator did to an item.
type Deed uint8

// The deeds.
const (
	Holding   Deed = iota // the item is as it is then
	Releasing             // the item is as it is then
	Dropping              // the item is as it was before
	Rerouting             // the item is as it is then
)

// Follow has fn called after each deed, durable by then. One follows; fn may be called concurrently.
func (q *Queue) Follow(fn func(Deed, *Item)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.follow = fn
}

func (q *Queue) tell(d Deed, it *Item) {
	q.mu.Lock()
	fn := q.follow
	q.mu.Unlock()
	if it != nil && fn != nil {
		fn(d, it)
	}
}

// change reads an item, lets fn say outcomes (fn may set a state that Done would keep), and records them. It gives
// the item as it is then, nil when fn said nothing.
func (q *Queue) change(ctx context.Context, op string, id ID, fn func(*Item, time.Time) []Outcome) (*Item, error) {
	var left *Item
	err := q.kv.Update(ctx, kv.Txn{Lock: []kv.Key{id.Lock()}, Frees: true}, func(tx kv.Tx) error {
		left = nil
		it, err := read(tx, id)
		if err != nil {
			return err
		}
		was, waited := it.Due()
		via := it.Via
		outs := fn(it, q.clock())
		if len(outs) == 0 && it.Via == via {
			return nil
		}
		if it.Via != via {
			tx.Set(id.key(kv.QueueItems), it.encode())
		}
		for _, n := range it.apply(outs, q.clock()) {
			tx.Set(id.rcptKey(n), it.Recipients[n].encode())
		}
		q.moveDue(tx, it, was, waited)
		left = it
		return nil
	})
	if err != nil {
		return nil, mail.Wrap(op, err)
	}
	if left != nil {
		q.stale(id)
		q.signal(left.Destination)
	}
	return left, nil
}
