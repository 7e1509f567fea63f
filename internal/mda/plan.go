package mda

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/store"
)

// Bounds of alias resolution.
const (
	MaxDepth   = 10    // aliases behind one another
	MaxTargets = 1_000 // addresses looked up for one recipient
)

// Directory is what a plan asks.
type Directory interface {
	Domain(ctx context.Context, d mail.Domain) (directory.Domain, error)
	Lookup(ctx context.Context, a mail.Address) (directory.Target, error)
}

// Store is what delivery needs of *store.Store.
type Store interface {
	Mailbox(ctx context.Context, a mail.AccountID, name string) (store.Mailbox, error)
	Mailboxes(ctx context.Context, a mail.AccountID) ([]store.Mailbox, error)
	Append(tx kv.Tx, m *store.Message, d store.Delivery) (store.Appended, error)
}

// MDA is the role. Safe for concurrent use.
type MDA struct {
	dir   Directory
	store Store
}

// New makes the role.
func New(dir Directory, s Store) *MDA { return &MDA{dir: dir, store: s} }

// Message is what a plan must know of a message.
type Message struct {
	// DeliveredTo tells whether a Delivered-To field of its header names the address; nil is never.
	DeliveredTo func(mail.Address) bool
}

// Delivery is a message's way into one account.
type Delivery struct {
	Account   mail.AccountID
	Mailbox   store.MailboxID // 0: INBOX
	Name      string          // the mailbox's, for people
	Recipient mail.Recipient  // the last address before the account; it stands in Delivered-To
	Own       bool            // the author's own copy: read already, and delivered to nobody
}

// Forward is a recipient for whom another server is responsible.
type Forward struct {
	Recipient mail.Recipient
	Via       mail.Address // the alias of ours that led there; zero when the envelope named it
	Foreign   bool         // its domain is none of ours
}

// Failure is an alias's target that cannot be delivered to while others can.
type Failure struct {
	Recipient mail.Recipient
	Err       error
}

// Plan is what is to be done for one recipient.
type Plan struct {
	Deliveries []Delivery
	Expanded   []mail.Recipient // aliases of several targets, of which the sender wants to be told
	Forwards   []Forward
	Failures   []Failure
}

// Plan resolves one recipient, of our domains or not. Its errors concern the recipient as a whole: NotFound (5.1.1),
// Loop (5.4.6: delivered to this address before, or aliases that lead nowhere), or whatever the directory or the
// store says when they cannot serve.
func (m *MDA) Plan(ctx context.Context, msg Message, rcpt mail.Recipient) (Plan, error) {
	r := resolver{MDA: m, ctx: ctx, msg: msg}
	err := r.resolve(rcpt, mail.Address{}, 0)
	if err == nil && len(r.plan.Deliveries)+len(r.plan.Forwards) == 0 {
		if len(r.plan.Failures) > 0 {
			err = r.plan.Failures[0].Err
		} else {
			err = loop("its aliases lead in a circle")
		}
	}
	return r.plan, err
}

func loop(format string, args ...any) error {
	return &mail.Error{Op: "mda.plan", Kind: mail.Loop, Code: mail.Enhanced{5, 4, 6}, Text: fmt.Sprintf(format, args...)}
}

// resolver follows the aliases of one recipient.
type resolver struct {
	*MDA
	ctx  context.Context
	msg  Message
	plan Plan
	seen map[mail.Address]bool // folded; nil until the first alias
}

// resolve adds to the plan what the address leads to. via is the alias that led to it, zero at first.
func (r *resolver) resolve(rcpt mail.Recipient, via mail.Address, depth int) error {
	a := rcpt.Address
	t, err := r.dir.Lookup(r.ctx, a)
	switch {
	case mail.Is(err, mail.NotFound):
		return r.unknown(rcpt, via)
	case err != nil:
		return mail.Wrap("mda.plan", err)
	case t.Relay:
		r.forward(rcpt, via, false)
		return nil
	case r.msg.DeliveredTo != nil && r.msg.DeliveredTo(a):
		return loop("mail loop: it was delivered to this address before")
	case t.Account != 0:
		return r.account(rcpt, t)
	}
	return r.alias(rcpt, t.Alias, depth)
}

// unknown tells an address of other servers from one of ours that does not exist.
func (r *resolver) unknown(rcpt mail.Recipient, via mail.Address) error {
	switch _, err := r.dir.Domain(r.ctx, rcpt.Address.Domain); {
	case mail.Is(err, mail.NotFound):
		r.forward(rcpt, via, true)
		return nil
	case err != nil:
		return mail.Wrap("mda.plan", err)
	}
	return &mail.Error{Op: "mda.plan", Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1}, Text: "no such user here"}
}

func (r *resolver) forward(rcpt mail.Recipient, via mail.Address, foreign bool) {
	r.plan.Forwards = append(r.plan.Forwards, Forward{Recipient: rcpt, Via: via, Foreign: foreign})
}

func (r *resolver) account(rcpt mail.Recipient, t directory.Target) error {
	for i := range r.plan.Deliveries {
		if r.plan.Deliveries[i].Account == t.Account {
			return nil
		}
	}
	d := Delivery{Account: t.Account, Recipient: rcpt, Name: "INBOX"}
	if t.Detail != "" {
		box, err := r.detail(rcpt.Address, t)
		if err != nil {
			return mail.Wrap("mda.plan", err)
		}
		own, err := r.own(t.Account, box)
		if err != nil {
			return mail.Wrap("mda.plan", err)
		}
		if box.ID != 0 && !own {
			d.Mailbox, d.Name = box.ID, box.Name
		}
	}
	r.plan.Deliveries = append(r.plan.Deliveries, d)
	return nil
}

