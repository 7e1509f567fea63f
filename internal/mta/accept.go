package mta

import (
	"context"
	"slices"
	"time"

	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/message"
	"postel/internal/proto/smtp"
	"postel/internal/queue"
	"postel/internal/store"
)

// maxAccounts is how many accounts one transaction locks; the recipients beyond become queue entries.
const maxAccounts = 32

// maxVERP is how many recipients an item has of a message that goes to each in a transaction of its own.
const maxVERP = 10

// maxTrace bounds the trace fields of one server, so that they fit in a prefix with Return-Path and Delivered-To.
const maxTrace = 60 << 10

// Incoming is a message whose body is sealed, with its envelope.
type Incoming struct {
	Envelope  mail.Envelope
	Message   *store.Message
	Filed     *store.Message // as it goes into mailboxes; nil: as Message
	FiledErr  error          // why it can go into none
	Trace     []byte         // our trace fields, each with CRLF, without Return-Path; 60 KiB at most
	Session   mail.ID        // in which it came; zero when we made it ourselves
	Peer      string         // the client's address, for the journey; empty when we made it ourselves
	MessageID string         // the field, for the journey; may be empty
	Submitted bool           // by one of our users
	Automatic bool           // no person wrote it
	Bulk      bool           // by one who sends to many: hard bounces are remembered
	VERP      bool           // each recipient is to get it from an address that names the recipient
	// Author is the account that gets a copy of its own among its sent mail; 0 is none. Hidden stands in front of that
	// copy alone: the fields that no recipient may see (Bcc), each with CRLF.
	Author mail.AccountID
	Hidden []byte
	// DeliveredTo tells whether a Delivered-To field of the header names the address; nil is never.
	DeliveredTo func(mail.Address) bool
	// Each says that every recipient gets a verdict of its own (LMTP). Otherwise the message is taken when one
	// recipient can be served, and the sender gets a report about the others; but see provoked.
	Each bool
}

// Accept takes responsibility: nil means that the message is durable for every recipient whose error is nil, in the
// envelope's order. With an error nothing was taken. A recipient named twice is delivered to once.
func (m *MTA) Accept(ctx context.Context, in Incoming) ([]error, error) {
	b, err := m.plan(ctx, in)
	if err != nil {
		return nil, mail.Wrap("mta.accept", err)
	}
	if b.empty() {
		return b.errs, nil
	}
	if err := m.commit(ctx, b, nil); err != nil {
		return nil, mail.Wrap("mta.accept", err)
	}
	return b.errs, nil
}

// batch is one message on its way into mailboxes and the queue.
type batch struct {
	in       Incoming
	now      time.Time
	newID    func(destination string) queue.ID
	local    []mda.Delivery // one an account
	merged   []merged       // who shares a copy with one of them
	items    []*queue.Item
	errs     []error // by recipient of the envelope
	appended []store.Appended

	open map[group]*queue.Item // the last item of each group
	seen map[string]bool       // destinations with addresses
	told *queue.Item           // the last item of those of whose success the sender is to be told
}

// merged is a recipient whose account has the message already, for another address: local[into].
type merged struct {
	rcpt mail.Address
	into int
}

// group is what may share an item.
type group struct {
	destination string
	via         mail.Address
	foreign     bool
}

// plan decides for each recipient, without locks. Its error means that nothing can be taken.
func (m *MTA) plan(ctx context.Context, in Incoming) (*batch, error) {
	if len(in.Envelope.Recipients) == 0 {
		return nil, mail.E("mta.plan", mail.Invalid, "no recipients")
	}
	if len(in.Trace) > maxTrace {
		return nil, mail.E("mta.plan", mail.TooLarge, "trace fields are too long")
	}
	b := m.newBatch(in)
	msg := mda.Message{DeliveredTo: in.DeliveredTo}
	failed := 0
	for i, rcpt := range in.Envelope.Recipients {
		p, err := m.mda.Plan(ctx, msg, rcpt)
		if err == nil && len(p.Deliveries) > 0 {
			err = in.FiledErr
		}
		if err == nil {
			err = b.looped(p)
		}
		if err != nil {
			b.errs[i] = err
			failed++
			continue
		}
		b.take(p)
	}
	if failed > 0 && !in.Each {
		if err := b.bounceFailed(ctx, failed); err != nil {
			return b, err
		}
	}
	return b, m.planOwn(ctx, b)
}

