package pop3d

import (
	"context"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/pop3"
	"postel/internal/proto/sasl"
)

// link is the connection as the mechanisms of SASL see it; one that is not secure takes no password either.
func (s *session) link() sasl.Link {
	t := s.conn.TLS()
	return sasl.Link{Secure: t != nil || s.server.o.AllowClearAuth, TLS: t, Certificate: s.conn.Certificate()}
}

func needTLS() error { return mail.E("pop3d", mail.NeedTLS, "not without encryption: STLS first") }

// user takes any name: whether it exists shows only at the end (RFC 1939 §7 allows that).
func (s *session) user(_ context.Context, name string) (reply, error) {
	if !s.link().Secure {
		return reply{}, needTLS()
	}
	s.name = name
	return reply{text: "and the password"}, nil
}

func (s *session) pass(ctx context.Context, password string) (reply, error) {
	name := s.name
	s.name = ""
	if name == "" {
		return reply{}, bad("USER first")
	}
	if err := s.conn.MayLogIn(); err != nil {
		return reply{}, err
	}
	if len(name) > sasl.MaxName || len(password) > sasl.MaxPassword {
		return s.failedLogin(ctx, sasl.Failed())
	}
	id, err := s.server.o.SASL.Auth.Password(ctx, "", name, password)
	return s.login(ctx, id, err)
}

func (s *session) apop(ctx context.Context, d pop3.Digest) (reply, error) {
	if !s.link().Secure {
		return reply{}, needTLS()
	}
	if s.timestamp == "" {
		return reply{}, bad("APOP needs a timestamp, which the greeting did not have")
	}
	if err := s.conn.MayLogIn(); err != nil {
		return reply{}, err
	}
	secret, id, err := s.server.o.SASL.Auth.Shared(ctx, s.server.o.SASL.Shared, d.Name)
	if err == nil && !id.Anyone && !d.Proves(s.timestamp, secret) || err == nil && id.Account == 0 {
		err = sasl.Failed()
	}
	return s.login(ctx, id, err)
}

func (s *session) auth(ctx context.Context, a pop3.Auth) (reply, error) {
	if !s.link().Secure {
		return reply{}, needTLS()
	}
	if err := s.conn.MayLogIn(); err != nil {
		return reply{}, err
	}
	x, err := s.server.o.SASL.Start(ctx, s.link(), a.Mechanism)
	if err != nil {
		return reply{}, err
	}
	id, err := s.exchange(ctx, x, a.Initial)
	if s.done { // the connection broke
		return reply{sent: true}, nil
	}
	return s.login(ctx, id, err)
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
		s.say(pop3.AppendContinue(s.out[:0], sasl.Encode(challenge)))
		s.until = time.Time{}
		line, err := s.lines.Response()
		if err != nil && !mail.Is(err, mail.Invalid) {
			s.broken(err)
			return sasl.Identity{}, err
		}
		s.trace(observe.Theirs, line, true)
		if err != nil {
			return sasl.Identity{}, err
		}
		if response, err = sasl.Decode(line); err != nil {
			return sasl.Identity{}, err
		}
	}
}

// login ends an attempt: with the maildrop, or a refusal.
func (s *session) login(ctx context.Context, id sasl.Identity, err error) (reply, error) {
	if err != nil {
		return s.failedLogin(ctx, err)
	}
	drop, err := openMaildrop(ctx, s.server.o.Store, id.Account)
	if err != nil {
		return reply{}, err
	}
	if !s.conn.Authenticated(id.Login) {
		drop.release()
		return reply{}, mail.E("pop3d.login", mail.TooMany, "too many connections of this user")
	}
	s.drop = drop
	s.note("logged in as " + id.Login)
	return reply{text: drop.summary()}, nil
}

// failedLogin answers a login that came to nothing; a wrong one late, and the last one for good.
func (s *session) failedLogin(ctx context.Context, err error) (reply, error) {
	if !mail.Is(err, mail.AuthFailed) {
		return reply{}, err
	}
	s.conn.LoginFailed()
	if d := s.server.o.FailDelay; d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	if s.failed++; s.failed >= s.server.o.MaxFailedLogins {
		s.done = true
		s.conn.Linger()
		return reply{}, &mail.Error{Op: "pop3d.login", Kind: mail.AuthFailed, Text: "too many failed logins", Err: err}
	}
	return reply{}, err
}

// stls turns to TLS (RFC 2595 §4).
func (s *session) stls(ctx context.Context, _ struct{}) (reply, error) {
	if s.conn.TLS() != nil {
		return reply{}, bad("encrypted already")
	}
	s.ok("begin TLS")
	if err := s.w.Flush(); err != nil {
		s.done = true
		return reply{sent: true}, nil
	}
	if err := s.conn.StartTLS(ctx, s.server.o.TLS); err != nil {
		s.done = true
		s.note("TLS failed: " + err.Error())
		s.w.Reset(nil) // nothing more can be said
		return reply{sent: true}, nil
	}
	s.r.Reset(input{s})
	s.w.Reset(s.conn)
	s.encrypted(s.conn.TLS())
	return reply{sent: true}, nil
}
