package imapd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/proto/sasl"
)

func (s *session) mayStartTLS() bool { return s.srv.o.TLS != nil && !s.encrypted() }

// startTLS says OK and goes on encrypted; what the client sent behind the command in clear is dropped.
func (s *session) startTLS(ctx context.Context, _ imap.None) error {
	if !s.mayStartTLS() {
		return bad("STARTTLS is not available")
	}
	s.e.Status(s.tag, imap.OK, "", "begin TLS")
	s.replied = true
	if err := s.e.Flush(); err != nil {
		return err
	}
	if n := s.d.Reset(s.conn); n > 0 {
		s.e.Note("octets sent in clear behind STARTTLS were dropped")
	}
	if err := s.conn.StartTLS(ctx, s.srv.o.TLS); err != nil {
		s.e.Note("TLS handshake failed")
		s.bye = true
		return err
	}
	s.glass.Encrypted()
	return nil
}

// link is the connection as the mechanisms see it.
func (s *session) link() sasl.Link {
	return sasl.Link{Secure: s.encrypted() || s.srv.o.ClearAuth, TLS: s.conn.TLS(), Certificate: s.conn.Certificate()}
}

// login is LOGIN.
func (s *session) login(ctx context.Context, l imap.Login) error {
	if !s.link().Secure {
		return mail.E("imapd.login", mail.NeedTLS, "STARTTLS first")
	}
	if err := s.conn.MayLogIn(); err != nil {
		return err
	}
	if len(l.User) > sasl.MaxName || len(l.Password) > sasl.MaxPassword {
		return s.loggedIn(ctx, sasl.Identity{}, sasl.Failed())
	}
	who, err := s.srv.o.SASL.Auth.Password(ctx, "", l.User, l.Password)
	return s.loggedIn(ctx, who, err)
}

// authenticate is AUTHENTICATE with an initial response or without (RFC 4959 §3).
func (s *session) authenticate(ctx context.Context, a imap.Authenticate) error {
	if !s.link().Secure {
		return mail.E("imapd.authenticate", mail.NeedTLS, "STARTTLS first")
	}
	if err := s.conn.MayLogIn(); err != nil {
		return err
	}
	x, err := s.srv.o.SASL.Start(ctx, s.link(), a.Mechanism)
	if err != nil {
		return err
	}
	var response []byte
	if a.Initial != "" {
		if response, err = sasl.DecodeInitial([]byte(a.Initial)); err != nil {
			return syntax{err}
		}
	}
	for {
		challenge, done, who, err := x.Next(ctx, response)
		switch {
		case mail.Is(err, mail.Invalid):
			return syntax{err} // a bad command, and counted as one
		case done || err != nil:
			return s.loggedIn(ctx, who, err)
		}
		if response, err = s.respond(challenge); err != nil {
			return err
		}
	}
}

// respond sends a challenge and reads the client's response.
func (s *session) respond(challenge []byte) ([]byte, error) {
	s.e.Continuation(sasl.Encode(challenge), true)
	if err := s.e.Flush(); err != nil {
		return nil, err
	}
	line := s.d.Line()
	s.d.Secret()
	if err := s.d.Err(); err != nil {
		return nil, syntax{err}
	}
	response, err := sasl.Decode(line)
	if err != nil {
		return nil, syntax{err}
	}
	return response, nil
}

// loggedIn takes the outcome of a login.
func (s *session) loggedIn(ctx context.Context, who sasl.Identity, err error) error {
	if err != nil {
		if mail.Is(err, mail.AuthFailed) {
			s.conn.LoginFailed()
			s.failed++
		}
		return err
	}
	if !s.conn.Authenticated(who.Login) {
		return mail.E("imapd.login", mail.TooMany, "too many connections of this user")
	}
	s.who, s.state = who, authenticated
	s.d.SetLimits(imap.Limits{
		Command: imap.CommandAfterLogin, Literal: imap.LiteralAfterLogin, Discard: s.srv.o.Limits.Message + 1<<20,
	})
	s.okCode, s.okText = imap.CodeCapability(s.capabilities(ctx)), "logged in"
	return nil
}
