package mta

import (
	"context"
	"slices"
	"time"

	"postel/internal/dsn"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/queue"
	"postel/internal/store"
)

// MaxTold is of how many recipients one report of success tells.
const MaxTold = queue.MaxRecipients

// settle records a decision. Where the sender is to be told, the report is accepted by the same commit, so that there
// is neither an end without its report nor a report twice.
func (m *MTA) settle(ctx context.Context, it *queue.Item, d *decision, a attempt) (*queue.Item, error) {
	if d.dropped == "" && (slices.ContainsFunc(d.failed, func(n int) bool { return m.reports(it, n) }) || len(d.delayed)+len(d.done) > 0) {
		left, err := m.settleWithReport(ctx, it, d, a)
		if err == nil || !m.giveUpReport(it, d, err) {
			return left, err
		}
	}
	return m.o.Queue.Done(ctx, it, d.outs)
}

func (m *MTA) settleWithReport(ctx context.Context, it *queue.Item, d *decision, a attempt) (left *queue.Item, err error) {
	msg, written, err := m.report(ctx, it, d)
	if err != nil {
		return nil, err
	}
	defer msg.Discard()
	b, err := m.plan(ctx, Incoming{Message: msg, MessageID: m.messageID(msg.ID()), Envelope: mail.Envelope{
		Parameters: mail.Parameters{Body: written.Body, UTF8: written.UTF8}, Size: written.Size,
		Recipients: []mail.Recipient{{Address: it.From}},
	}})
	if err != nil {
		return nil, &unreportable{err}
	}
	err = m.commit(ctx, b, &also{locks: m.o.Queue.Locks(it), fn: func(tx kv.Tx) (err error) {
		left, err = m.o.Queue.DoneTx(tx, it, d.outs)
		return err
	}})
	if err == nil {
		m.o.Journey.Add(observe.Event{
			Message: it.Blob, Kind: observe.Reported, Attempt: "a-" + a.id.String(), Queue: queueName(it),
			Recipient: it.From.String(), Why: "m-" + msg.ID().String(),
		})
	}
	return left, err
}

// unreportable is the error of a report that nobody takes.
type unreportable struct{ error }

func (u *unreportable) Unwrap() error { return u.error }

// giveUpReport changes a decision whose report could not be made; false leaves it as it is, to be tried again at once.
// A report whose recipient does not exist is a double bounce: it is dropped (RFC 5321 §6.1). Otherwise the recipients
// wait, with their verdict, for a time at which it can be made.
func (m *MTA) giveUpReport(it *queue.Item, d *decision, err error) bool {
	u, ok := err.(*unreportable)
	if !ok {
		return false
	}
	if r := resultOf(it.From, u.error); r.Permanent() {
		d.dropped = "double bounce: the sender cannot be reported to: " + r.String()
		return true
	}
	m.o.Log.Warn("a report could not be made yet", "queue", queueName(it), "err", err)
	for i := range d.outs {
		o := &d.outs[i]
		o.Delayed = false
		switch {
		case o.State == queue.Failed:
			o.Result = lasting(o.Result)
		case !slices.Contains(d.done, o.N):
			continue
		}
		o.State, o.Due = queue.Waiting, m.o.Clock().Add(m.schedule(it).First)
	}
	d.failed, d.delayed, d.done = nil, nil, nil
	return true
}

// lasting makes a result count for good whenever it is looked at again.
func lasting(r mail.Result) mail.Result {
	if !r.Permanent() {
		r = ours(mail.ScopeRecipient, 550, mail.Enhanced{5, 4, 7}, "delivery time expired; last: "+r.String())
	}
	r.Scope = max(r.Scope, mail.ScopeMessage)
	return r
}

func (m *MTA) messageID(id mail.ID) string {
	return "<" + id.String() + "@" + string(m.o.Hostname) + ">"
}

// report writes a delivery status notification (RFC 3464) for what a decision has to tell.
func (m *MTA) report(ctx context.Context, it *queue.Item, d *decision) (*store.Message, dsn.Written, error) {
	msg, written, err := m.tryReport(ctx, it, d)
	if mail.Is(err, mail.Full) { // what has room in a row is taken even then
		short := *it
		short.Return = "HDRS"
		msg, written, err = m.tryReport(ctx, &short, d)
	}
	return msg, written, mail.Wrap("mta.report", err)
}

