package imapd

import (
	"context"
	"errors"
	"log/slog"

	"postel/internal/mail"
	"postel/internal/proto/imap"
)

// syntax is an error in what the client sent: BAD.
type syntax struct{ error }

func (e syntax) Unwrap() error { return e.error }

// bad is a syntax error that the decoder cannot see.
func bad(text string) error { return syntax{mail.E("imapd", mail.Invalid, "%s", text)} }

// coded is an error with a response code of its own rather than its Kind's.
type coded struct {
	error
	code imap.Code
}

func (e coded) Unwrap() error { return e.error }

// withCode gives err the code when it has the Kind.
func withCode(err error, kind mail.Kind, code imap.Code) error {
	if mail.Is(err, kind) {
		return coded{err, code}
	}
	return err
}

// refusal is what is said for a Kind.
type refusal struct {
	code imap.Code
	text string
}

// refusals is the table of Kinds (RFC 5530 §3).
var refusals = map[mail.Kind]refusal{
	mail.Invalid:      {imap.CodeCannot, "this cannot be"},
	mail.Unsupported:  {imap.CodeCannot, "this is not done here"},
	mail.TooLarge:     {imap.CodeTooBig, "too large"},
	mail.TooMany:      {imap.CodeLimit, "too many"},
	mail.NotFound:     {imap.CodeNonExistent, "no such mailbox"},
	mail.Exists:       {imap.CodeAlreadyExists, "it exists already"},
	mail.Denied:       {imap.CodeNoPerm, "permission denied"},
	mail.AuthRequired: {imap.CodeAuthenticationFailed, "log in first"},
	mail.AuthFailed:   {imap.CodeAuthenticationFailed, "authentication failed"},
	mail.NeedTLS:      {imap.CodePrivacyRequired, "encryption is needed first"},
	mail.OverQuota:    {imap.CodeOverQuota, "mailbox is full"},
	mail.Busy:         {imap.CodeInUse, "in use, try again later"},
	mail.Unavailable:  {imap.CodeUnavailable, "not available now, try again later"},
	mail.Canceled:     {imap.CodeUnavailable, "cancelled"},
	mail.Loop:         {imap.CodeCannot, "loop"},
	mail.Rejected:     {imap.CodeCannot, "content refused"},
	mail.Full:         {imap.CodeUnavailable, "insufficient system storage, try again later"},
	mail.Internal:     {imap.CodeServerBug, "internal error"},
}

// reply turns what a handler gave into the tagged reply, and counts it.
func (s *session) reply(row int, tag string, err error) {
	var c *counts
	if row >= 0 {
		c = &s.srv.counts[row]
	} else {
		c = new(counts)
	}
	var syn syntax
	switch {
	case s.e.Err() != nil: // nobody hears us
	case s.replied:
		c.ok.Add(1)
	case err == nil:
		c.ok.Add(1)
		s.e.Status(tag, imap.OK, s.okCode, s.okText)
	case errors.As(err, &syn):
		c.bad.Add(1)
		s.bads++
		code, text := imap.Code(""), publicText(err, "syntax error")
		if k := mail.KindOf(err); k == mail.TooLarge || k == mail.TooMany {
			code = imap.CodeLimit
		}
		s.e.Status(tag, imap.BAD, code, text)
	default:
		c.no.Add(1)
		code, text := s.refusal(err)
		s.e.Status(tag, imap.NO, code, text)
	}
}

// refusal gives the code and text for an error. The cause of an internal one is logged, never told.
func (s *session) refusal(err error) (imap.Code, string) {
	kind := mail.KindOf(err)
	r := refusals[kind]
	text := publicText(err, r.text)
	if kind == mail.Internal {
		text = r.text + " in session " + sessionName(s.glass.ID())
		s.log(slog.LevelError, "imap command failed", "err", err)
	}
	var c coded
	if errors.As(err, &c) {
		return c.code, text
	}
	return r.code, text
}

func publicText(err error, otherwise string) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return otherwise
}

func (s *session) log(level slog.Level, text string, args ...any) {
	args = append(args, "session", sessionName(s.glass.ID()), "command", s.command)
	s.srv.o.Log.Log(context.Background(), level, text, args...)
}
