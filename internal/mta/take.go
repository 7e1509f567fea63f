package mta

import (
	"context"
	"io"
	"strings"

	"postel/internal/mail"
	"postel/internal/mda"
	"postel/internal/message"
	"postel/internal/proto/smtp"
	"postel/internal/store"
)

// MaxHops is how many Received fields a message may have before it is taken for a loop (RFC 5321 §6.3).
const MaxHops = 100

// Intake is a message at the end of its transaction, before its body is read.
type Intake struct {
	Peer     smtp.Peer
	Envelope mail.Envelope
	Body     io.Reader
	// Edit changes the header as the role wants; an error refuses the message.
	Edit func(h *message.Header) error
	// Submitted says that one of our own users sent it.
	Submitted bool
	// Bulk says that the user sends to many, so that hard bounces are remembered.
	Bulk bool
	// VERP says that each recipient is to get it from an address that names the recipient.
	VERP bool
	// Author is the account that gets a copy of its own among its sent mail, with the Bcc field; 0 is none.
	Author mail.AccountID
	// Private keeps the client's name and address out of the Received field.
	Private bool
}

// Room tells whether a message of size octets (0: unknown) may come: whether the disk has room for it. It is asked at
// MAIL, so that nothing is sent in vain. Kind Full.
func (m *MTA) Room(size int64) error { return m.o.Store.Room(size) }

// Take reads the body once, from the header editor into the store, and accepts it in one commit; its results are
// those of a Transaction's Data. On any error nothing is left behind.
func (m *MTA) Take(ctx context.Context, in Intake) ([]smtp.Result, error) {
	msg := Incoming{
		Envelope: in.Envelope, Session: in.Peer.Session, Submitted: in.Submitted, Bulk: in.Bulk, VERP: in.VERP, Each: in.Peer.LMTP,
		Author: in.Author,
		Peer:   "a program on this machine",
	}
	if in.Peer.Remote.IsValid() {
		msg.Peer = in.Peer.Remote.String()
	}
	if in.Peer.Forwarded != "" {
		msg.Peer += ", forwards " + in.Peer.Forwarded
	}
	r, err := message.EditHeader(in.Body, m.o.MaxHeader, func(h *message.Header) error {
		if h.Hops() >= MaxHops {
			return &mail.Error{Op: "mta.take", Kind: mail.Loop, Code: mail.Enhanced{5, 4, 6}, Text: "too many hops: a mail loop"}
		}
		if in.Author != 0 {
			msg.Hidden = hidden(h)
		}
		err := in.Edit(h)
		msg.MessageID = h.Get("Message-ID")
		msg.DeliveredTo, msg.Automatic = h.DeliveredTo(), automatic(h)
		return err
	})
	if err != nil {
		return nil, mail.Wrap("mta.take", err)
	}
	w := m.o.Store.Incoming(ctx)
	defer w.Discard()
	if _, err := io.Copy(w, r); err != nil {
		return nil, mail.Wrap("mta.take", err)
	}
	if msg.Message, err = w.Seal(); err != nil {
		return nil, mail.Wrap("mta.take", err)
	}
	if in.Submitted && msg.Message.Content()&mail.LongLines != 0 && in.Envelope.Body != mail.BodyBinaryMIME {
		if msg.Message, err = m.wrapLines(ctx, msg.Message); err != nil {
			return nil, mail.Wrap("mta.take", err)
		}
		defer msg.Message.Discard()
	}
	if in.Envelope.Body == mail.BodyBinaryMIME {
		if err := m.file(ctx, &msg); err != nil {
			return nil, mail.Wrap("mta.take", err)
		}
		if msg.Filed != nil {
			defer msg.Filed.Discard()
		}
	}
	msg.Trace = m.received(in, msg.Message.ID())
	return m.accept(ctx, in, msg)
}

// automatic tells whether a program wrote the message, as its header says: RFC 3834 §5, the fields of mailing lists
// (RFC 2369, RFC 2919), and what programs from before them write.
func automatic(h *message.Header) bool {
	word, _, _ := strings.Cut(h.Get("Auto-Submitted"), ";")
	word, _, _ = strings.Cut(word, "(")
	if word = strings.TrimSpace(word); word != "" && !strings.EqualFold(word, "no") {
		return true
	}
	switch strings.ToLower(strings.TrimSpace(h.Get("Precedence"))) {
	case "bulk", "list", "junk":
		return true
	}
	return h.Has("List-Id") || h.Has("List-Unsubscribe")
}

