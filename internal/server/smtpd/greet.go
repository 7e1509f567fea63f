package smtpd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
)

// ehlo greets with the extensions that count now; it also does LHLO.
func (s *session) ehlo(ctx context.Context, name string) (smtp.Reply, error) {
	s.hello(name, true)
	if s.server.o.SASL != nil && !s.authenticated() {
		s.mechanisms = s.server.o.SASL.Mechanisms(ctx, s.link())
	}
	s.lookUp(ctx)
	return smtp.Reply{Code: 250, Lines: append([]string{s.server.o.Hostname}, s.keywords()...)}, nil
}

func (s *session) oldHello(ctx context.Context, name string) (smtp.Reply, error) {
	s.hello(name, false)
	s.lookUp(ctx)
	return smtp.Reply{Code: 250, Lines: []string{s.server.o.Hostname}}, nil
}

// hello notes the greeting; one in the middle is as RSET (RFC 5321 §4.1.4).
func (s *session) hello(name string, esmtp bool) {
	s.drop()
	s.helo, s.esmtp, s.state = name, esmtp, greeted
}

func (s *session) offerTLS() []string {
	if s.conn.TLS() != nil || s.authenticated() {
		return nil
	}
	return []string{"STARTTLS"}
}

// startTLS goes on under TLS, with all that was said in clear forgotten (RFC 3207 §4.2).
func (s *session) startTLS(ctx context.Context, _ struct{}) (smtp.Reply, error) {
	if s.conn.TLS() != nil {
		return smtp.Reply{}, badSequence("TLS is on already")
	}
	if s.authenticated() {
		return smtp.Reply{}, badSequence("STARTTLS comes before AUTH")
	}
	s.server.o.OnReply("STARTTLS", 220)
	s.reply(smtp.NewReply(220, mail.Enhanced{2, 0, 0}, "go on under TLS"))
	if err := s.w.Flush(); err != nil {
		s.broken(err)
		return smtp.Reply{}, nil
	}
	if err := s.conn.StartTLS(ctx, s.server.o.TLS); err != nil {
		s.note(err.Error())
		s.done = true
		return smtp.Reply{}, nil
	}
	s.r.Reset(input{s})
	s.lines = smtp.Lines{R: s.r}
	s.state, s.helo, s.identity = fresh, "", sasl.Identity{}
	s.encrypted(s.conn.TLS())
	return smtp.Reply{}, nil
}
