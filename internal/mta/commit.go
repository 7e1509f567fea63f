package mta

import (
	"context"
	"errors"
	"slices"

	"postel/internal/blob"
	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/observe"
	"postel/internal/queue"
	"postel/internal/store"
)

// also is what a commit does besides: the end of the queue item from which the message comes.
type also struct {
	locks []kv.Key
	fn    func(tx kv.Tx) error
}

// accountGone says which delivery found no account.
type accountGone struct {
	at  int
	err error
}

func (e *accountGone) Error() string { return "account gone: " + e.err.Error() }

// commit makes a batch durable in one transaction, tells those who look at it, and hands items to the scheduler. The
// items are leased before anyone can find them in the queue: else one might be delivered, and then handed over again.
func (m *MTA) commit(ctx context.Context, b *batch, extra *also) error {
	if err := m.park(ctx, b.items); err != nil {
		return err
	}
	for {
		leased := m.sched.reserve(b.items)
		err := m.update(ctx, b, extra)
		if err == nil {
			m.committed(b, leased)
			return nil
		}
		m.sched.unreserve(b.items, leased)
		var gone *accountGone
		if !errors.As(err, &gone) {
			return err
		}
		d := b.local[gone.at] // it is a failure of this recipient only
		b.local = slices.Delete(b.local, gone.at, gone.at+1)
		if d.Own {
			continue // and that was nobody's
		}
		b.unsaid(d.Recipient.Address)
		b.bounce(d.Recipient, &mail.Error{Op: "mta.commit", Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1}, Text: "no such user here"})
	}
}

func (m *MTA) update(ctx context.Context, b *batch, extra *also) error {
	return m.o.KV.Update(ctx, m.txn(b, extra), func(tx kv.Tx) error {
		b.appended = b.appended[:0]
		if err := m.write(tx, b); err != nil {
			return err
		}
		if extra != nil {
			return extra.fn(tx)
		}
		return nil
	})
}

// txn names the locks and the rows to be read.
func (m *MTA) txn(b *batch, extra *also) kv.Txn {
	t := kv.Txn{Lock: make([]kv.Key, 0, len(b.local)+len(b.items)+2)}
	for i := range b.local {
		d := &b.local[i]
		locked := d.Own && slices.ContainsFunc(b.local[:i], func(o mda.Delivery) bool { return o.Account == d.Account })
		if !locked { // who writes to themselves has it already
			t.Lock = append(t.Lock, kv.LockAccount(d.Account))
		}
		t.Read = append(t.Read, m.o.Store.AppendReads(b.filed(), store.Delivery{Account: d.Account, Mailbox: d.Mailbox})...)
	}
	for _, it := range b.items {
		t.Lock = append(t.Lock, it.ID.Lock())
	}
	if extra != nil {
		t.Lock = append(t.Lock, extra.locks...)
		t.Frees = true // an item ends by it
	}
	return t
}

// write puts the batch into a transaction.
func (m *MTA) write(tx kv.Tx, b *batch) error {
	e := &b.in.Envelope
	for i := range b.local {
		d := &b.local[i]
		prefix := mda.Prefix(e.From, d.Recipient.Address, b.in.Trace)
		if d.Own {
			prefix = slices.Concat(b.in.Hidden, b.in.Trace)
		}
		ap, err := m.mda.Commit(tx, b.filed(), *d, prefix, e.Received)
		if mail.Is(err, mail.NotFound) {
			return &accountGone{at: i, err: err}
		}
		if err != nil {
			return err
		}
		b.appended = append(b.appended, ap)
	}
	for _, it := range b.items {
		err := m.o.Queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { m.o.Store.Link(tx, b.of(it), o) })
		if err != nil {
			return err
		}
	}
	return nil
}

// committed tells of what is durable now.
func (m *MTA) committed(b *batch, leased []bool) {
	m.o.Store.Notify(b.appended...)
	if m.o.Journey != nil {
		m.record(b)
	}
	if len(b.items) > 0 && !m.sched.offer(b.items, leased) && m.o.Bus != nil {
		m.o.Bus.Publish(bus.Topic{Kind: bus.Queue}, b.items[0].ID.Number)
	}
}

func (m *MTA) record(b *batch) {
	ev := observe.Event{Message: b.in.Message.ID(), Time: b.now, From: pathOf(b.in.Envelope.From), MessageID: b.in.MessageID}
	if !b.in.Session.IsZero() {
		ev.Session = "s-" + b.in.Session.String()
	}
	if b.in.Peer != "" {
		e := ev
		e.Kind, e.Host, e.Size = observe.Received, b.in.Peer, b.in.Message.Size()
		m.o.Journey.Add(e)
	}
	for i := range b.local {
		e := ev
		e.Kind, e.Recipient, e.Mailbox = observe.Filed, b.local[i].Recipient.Address.String(), b.local[i].Name
		m.o.Journey.Add(e)
	}
	for _, same := range b.merged {
		e, d := ev, &b.local[same.into]
		e.Kind, e.Recipient, e.Mailbox = observe.Filed, same.rcpt.String(), d.Name
		e.Why = "one copy with that for " + d.Recipient.Address.String()
		m.o.Journey.Add(e)
	}
	for _, it := range b.items {
		for i := range it.Recipients {
			if it.Recipients[i].Last.Delivered() { // only a report is owed
				continue
			}
			e := ev
			e.Kind, e.Recipient, e.Queue = observe.Queued, it.Recipients[i].Address.String(), queueName(it)
			m.o.Journey.Add(e)
		}
	}
}

func queueName(it *queue.Item) string { return "q-" + it.ID.String() }

// pathOf shows an address with the null path as "<>".
func pathOf(a mail.Address) string {
	if a.IsNull() {
		return "<>"
	}
	return a.String()
}
