package mta

import (
	"bufio"
	"context"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/message"
	"postel/internal/queue"
	"postel/internal/store"
)

// finishLocal delivers an item whose destination is here: into accounts and the queue by the same commit that ends
// the recipients' part in this item. Recipients that fail wait for an attempt of their own, which reports them.
func (s *scheduler) finishLocal(it *queue.Item, todo []int, a attempt) {
	m := s.m
	ctx := context.WithoutCancel(s.work)
	msg, err := m.stored(ctx, it)
	if err != nil {
		m.o.Log.Error("reading a queued message failed", "queue", queueName(it), "err", err)
		a.all(it, todo, ours(mail.ScopeMessage, 451, mail.Enhanced{4, 3, 0}, "the stored message cannot be read"))
		s.finish(it, a)
		return
	}
	var d decision
	tried := attempt{id: a.id}
	left, err := s.persist(func() (*queue.Item, error) {
		b, results := m.planLocal(ctx, it, todo, msg)
		tried.results = results
		d = m.decide(it, results, m.o.Clock())
		var left *queue.Item
		err := m.commit(ctx, b, &also{locks: m.o.Queue.Locks(it), fn: func(tx kv.Tx) (err error) {
			left, err = m.o.Queue.DoneTx(tx, it, d.outs)
			return err
		}})
		return left, err
	})
	s.recorded(it, left, tried, d, err)
}

// planLocal plans for the recipients of a local item. One that fails for good gets a verdict that is reported at once,
// in an attempt of its own: a report is another message.
func (m *MTA) planLocal(ctx context.Context, it *queue.Item, todo []int, msg *stored) (*batch, []verdict) {
	b := m.newBatch(Incoming{
		Envelope: it.Envelope(todo), Message: msg.Message, Trace: it.Prefix, Session: it.Session,
		Submitted: it.Submitted, Automatic: it.Automatic, Bulk: it.Bulk, VERP: it.VERP,
	})
	var results []verdict
	for i, n := range todo {
		rcpt := b.in.Envelope.Recipients[i]
		v := verdict{n: n, result: ours(mail.ScopeRecipient, 250, mail.Enhanced{2, 1, 5}, "delivered")}
		p, err := m.mda.Plan(ctx, msg.plan, rcpt)
		if err == nil && len(p.Deliveries) > 0 && it.Body == mail.BodyBinaryMIME { // what file could not make, see Incoming.FiledErr
			err = &mail.Error{Op: "mta.local", Kind: mail.Unsupported, Code: mail.Enhanced{5, 6, 3}, Text: "binary content that may not be converted"}
		}
		if err == nil {
			b.take(p)
		} else {
			v.result = resultOf(rcpt.Address, err)
			v.now = v.result.Permanent()
		}
		results = append(results, v)
	}
	return b, results
}

// stored is a message of the queue, ready to be filed.
type stored struct {
	*store.Message
	plan mda.Message
}

// stored reads an item's message: its tree, and the header for the loop check.
func (m *MTA) stored(ctx context.Context, it *queue.Item) (*stored, error) {
	msg, err := m.o.Store.FromBlob(ctx, it.Blob)
	if err != nil {
		return nil, mail.Wrap("mta.stored", err)
	}
	body := &lazyBody{ctx: ctx, blobs: m.o.Blobs, prefix: it.Prefix, blob: it.Blob}
	defer body.close()
	h, err := message.ReadHeader(bufio.NewReader(body), message.MaxHeader)
	if err != nil {
		return nil, mail.Wrap("mta.stored", err)
	}
	return &stored{Message: msg, plan: mda.Message{DeliveredTo: h.DeliveredTo()}}, nil
}
