package queue

import (
	"context"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Outcome is what becomes of one recipient of an item after an attempt.
type Outcome struct {
	N       int         // its index in Item.Recipients
	State   State       // Waiting, Held, Delivered or Failed
	Result  mail.Result // what the attempt came to
	Due     time.Time   // when it is tried next, when it waits
	Delayed bool        // the sender is told of the delay now
	Session mail.ID     // of the attempt, in glass
	dropped bool        // an operator gave it up
	byHand  bool        // no attempt: an operator says so
}

// Done records outcomes in a transaction of its own and gives the item as it is then, nil when it has ended: then
// its rows and its link of the blob are gone and only what became of it is kept. Kind NotFound when it is gone
// already, ErrLost when another node has taken it over. The lease is not touched.
func (q *Queue) Done(ctx context.Context, it *Item, outs []Outcome) (*Item, error) {
	var left *Item
	err := q.kv.Update(ctx, kv.Txn{Lock: q.Locks(it), Frees: true}, func(tx kv.Tx) (err error) {
		left, err = q.DoneTx(tx, it, outs)
		return err
	})
	if err != nil {
		return nil, mail.Wrap("queue.done", err)
	}
	return left, nil
}

// DoneTx is Done inside a transaction that holds Locks. A recipient that an operator held since stays held, one with a
// final state keeps it.
func (q *Queue) DoneTx(tx kv.Tx, it *Item, outs []Outcome) (*Item, error) {
	if err := q.assert(tx, it.ID); err != nil {
		return nil, err
	}
	return q.record(tx, it, outs)
}

// record is DoneTx for whoever needs no lease: an operator.
func (q *Queue) record(tx kv.Tx, it *Item, outs []Outcome) (*Item, error) {
	cur := it.clone()
	if err := q.reread(tx, cur); err != nil {
		return nil, err
	}
	now := q.clock()
	was, waited := cur.Due()
	changed := cur.apply(outs, now)
	if cur.ended() {
		return nil, q.end(tx, cur, was, waited, outs)
	}
	for _, n := range changed {
		tx.Set(cur.ID.rcptKey(n), cur.Recipients[n].encode())
	}
	q.moveDue(tx, cur, was, waited)
	return cur, nil
}

// reread reads the recipients of an item whose other fields are known.
func (q *Queue) reread(tx kv.Tx, it *Item) error {
	if _, err := tx.Get(it.ID.key(kv.QueueItems)); err != nil {
		if mail.Is(err, mail.NotFound) {
			return errGone("queue.done")
		}
		return err
	}
	return it.readRecipients(tx)
}

// apply changes the recipients and gives the indexes of those that changed.
func (it *Item) apply(outs []Outcome, now time.Time) (changed []int) {
	for _, o := range outs {
		if o.N < 0 || o.N >= len(it.Recipients) || it.Recipients[o.N].State.Final() {
			continue
		}
		r := &it.Recipients[o.N]
		if r.Returning() && o.State == Waiting && o.Result.Code/100 == 4 { // an operator was faster than this attempt
			continue
		}
		if o.Result.Code != 0 {
			r.remember()
			if !o.byHand {
				r.Attempts++
			}
			r.Last, r.LastTime, r.Session = o.Result, now, o.Session
			r.Last.Recipient = r.Address
		}
		r.Delayed = r.Delayed || o.Delayed
		if o.State.Final() || o.State == Held || r.State == Waiting {
			r.State = o.State
		}
		r.Due = time.Time{}
		if r.State == Waiting {
			r.Due = o.Due
		}
		changed = append(changed, o.N)
	}
	return changed
}

func (it *Item) ended() bool {
	for i := range it.Recipients {
		if !it.Recipients[i].State.Final() {
			return false
		}
	}
	return true
}

// moveDue replaces the due row that stood at was by that of the item as it is now.
func (q *Queue) moveDue(tx kv.Tx, it *Item, was time.Time, waited bool) {
	now, waits := it.Due()
	if waits && waited && millis(now) == millis(was) {
		return
	}
	if waited {
		tx.Delete(it.ID.dueKey(was))
	}
	if waits {
		q.setDue(tx, it, now)
	}
}

func (q *Queue) setDue(tx kv.Tx, it *Item, due time.Time) {
	q.lowerFloor(it.ID.Partition, due)
	tx.Set(it.ID.dueKey(due), destinationValue(it.Destination))
}

// end removes an item and keeps how it ended. outs tells which recipients an operator dropped.
func (q *Queue) end(tx kv.Tx, it *Item, was time.Time, waited bool, outs []Outcome) error {
	tx.Delete(it.ID.key(kv.QueueItems))
	for n := range it.Recipients {
		tx.Delete(it.ID.rcptKey(n))
	}
	if waited {
		tx.Delete(it.ID.dueKey(was))
	}
	tx.Delete(it.ID.domainKey(it.Destination))
	day := dayOf(q.clock())
	for n := range it.Recipients {
		r := &it.Recipients[n]
		x := Ended{
			ID: it.ID, N: n, Destination: it.Destination, Blob: it.Blob, From: it.From, Recipient: r.Address,
			Received: it.Received, Time: r.LastTime, State: r.State, Dropped: wasDropped(outs, n),
			Attempts: r.Attempts, Result: r.Last,
		}
		if x.Time.IsZero() {
			x.Time = q.clock()
		}
		tx.Set(endedKey(day, it.ID.Number, n), x.encode())
	}
	return mail.Wrap("queue.end", q.blobs.Unlink(tx, it.Blob, it.ID.Owner()))
}

func wasDropped(outs []Outcome, n int) bool {
	for _, o := range outs {
		if o.N == n && o.dropped {
			return true
		}
	}
	return false
}
