// Package msa judges a transaction submitted by one of our own users (RFC 6409): whom the user may write as, the
// syntax of addresses and header; it completes what the author's program left out (Date, Message-ID) and takes out
// what recipients must not see (Bcc).
package msa

import (
	"context"
	"io"
	"log/slog"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/mta"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
)

// Options is what the role needs; all fields but the last five are required.
type Options struct {
	Hostname  mail.Domain
	Directory directory.Directory
	MTA       *mta.MTA
	Room      mta.Room
	IDs       *mail.IDs
	Clock     func() time.Time
	Log       *slog.Logger
	Limits    Limits
	// Suppressions are the recipients to whom bulk senders may not write; nil: none.
	Suppressions directory.Suppressions
	Journey      *observe.Journey // may be nil
	Private      bool             // Received does not tell the client's address
	SaveSent     bool             // the user gets a copy among the sent mail
}

// Policy is the role; it is an smtp.Policy.
type Policy struct {
	o      Options
	counts counts
}

// New makes the role.
func New(o Options) *Policy { return &Policy{o, newCounts(o.Limits, o.Clock)} }

// Begin starts a transaction of an authenticated user, or of a user of this machine on the submission socket.
func (p *Policy) Begin(_ context.Context, peer smtp.Peer) (smtp.Transaction, error) {
	if peer.Account == 0 && peer.System == nil {
		return nil, &mail.Error{Op: "msa.begin", Kind: mail.AuthRequired, Code: mail.Enhanced{5, 7, 0}, Text: "authentication required"}
	}
	return &transaction{Options: &p.o, counts: &p.counts, peer: peer}, nil
}

type transaction struct {
	*Options
	counts   *counts
	peer     smtp.Peer
	envelope mail.Envelope
	bulk     bool // the user sends to many
	verp     bool
}

// Mail takes the user's own addresses, and the null path: then the From field decides (RFC 6409 §6.1). There must be room.
func (t *transaction) Mail(ctx context.Context, e mail.Envelope) error {
	if !e.From.IsNull() {
		if err := t.own(ctx, e.From); err != nil {
			return err
		}
	}
	if err := t.countMessage(ctx); err != nil {
		return err
	}
	if t.peer.Account != 0 {
		user, err := t.Directory.Account(ctx, t.peer.Account)
		if err != nil {
			return err
		}
		t.bulk, t.verp = user.Bulk, user.VERP
	}
	t.envelope = e
	return t.MTA.Room(e.Size)
}

// postmaster gives who minds this host.
func (t *transaction) postmaster(ctx context.Context) (mail.Address, error) {
	return directory.Postmaster(ctx, t.Directory, t.Hostname, t.peer.Local.Addr(), mail.Address{Local: "postmaster"})
}

// own tells whether the user may write as a.
func (t *transaction) own(ctx context.Context, a mail.Address) error {
	ok := false
	var err error
	if s := t.peer.System; s != nil {
		ok, err = t.systemMay(ctx, s, a)
	} else {
		ok, err = t.Directory.MaySendAs(ctx, t.peer.Account, a)
	}
	if err == nil && !ok {
		err = &mail.Error{Op: "msa.own", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: "not an address of yours: " + a.String()}
	}
	return err
}

// systemMay lets root write as anyone, everybody else as themselves at this host or at a local domain.
func (t *transaction) systemMay(ctx context.Context, s *smtp.SystemUser, a mail.Address) (bool, error) {
	if s.UID == 0 {
		return true, nil
	}
	user, _ := a.Fold().Sub()
	if user.Local != (mail.Address{Local: s.Name}).Fold().Local {
		return false, nil
	}
	if a.Domain == t.Hostname {
		return true, nil
	}
	d, err := t.Directory.Domain(ctx, a.Domain)
	if mail.Is(err, mail.NotFound) {
		return false, nil
	}
	return err == nil && d.Kind == directory.Local, err
}

// Rcpt takes everyone in the world, and of our own those who exist and have room.
func (t *transaction) Rcpt(ctx context.Context, r mail.Recipient) error {
	var err error
	if r.Address, err = directory.Postmaster(ctx, t.Directory, t.Hostname, t.peer.Local.Addr(), r.Address); err != nil {
		return err
	}
	target, err := t.Directory.Lookup(ctx, r.Address)
	switch {
	case mail.Is(err, mail.NotFound):
		err = t.foreign(ctx, r.Address)
	case err == nil && target.Account != 0:
		err = t.Room(ctx, target.Account, t.envelope.Size)
	case err == nil && !target.Relay:
		err = t.MTA.CheckAlias(ctx, r, t.Room, t.envelope.Size)
	}
	if err == nil && t.bulk {
		err = t.suppressed(ctx, r.Address)
	}
	if err == nil {
		err = t.countRecipient(ctx)
	}
	if err == nil {
		t.envelope.Recipients = append(t.envelope.Recipients, r)
	}
	return err
}

// suppressed refuses a bulk sender's recipient that bounced before.
func (t *transaction) suppressed(ctx context.Context, a mail.Address) error {
	if t.Suppressions == nil {
		return nil
	}
	err := directory.CheckSuppressed(ctx, t.Suppressions, a)
	if mail.Is(err, mail.Denied) {
		t.Journey.Add(observe.Event{
			Message: t.peer.Session, Kind: observe.Refused, Session: "s-" + t.peer.Session.String(),
			From: t.envelope.From.String(), Recipient: a.String(), Why: err.Error(),
		})
	}
	return err
}

// foreign refuses unknown users of our domains at once, and lets all else pass.
func (t *transaction) foreign(ctx context.Context, a mail.Address) error {
	switch _, err := t.Directory.Domain(ctx, a.Domain); {
	case mail.Is(err, mail.NotFound):
		return nil
	case err != nil:
		return err
	}
	return noSuchUser("msa.rcpt")
}

// Data checks and completes the header, then makes the message ours in one commit.
func (t *transaction) Data(ctx context.Context, body io.Reader) ([]smtp.Result, error) {
	author := t.peer.Account
	if !t.SaveSent {
		author = 0
	}
	return t.MTA.Take(ctx, mta.Intake{
		Author: author, Peer: t.peer, Envelope: t.envelope, Body: body, Submitted: true, Bulk: t.bulk, VERP: t.verp, Private: t.Private,
		Edit: func(h *message.Header) error { return t.edit(ctx, h) },
	})
}

// Reset has nothing to undo: nothing was written before Data.
func (t *transaction) Reset() {}