// planOwn adds the author's own copy, where one is wanted and there is a mailbox for it.
func (m *MTA) planOwn(ctx context.Context, b *batch) error {
	if b.in.Author == 0 || b.in.FiledErr != nil || b.empty() {
		return nil
	}
	d, err := m.mda.Sent(ctx, b.in.Author, b.in.Envelope.From)
	if err == nil {
		b.local = append(b.local, d)
	} else if mail.Is(err, mail.NotFound) {
		err = nil
	}
	return err
}

func (m *MTA) newBatch(in Incoming) *batch {
	b := &batch{in: in, now: m.o.Clock(), newID: m.o.Queue.NewID, errs: make([]error, len(in.Envelope.Recipients))}
	if b.in.Envelope.Received.IsZero() {
		b.in.Envelope.Received = b.now
	}
	return b
}

// take adds what is to be done for one recipient.
func (b *batch) take(p mda.Plan) {
	for _, d := range p.Deliveries {
		b.deliver(d)
	}
	for _, r := range p.Expanded {
		b.succeed(queue.Recipient{Recipient: r, Expanded: true}, "passed on to the members of an alias")
	}
	for _, f := range p.Forwards {
		b.forward(string(f.Recipient.Address.Domain), f)
	}
	for _, f := range p.Failures {
		b.bounce(f.Recipient, f.Err)
	}
}

func (b *batch) deliver(d mda.Delivery) {
	for i := range b.local {
		if b.local[i].Account == d.Account {
			b.delivered(d.Recipient)
			if a := d.Recipient.Address; a.Fold() != b.local[i].Recipient.Address.Fold() {
				b.merged = append(b.merged, merged{a, i})
			}
			return
		}
	}
	if len(b.local) < maxAccounts && !b.due().After(b.now) {
		b.local = append(b.local, d)
		b.delivered(d.Recipient)
		return
	}
	b.forward(queue.LocalDestination(d.Account), mda.Forward{Recipient: d.Recipient})
}

// forward queues a recipient for a destination, in an item with others where that is possible.
func (b *batch) forward(destination string, f mda.Forward) {
	if b.seen == nil {
		b.open, b.seen = map[group]*queue.Item{}, map[string]bool{}
	}
	name := destination + "\x00" + f.Recipient.Address.String()
	if b.seen[name] {
		return
	}
	b.seen[name] = true
	g := group{destination, f.Via, f.Foreign}
	it := b.open[g]
	if it == nil || len(it.Recipients) == b.most() {
		it = b.item(destination, f.Via)
		if f.Foreign {
			it.Forwarder = f.Via.Domain
		}
		b.open[g] = it
	}
	it.Recipients = append(it.Recipients, queue.Recipient{Recipient: f.Recipient, Due: b.due()})
}

// most is how many recipients one item has. With VERP each has a transaction of its own, and what became of an item is
// recorded once: so it has few, that a crash sends little twice and sessions share the work.
func (b *batch) most() int {
	if b.in.VERP {
		return maxVERP
	}
	return queue.MaxRecipients
}

// due is when the message may go: at once, or when its sender wants it to (RFC 4865 §4.1). Urgent mail is due before it
// came, by a day for each step, so that it is taken before whatever else is due (RFC 6710 §5).
func (b *batch) due() time.Time {
	e := &b.in.Envelope
	if e.Hold.After(b.now) {
		return e.Hold
	}
	return b.now.AddDate(0, 0, -max(int(e.Priority), 0))
}

// item begins an item of this message.
func (b *batch) item(destination string, via mail.Address) *queue.Item {
	e := &b.in.Envelope
	prefix := b.in.Trace
	if !via.IsNull() {
		// In ASCII, so that an address of ours beyond ASCII can forward to a server that knows no SMTPUTF8.
		prefix = append([]byte("Delivered-To: "+message.EncodeText(via.String())+"\r\n"), prefix...)
	}
	it := &queue.Item{
		ID: b.newID(destination), Destination: destination, Prefix: prefix, From: e.From, Parameters: e.Parameters, Session: b.in.Session, Received: e.Received, Submitted: b.in.Submitted, Automatic: b.in.Automatic, Bulk: b.in.Bulk, VERP: b.in.VERP,
	}
	msg := b.in.Message
	if it.Local() && b.in.Filed != nil {
		msg, it.Body = b.in.Filed, mail.Body8BitMIME
	}
	it.Blob, it.Size, it.Content = msg.ID(), msg.Size()+int64(len(prefix)), msg.Content()
	b.items = append(b.items, it)
	return it
}

