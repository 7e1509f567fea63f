// Package mx judges a transaction that arrives from another server: it takes mail for our own domains and nothing
// else, whatever form an address has. It never relays for strangers.
//
// RFC 5321 (SMTP), RFC 7505 is route's, RFC 3848 (with-keywords), RFC 2033 (LMTP, the same judgement).
package mx

import (
	"context"
	"io"
	"slices"
	"strings"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/mta"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
	"postel/internal/rate"
)

// Options is what the role needs; the fields up to Journey are required.
type Options struct {
	Hostname  mail.Domain
	Directory directory.Directory
	MTA       *mta.MTA
	Room      mta.Room
	Journey   *observe.Journey
	// How many messages and recipients a network may bring; nil: any number.
	Messages, Recipients *rate.Networks
}

// Policy is the role; it is an smtp.Policy.
type Policy struct{ o Options }

// New makes the role.
func New(o Options) *Policy { return &Policy{o} }

// Begin starts a transaction; anyone may.
func (p *Policy) Begin(_ context.Context, peer smtp.Peer) (smtp.Transaction, error) {
	return &transaction{Options: &p.o, peer: peer}, nil
}

// transaction is one mail transaction of a stranger.
type transaction struct {
	*Options
	peer     smtp.Peer
	envelope mail.Envelope
	told     int // recipients of whose success the sender is to be told
}

// Mail takes any reverse path, as long as there is room: who writes is judged by the content's signatures, not here.
func (t *transaction) Mail(_ context.Context, e mail.Envelope) error {
	if !t.Messages.Take(t.peer.Remote.Addr(), 1) {
		return tooOften("messages")
	}
	t.envelope = e
	return t.MTA.Room(e.Size)
}

// Rcpt takes recipients of ours who have room.
func (t *transaction) Rcpt(ctx context.Context, r mail.Recipient) error {
	if !t.Recipients.Take(t.peer.Remote.Addr(), 1) {
		return tooOften("recipients")
	}
	if r.Notify&mail.NotifySuccess != 0 && t.told == mta.MaxTold {
		return smtp.Fail(452, mail.TooMany, mail.Enhanced{4, 5, 3}, "%d recipients with NOTIFY=SUCCESS are all of a transaction, send the others in another", mta.MaxTold)
	}
	var err error
	if r.Address, err = directory.Postmaster(ctx, t.Directory, t.Hostname, t.peer.Local.Addr(), r.Address); err != nil {
		return err
	}
	if err := t.check(ctx, r); err != nil {
		t.refused(r.Address, err)
		return err
	}
	if r.Notify&mail.NotifySuccess != 0 {
		t.told++
	}
	t.envelope.Recipients = append(t.envelope.Recipients, r)
	return nil
}

// tooOften is a refusal for now: an honest server tries again.
func tooOften(what string) error {
	return smtp.Fail(450, mail.TooMany, mail.Enhanced{4, 7, 1}, "too many %s from your network lately, try again later", what)
}

func (t *transaction) check(ctx context.Context, r mail.Recipient) error {
	target, err := t.Directory.Lookup(ctx, r.Address)
	switch {
	case mail.Is(err, mail.NotFound):
		return t.unknown(ctx, r.Address)
	case err == nil && target.Relay && t.peer.LMTP: // RFC 2033 §5: no queue of ours stands between
		return &mail.Error{Op: "mx.rcpt", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: "LMTP is for mailboxes of this server"}
	case err != nil, target.Relay:
		return err
	case target.Account == 0:
		return t.MTA.CheckAlias(ctx, r, t.Room, t.envelope.Size)
	}
	return t.Room(ctx, target.Account, t.envelope.Size)
}

// unknown tells a domain that is not ours from a user that is not there.
func (t *transaction) unknown(ctx context.Context, a mail.Address) error {
	switch _, err := t.Directory.Domain(ctx, a.Domain); {
	case mail.Is(err, mail.NotFound):
		return &mail.Error{Op: "mx.rcpt", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: "relaying denied: not a domain of ours"}
	case err != nil:
		return err
	}
	return &mail.Error{Op: "mx.rcpt", Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1}, Text: "no such user here"}
}

func (t *transaction) refused(a mail.Address, err error) {
	t.Journey.Add(observe.Event{
		Message: t.peer.Session, Kind: observe.Refused, Session: "s-" + t.peer.Session.String(),
		From: t.envelope.From.String(), Recipient: a.String(), Why: err.Error(),
	})
}

// Data takes the content and makes it ours in one commit.
func (t *transaction) Data(ctx context.Context, body io.Reader) ([]smtp.Result, error) {
	return t.MTA.Take(ctx, mta.Intake{Peer: t.peer, Envelope: t.envelope, Body: body, Edit: t.edit})
}

// edit takes out what only we may say: the Return-Path (RFC 5321 §4.4), and results of authentication in our name
// (RFC 8601 §5).
func (t *transaction) edit(h *message.Header) error {
	h.DelFunc(func(f message.Field) bool {
		if f.Is("Return-Path") {
			return true
		}
		server, _, _ := strings.Cut(f.Value(), ";")
		ours := func(word string) bool { return strings.EqualFold(strings.Trim(word, `"`), string(t.Hostname)) }
		return f.Is("Authentication-Results") && slices.ContainsFunc(strings.Fields(server), ours) // comments may stand around
	})
	return nil
}

// Reset has nothing to undo: nothing was written before Data.
func (t *transaction) Reset() {}