func (m *MTA) tryReport(ctx context.Context, it *queue.Item, d *decision) (*store.Message, dsn.Written, error) {
	in := m.o.Store.Incoming(ctx)
	msg, written, err := m.writeReport(ctx, in, it, d)
	if err != nil {
		in.Discard()
	}
	return msg, written, err
}

func (m *MTA) writeReport(ctx context.Context, in *store.Incoming, it *queue.Item, d *decision) (*store.Message, dsn.Written, error) {
	now, here := m.o.Clock(), m.ours(ctx, it.From)
	r := dsn.Report{
		From: mail.Address{Local: "MAILER-DAEMON", Domain: m.o.Hostname}, To: it.From, Date: now,
		MessageID: m.messageID(in.ID()), ReportingMTA: m.o.Hostname, EnvelopeID: it.EnvelopeID, Arrival: it.Received,
		UTF8: it.UTF8 && here, Stays: here, Return: dsn.ReturnHeaders,
		Languages: m.o.Languages,
	}
	for _, o := range d.outs {
		switch {
		case slices.Contains(d.failed, o.N) && m.reports(it, o.N):
			r.Recipients = append(r.Recipients, failure(it, o, now))
			if it.Return != "HDRS" && !it.RequireTLS { // the report goes without REQUIRETLS, so without the content (RFC 8689 §5)
				r.Return = dsn.ReturnFull
			}
		case slices.Contains(d.delayed, o.N):
			r.Recipients = append(r.Recipients, m.delay(it, o, now))
		case slices.Contains(d.done, o.N):
			r.Recipients = append(r.Recipients, success(it, o, now))
		}
	}
	body := &lazyBody{ctx: ctx, blobs: m.o.Blobs, prefix: it.Prefix, blob: it.Blob}
	defer body.close()
	written, err := r.WriteTo(in, body)
	if err != nil {
		return nil, written, err
	}
	msg, err := in.Seal()
	return msg, written, err
}

// ours tells whether an address is an account here, whose report needs no other server to know SMTPUTF8. To others it
// goes in the form in ASCII, which all may get (RFC 6533 §3), unless their own address asks for more.
func (m *MTA) ours(ctx context.Context, a mail.Address) bool {
	t, err := m.o.Directory.Lookup(ctx, a)
	return err == nil && t.Account != 0
}

// failure tells of a recipient that is given up.
func failure(it *queue.Item, o queue.Outcome, now time.Time) dsn.Recipient {
	r := recipient(it, o, now)
	r.Action = dsn.Failed
	if !o.Result.Permanent() {
		r.Status = mail.Enhanced{4, 4, 7} // RFC 3463 §3.5: delivery time expired
	}
	return r
}

// delay tells of a recipient that is still tried.
func (m *MTA) delay(it *queue.Item, o queue.Outcome, now time.Time) dsn.Recipient {
	r := recipient(it, o, now)
	r.Action, r.WillRetry = dsn.Delayed, began(it).Add(m.schedule(it).GiveUp)
	return r
}

// success tells of a recipient whose mail went as far as we can tell (RFC 3464 §2.3.3).
func success(it *queue.Item, o queue.Outcome, now time.Time) dsn.Recipient {
	r := recipient(it, o, now)
	switch {
	case it.Recipients[o.N].Expanded:
		r.Action = dsn.Expanded
	case o.Result.Host != "":
		r.Action = dsn.Relayed
	default:
		r.Action = dsn.Delivered
	}
	return r
}

func recipient(it *queue.Item, o queue.Outcome, now time.Time) dsn.Recipient {
	rcpt := it.Recipients[o.N].Recipient
	r := dsn.Recipient{
		Original: rcpt.Original, Final: rcpt.Address, Status: o.Result.Enhanced, RemoteMTA: o.Result.Host,
		LastAttempt: now,
	}
	if r.RemoteMTA != "" {
		r.Diagnostic = o.Result.String()
	} else {
		r.Reason = o.Result.Text
	}
	if class := uint16(o.Result.Code / 100); r.Status[0] != class { // a peer without enhanced codes
		r.Status = mail.Enhanced{class, 0, 0}
	}
	return r
}
