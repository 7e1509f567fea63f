package smtpd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// transaction is the one that is open.
type transaction struct {
	smtp.Transaction
	envelope mail.Envelope  // without recipients
	accepted []mail.Address // its recipients, for LMTP and the limit
	refused  int            // recipients
}

// drop ends the transaction, if there is one, as if it had never been.
func (s *session) drop() {
	if s.tx != nil {
		s.tx.Reset()
	}
	s.forget()
}

// forget ends the transaction without a Reset.
func (s *session) forget() {
	s.tx, s.forwarded = nil, smtp.XClient{}
	if s.state != fresh {
		s.state = greeted
	}
}

func (s *session) rset(context.Context, struct{}) (smtp.Reply, error) {
	s.drop()
	return smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "dropped"), nil
}

func (s *session) peer() smtp.Peer {
	return smtp.Peer{
		Session: s.id, Remote: s.conn.RemoteAddr(), Local: s.conn.LocalAddr(),
		Looked: smtp.Looked{Name: s.name}, Forwarded: s.forwarded.String(), Helo: s.helo, ESMTP: s.esmtp && !s.server.o.LMTP, LMTP: s.server.o.LMTP, TLS: s.conn.TLS(),
		Account: s.identity.Account, Login: s.identity.Login, Anyone: s.identity.Anyone, System: s.system,
	}
}

// mail begins a transaction. A source route is ignored (RFC 5321 appendix C).
func (s *session) mail(ctx context.Context, m smtp.Mail) (smtp.Reply, error) {
	e, err := s.envelope(m)
	if err != nil {
		return smtp.Reply{}, err
	}
	p := s.peer()
	p.Looked = s.looked(ctx)
	tx, err := s.server.o.Policy.Begin(ctx, p)
	if err != nil {
		return smtp.Reply{}, err
	}
	s.tx, s.state = &transaction{Transaction: tx, envelope: e}, sender
	if err := tx.Mail(ctx, e); err != nil {
		s.drop()
		return smtp.Reply{}, err
	}
	s.following = maxFollowing
	if e.Priority != m.Envelope.Priority {
		return smtp.NewReply(250, mail.Enhanced{2, 3, 6}, "%d is the priority of the message", e.Priority), nil
	}
	return smtp.NewReply(250, mail.Enhanced{2, 1, 0}, "sender ok"), nil
}

// maxFollowing is how many chunks may come for a transaction that is no more, for they were on their way, without
// counting as mistakes.
const maxFollowing = 1000

func (s *session) rcpt(ctx context.Context, rest string) (smtp.Reply, error) {
	tx := s.tx
	r, err := smtp.ParseRcpt(rest, s.server.parameters, tx.envelope.UTF8)
	if err != nil {
		return smtp.Reply{}, err
	}
	if len(tx.accepted) >= s.server.o.MaxRecipients {
		return smtp.Reply{}, mail.E("smtpd", mail.TooMany, "%d recipients at most", s.server.o.MaxRecipients)
	}
	if err := tx.Rcpt(ctx, r.Recipient); err != nil {
		tx.refused++
		return smtp.Reply{}, err
	}
	tx.accepted = append(tx.accepted, r.Recipient.Address)
	s.state = recipients
	return smtp.NewReply(250, mail.Enhanced{2, 1, 5}, "recipient ok"), nil
}

// beginBody says that what is read next is content.
func (s *session) beginBody() { s.inBody, s.bodyRead, s.bodyStart = true, 0, time.Now() }

// data takes the content and ends the transaction.
func (s *session) data(ctx context.Context, _ struct{}) (smtp.Reply, error) {
	tx := s.tx
	if tx.envelope.Body == mail.BodyBinaryMIME {
		return smtp.Reply{}, badSequence("BODY=BINARYMIME goes by BDAT") // RFC 3030 §3
	}
	s.server.o.OnReply("DATA", 354)
	s.reply(smtp.Reply{Code: 354, Lines: []string{"end with CRLF.CRLF"}})
	body := smtp.NewDataReader(s.r, s.server.o.MaxSize, s.server.o.BareLF)
	s.forget() // Data ends it, whatever comes of it
	s.beginBody()
	results, err := tx.Data(ctx, body)
	rest := body.Drain()
	s.inBody = false
	s.note(fmt.Sprintf("message of %d octets", body.Size()))
	if body.Lost() && !isMailError(rest) {
		s.broken(rest)
		return smtp.Reply{}, nil
	}
	if body.Lost() { // it would not end
		s.done = true
		s.conn.Linger()
	}
	if rest != nil && err == nil {
		results, err = nil, rest
	}
	return s.answer("DATA", tx.accepted, results, err, body)
}

// content is what is told of a message that was read.
type content interface {
	Size() int64
	Repaired() int
}

// answer says what became of the content: once, or in LMTP once for each recipient (RFC 2033 §4.2). With no recipient
// to answer for it says so once.
func (s *session) answer(verb string, to []mail.Address, results []smtp.Result, err error, body content) (smtp.Reply, error) {
	each := s.server.o.LMTP && len(to) > 0
	if !each {
		to = []mail.Address{{}}
	}
	if err == nil && len(results) == 0 {
		err = errors.New("the policy gave no result")
	}
	for i, rcpt := range to {
		res := smtp.Result{Err: err}
		switch {
		case err != nil:
		case i < len(results):
			res = results[i]
		default:
			res.Err = errors.New("the policy gave too few results")
		}
		r := s.outcome(res, body.Repaired())
		if each {
			r.Lines[0] = "<" + rcpt.String() + "> " + r.Lines[0]
		}
		if i == 0 {
			s.server.o.OnBody(body.Size(), r.Code)
		}
		s.server.o.OnReply(verb, r.Code)
		s.reply(r)
	}
	return smtp.Reply{}, nil
}

// outcome says one result.
func (s *session) outcome(res smtp.Result, repaired int) smtp.Reply {
	if res.Err != nil {
		return s.refusal(res.Err, true)
	}
	switch {
	case res.Text != "":
	case res.Message.IsZero():
		res.Text = "accepted"
	default:
		res.Text = "m-" + res.Message.String() + " accepted"
	}
	if repaired > 0 {
		res.Text += fmt.Sprintf("; warning: %d bare LF became CRLF, a real server refuses them", repaired)
	}
	return smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "%s", res.Text)
}

func isMailError(err error) bool {
	var e *mail.Error
	return errors.As(err, &e)
}