// detail gives the mailbox that a subaddress names, its case ignored where no name fits exactly; none: INBOX.
func (r *resolver) detail(a mail.Address, t directory.Target) (store.Mailbox, error) {
	name := t.Detail
	if _, as := a.Sub(); strings.EqualFold(as, name) {
		name = as // the directory may have folded it
	}
	box, err := r.store.Mailbox(r.ctx, t.Account, name)
	if err == nil {
		return box, nil
	}
	if !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Invalid) {
		return box, err
	}
	boxes, err := r.store.Mailboxes(r.ctx, t.Account)
	if mail.Is(err, mail.NotFound) {
		return store.Mailbox{}, nil // Commit will tell that the account is gone
	}
	for _, b := range boxes {
		if strings.EqualFold(b.Name, name) {
			return b, nil
		}
	}
	return store.Mailbox{}, err
}

// own tells whether a mailbox, or the one at its top, is for what the user writes: no stranger puts a letter among
// those, as if the user had.
func (r *resolver) own(a mail.AccountID, box store.Mailbox) (bool, error) {
	if top, _, below := strings.Cut(box.Name, "/"); below && box.ID != 0 {
		up, err := r.store.Mailbox(r.ctx, a, top)
		if err != nil && !mail.Is(err, mail.NotFound) {
			return false, err
		}
		box = up
	}
	return box.Role == store.RoleSent || box.Role == store.RoleDrafts, nil
}

// alias resolves each target; one that fails leaves the others alone.
func (r *resolver) alias(rcpt mail.Recipient, targets []mail.Address, depth int) error {
	if depth >= MaxDepth {
		return loop("too many aliases behind one another")
	}
	if r.seen == nil {
		r.seen = map[mail.Address]bool{rcpt.Address.Fold(): true}
	}
	if rcpt.Notify != 0 && rcpt.Original == "" {
		rcpt.Original = original(rcpt.Address) // RFC 3461 §5.2.7
	}
	if len(targets) > 1 && rcpt.Notify&mail.NotifySuccess != 0 {
		r.plan.Expanded = append(r.plan.Expanded, rcpt)
		rcpt.Notify = withoutSuccess(rcpt.Notify)
	}
	for _, a := range targets {
		if r.seen[a.Fold()] {
			continue
		}
		if len(r.seen) >= MaxTargets {
			return loop("its aliases lead to too many addresses")
		}
		r.seen[a.Fold()] = true
		to := mail.Recipient{Address: a, Notify: rcpt.Notify, Original: rcpt.Original}
		if err := r.resolve(to, rcpt.Address, depth+1); err != nil {
			if !permanent(err) {
				return err
			}
			r.plan.Failures = append(r.plan.Failures, Failure{Recipient: to, Err: err})
		}
	}
	return nil
}

// original gives an address as ORCPT has it (RFC 3461 §4.2, RFC 6533 §3).
func original(a mail.Address) string {
	if a.ASCII() {
		return "rfc822;" + a.String()
	}
	return "utf-8;" + a.String()
}

// withoutSuccess is what those behind an alias are asked, whose sender is told that it was expanded: that is a success
// already (RFC 3461 §5.2.7.3, RFC 3464 §2.3.3).
func withoutSuccess(n mail.Notify) mail.Notify {
	if n &^= mail.NotifySuccess; n == 0 {
		return mail.NotifyNever
	}
	return n
}

// Sent gives the way of an author's own copy, into the mailbox for what was sent. Kind NotFound when there is none.
func (m *MDA) Sent(ctx context.Context, author mail.AccountID, from mail.Address) (Delivery, error) {
	boxes, err := m.store.Mailboxes(ctx, author)
	if err != nil {
		return Delivery{}, mail.Wrap("mda.sent", err)
	}
	for _, b := range boxes {
		if b.Role == store.RoleSent {
			return Delivery{Account: author, Mailbox: b.ID, Name: b.Name, Recipient: mail.Recipient{Address: from}, Own: true}, nil
		}
	}
	return Delivery{}, mail.E("mda.sent", mail.NotFound, "no mailbox for what was sent")
}

// permanent tells whether trying again is of no use.
func permanent(err error) bool { return mail.Is(err, mail.NotFound) || mail.Is(err, mail.Loop) }

// Commit writes the message into the delivery's account, whose lock tx holds. prefix stands in front of the body.
// Kind NotFound: the account is gone.
func (m *MDA) Commit(tx kv.Tx, msg *store.Message, d Delivery, prefix []byte, received time.Time) (store.Appended, error) {
	sd := store.Delivery{Account: d.Account, Mailbox: d.Mailbox, Prefix: prefix, InternalDate: received}
	if d.Own {
		sd.Flags = store.Seen
	}
	ap, err := m.store.Append(tx, msg, sd)
	if mail.Is(err, mail.NotFound) && d.Mailbox != 0 {
		sd.Mailbox = 0
		ap, err = m.store.Append(tx, msg, sd)
	}
	return ap, mail.Wrap("mda.commit", err)
}

// Prefix gives what stands in front of a message in an account: Return-Path (RFC 5321 §4.4), Delivered-To, and the
// trace fields of this server.
func Prefix(from, to mail.Address, trace []byte) []byte {
	f, t := from.String(), to.String()
	b := make([]byte, 0, len("Return-Path: <>\r\nDelivered-To: \r\n")+len(f)+len(t)+len(trace))
	b = append(append(append(b, "Return-Path: <"...), f...), ">\r\nDelivered-To: "...)
	b = append(append(b, t...), "\r\n"...)
	return append(b, trace...)
}
