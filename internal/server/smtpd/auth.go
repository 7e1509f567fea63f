package smtpd

import (
	"context"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
)

// link is the connection as the mechanisms see it.
func (s *session) link() sasl.Link {
	t := s.conn.TLS()
	return sasl.Link{Secure: t != nil || s.server.o.AuthInClear, TLS: t, Certificate: s.conn.Certificate()}
}

// offerAuth lists the mechanisms, but not to who is logged in already.
func (s *session) offerAuth() []string {
	if len(s.mechanisms) == 0 || s.authenticated() {
		return nil
	}
	return []string{"AUTH " + strings.Join(s.mechanisms, " ")}
}

// auth logs in (RFC 4954 §4).
func (s *session) auth(ctx context.Context, a smtp.Auth) (smtp.Reply, error) {
	switch {
	case s.authenticated():
		return smtp.Reply{}, badSequence("logged in already")
	case !s.link().Secure:
		return smtp.Reply{}, smtp.Fail(538, mail.NeedTLS, mail.Enhanced{5, 7, 11}, "STARTTLS first")
	}
	if s.conn.MayLogIn() != nil {
		return smtp.Reply{}, smtp.Fail(454, mail.Unavailable, mail.Enhanced{4, 7, 0}, "too many logins from your network have failed, try again later")
	}
	x, err := s.server.o.SASL.Start(ctx, s.link(), a.Mechanism)
	if err != nil {
		return smtp.Reply{}, err
	}
	id, err := s.exchange(ctx, x, a.Initial)
	if err != nil {
		return s.notAuthenticated(err)
	}
	if !s.conn.Authenticated(id.Login) {
		s.bye(mail.Enhanced{4, 7, 0}, "has too many connections of this user")
		return smtp.Reply{}, nil
	}
	s.identity = id
	s.note("logged in as " + id.Login)
	return smtp.NewReply(235, mail.Enhanced{2, 7, 0}, "welcome"), nil
}

// exchange carries challenges and responses.
func (s *session) exchange(ctx context.Context, x sasl.Exchange, initial string) (sasl.Identity, error) {
	var response []byte
	var err error
	if initial != "" {
		if response, err = sasl.DecodeInitial([]byte(initial)); err != nil {
			return sasl.Identity{}, err
		}
	}
	for {
		challenge, done, id, err := x.Next(ctx, response)
		if err != nil || done {
			return id, err
		}
		if response, err = s.challenge(challenge); err != nil {
			return sasl.Identity{}, err
		}
	}
}

// challenge sends one and reads the response to it.
func (s *session) challenge(c []byte) ([]byte, error) {
	s.reply(smtp.Reply{Code: 334, Lines: []string{sasl.Encode(c)}})
	s.until = time.Time{}
	line, err := s.lines.Response()
	if err != nil && !mail.Is(err, mail.Invalid) {
		s.broken(err)
		return nil, err
	}
	s.trace(observe.Theirs, line, true)
	if err != nil {
		return nil, err
	}
	return sasl.Decode(line)
}

// notAuthenticated answers a login that came to nothing.
func (s *session) notAuthenticated(err error) (smtp.Reply, error) {
	if s.done { // the connection broke
		return smtp.Reply{}, nil
	}
	switch mail.KindOf(err) {
	case mail.AuthFailed, mail.Denied:
		s.conn.LoginFailed()
		s.failed++
		if s.failed >= s.server.o.MaxFailedLogins {
			s.bye(mail.Enhanced{4, 7, 0}, "has had too many failed logins")
			return smtp.Reply{}, nil
		}
		return smtp.Reply{}, smtp.Fail(535, mail.AuthFailed, mail.Enhanced{5, 7, 8}, "authentication failed")
	case mail.Canceled:
		return smtp.Reply{}, smtp.Fail(501, mail.Invalid, mail.Enhanced{5, 7, 0}, "authentication cancelled")
	case mail.Unavailable, mail.TooMany, mail.Busy:
		return smtp.Reply{}, smtp.Fail(454, mail.Unavailable, mail.Enhanced{4, 7, 0}, "cannot check this now, try again later")
	case mail.TooLarge:
		return smtp.Reply{}, smtp.Fail(500, mail.Invalid, mail.Enhanced{5, 5, 6}, "authentication exchange line is too long")
	}
	return smtp.Reply{}, err
}