// maxHidden bounds the fields of the author's own copy alone, so that they fit in a prefix with the trace; longer ones are
// left out.
const maxHidden = 32 << 10

// hidden gives the fields that only the author may see (RFC 5322 §3.6.3).
func hidden(h *message.Header) (fields []byte) {
	for f := range h.Fields("Bcc") {
		if raw := f.Raw(); len(fields)+len(raw) <= maxHidden && strings.HasSuffix(raw, "\r\n") {
			fields = append(fields, raw...)
		}
	}
	return fields
}

// file makes the form of a binary message that goes into mailboxes, where all protocols read lines: its binary leaves
// in base64, once, so that BODY[], RFC822.SIZE and RETR agree. It is a body of its own beside that which is relayed as
// it came; the one that no recipient has is never stored.
func (m *MTA) file(ctx context.Context, msg *Incoming) error {
	filed, err := m.recode(ctx, msg.Message)
	if mail.Is(err, mail.Unsupported) {
		msg.FiledErr, err = err, nil
	}
	msg.Filed = filed
	return err
}

// recode gives a sealed message as one of lines that every server takes, sealed too. Kind Unsupported when that would
// change what may not be changed.
func (m *MTA) recode(ctx context.Context, msg *store.Message) (*store.Message, error) {
	r, err := message.Recode(func() (io.ReadCloser, error) { return msg.Open(ctx) }, message.EightBit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }() // only read
	w := m.o.Store.Incoming(ctx)
	if _, err = io.Copy(w, r); err == nil {
		if msg, err = w.Seal(); err == nil {
			return msg, nil
		}
	}
	w.Discard()
	return nil, err
}

// wrapLines gives a message of our own user without lines that no other server need take (RFC 5321 §4.5.3.1.6): the leaves
// that have some are encoded, once and before anybody signs. What must not be changed is refused: 554 5.6.3.
func (m *MTA) wrapLines(ctx context.Context, msg *store.Message) (*store.Message, error) {
	wrapped, err := m.recode(ctx, msg)
	if mail.Is(err, mail.Unsupported) {
		return nil, &mail.Error{Op: "mta.lines", Kind: mail.Unsupported, Code: mail.Enhanced{5, 6, 3}, Text: "a line of more than 998 octets in content that may not be changed"}
	}
	return wrapped, err
}

// received makes the Received field (RFC 5321 §4.4); its "for" only where there is one recipient (§7.6), and in ASCII,
// so that what we add asks for nothing of the next server.
func (m *MTA) received(in Intake, id mail.ID) []byte {
	info := smtp.ReceivedInfo{Hostname: string(m.o.Hostname), ID: id, UTF8: in.Envelope.UTF8, Now: m.o.Clock()}
	if r := in.Envelope.Recipients; len(r) == 1 && r[0].Address.ASCII() {
		info.For = r[0].Address
	}
	info.Private = in.Private
	return smtp.Received(in.Peer, info)
}

// accept commits and turns what became of each recipient into the transaction's results: one for SMTP, one for
// each recipient for LMTP (RFC 2033 §4.2).
func (m *MTA) accept(ctx context.Context, in Intake, msg Incoming) ([]smtp.Result, error) {
	errs, err := m.Accept(ctx, msg)
	if err != nil {
		return nil, err
	}
	m.readReports(ctx, msg)
	id := msg.Message.ID()
	if !msg.Each {
		return []smtp.Result{{Message: id}}, nil
	}
	results := make([]smtp.Result, len(errs))
	for i, e := range errs {
		results[i] = smtp.Result{Message: id, Err: e}
	}
	return results, nil
}

// Room tells whether an account may take a message of size octets (0: unknown). It is asked at RCPT; a recipient taken
// there is delivered to even if that overruns a quota by this message.
type Room func(ctx context.Context, id mail.AccountID, size int64) error

// CheckAlias asks room for an alias: it refuses one that leads nowhere, and one behind which no account has room and
// nobody else stands.
func (m *MTA) CheckAlias(ctx context.Context, r mail.Recipient, room Room, size int64) error {
	p, err := m.mda.Plan(ctx, mda.Message{}, r)
	if err != nil || len(p.Forwards) > 0 {
		return err
	}
	for _, d := range p.Deliveries {
		if err = room(ctx, d.Account, size); err == nil {
			return nil
		}
	}
	return err
}