// filed is the message as it goes into mailboxes.
func (b *batch) filed() *store.Message {
	if b.in.Filed != nil {
		return b.in.Filed
	}
	return b.in.Message
}

// of is the message that an item has.
func (b *batch) of(it *queue.Item) *store.Message {
	if it.Blob == b.in.Message.ID() {
		return b.in.Message
	}
	return b.in.Filed
}

// bounce queues a recipient with its verdict, of which the scheduler makes a report, or tries it again.
func (b *batch) bounce(rcpt mail.Recipient, err error) {
	it := b.item(queue.LocalDestination(0), mail.Address{})
	it.Recipients = []queue.Recipient{{Recipient: rcpt, Due: b.now, Last: resultOf(rcpt.Address, err), LastTime: b.now}}
}

// delivered sees to the report of a delivery whose sender wants one.
func (b *batch) delivered(r mail.Recipient) {
	if r.Notify&mail.NotifySuccess != 0 {
		b.succeed(queue.Recipient{Recipient: r}, "delivered to the mailbox")
	}
}

// succeed queues a recipient with its success, of which the scheduler makes a report (RFC 3461 §6.2): what is owed to
// the sender commits with the delivery.
func (b *batch) succeed(r queue.Recipient, what string) {
	if b.in.Envelope.From.IsNull() {
		return
	}
	if b.told == nil || len(b.told.Recipients) == queue.MaxRecipients {
		b.told = b.item(queue.LocalDestination(0), mail.Address{})
	}
	r.Due, r.LastTime = b.now, b.now
	r.Last = ours(mail.ScopeRecipient, 250, mail.Enhanced{2, 1, 5}, what)
	r.Last.Recipient = r.Address
	b.told.Recipients = append(b.told.Recipients, r)
}

// unsaid takes back that a recipient had the message.
func (b *batch) unsaid(a mail.Address) {
	for i, it := range b.items {
		it.Recipients = slices.DeleteFunc(it.Recipients, func(r queue.Recipient) bool {
			return r.Last.Delivered() && !r.Expanded && r.Address == a
		})
		if len(it.Recipients) == 0 {
			b.items = slices.Delete(b.items, i, i+1)
			return
		}
	}
}

// bounceFailed turns the recipients that failed into queue entries, unless all failed, or one that a stranger made fail:
// then nothing is taken.
func (b *batch) bounceFailed(ctx context.Context, failed int) error {
	if err := ctx.Err(); err != nil {
		return &mail.Error{Op: "mta.plan", Kind: mail.Canceled, Err: err}
	}
	for i, err := range b.errs {
		switch {
		case err == nil:
		case failed == len(b.errs), b.provoked(err):
			return err
		default:
			b.bounce(b.in.Envelope.Recipients[i], err)
			b.errs[i] = nil
		}
	}
	return nil
}

// provoked tells of a failure that whoever wrote the message brought about, by a Delivered-To field or content that may
// not be converted, while others can be served. A report would carry that content to whoever a stranger claims to be, so
// nothing is taken: it is the client's to tell the sender (RFC 5321 §6.2).
func (b *batch) provoked(err error) bool {
	return !b.in.Submitted && (mail.Is(err, mail.Loop) || mail.Is(err, mail.Unsupported))
}

// looped gives the error of a member of an alias who had the message before, as a stranger's Delivered-To field says:
// likewise it is the client's to tell.
func (b *batch) looped(p mda.Plan) error {
	for _, f := range p.Failures {
		if b.provoked(f.Err) && b.in.DeliveredTo != nil && b.in.DeliveredTo(f.Recipient.Address) {
			return f.Err
		}
	}
	return nil
}

func (b *batch) empty() bool { return len(b.local) == 0 && len(b.items) == 0 }

// resultOf gives an error of ours as a result.
func resultOf(a mail.Address, err error) mail.Result {
	r := smtp.ReplyOf(err, false)
	return mail.Result{Recipient: a, Scope: mail.ScopeRecipient, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text()}
}
