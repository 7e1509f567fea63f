package smtpd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// verifier gives who answers VRFY and EXPN; nil when nothing is told to this client: strangers would only learn whom to
// write to (RFC 5321 §7.3).
func (s *session) verifier() smtp.Verifier {
	v, _ := s.server.o.Policy.(smtp.Verifier)
	if !s.known() {
		return nil
	}
	return v
}

// vrfy tells known clients what RCPT would find, and others nothing, which RFC 5321 §3.5.3 allows with 252.
func (s *session) vrfy(ctx context.Context, who string) (smtp.Reply, error) {
	v := s.verifier()
	if v == nil {
		return cannotTell("send mail and see"), nil
	}
	a, utf8, err := smtp.ParseWho(who, s.server.parameters)
	if err != nil {
		return smtp.Reply{}, err
	}
	found, err := v.Verify(ctx, s.peer(), a)
	switch {
	case mail.Is(err, mail.Unsupported):
		return cannotTell("not a mailbox of this server"), nil
	case err != nil:
		return smtp.Reply{}, err
	case !utf8 && !found.ASCII():
		return smtp.NewReply(252, mail.Enhanced{2, 6, 8}, "there is one; its address needs SMTPUTF8"), nil
	}
	return smtp.NewReply(250, mail.Enhanced{2, 1, 5}, "<%s>", found), nil
}

func cannotTell(why string) smtp.Reply {
	return smtp.NewReply(252, mail.Enhanced{2, 0, 0}, "cannot tell; %s", why)
}

// expn tells the members of a list to those who own it.
func (s *session) expn(ctx context.Context, who string) (smtp.Reply, error) {
	v := s.verifier()
	if v == nil {
		return cannotTell("lists are told to their owners"), nil
	}
	a, utf8, err := smtp.ParseWho(who, s.server.parameters)
	if err != nil {
		return smtp.Reply{}, err
	}
	members, err := v.Expand(ctx, s.peer(), a)
	if err != nil {
		return smtp.Reply{}, err
	}
	r := smtp.Reply{Code: 250, Enhanced: mail.Enhanced{2, 1, 5}}
	for _, m := range members {
		if !utf8 && !m.ASCII() { // RFC 6531 §3.7.4.2
			return smtp.Reply{}, smtp.Fail(550, mail.Invalid, mail.Enhanced{5, 6, 8}, "the answer needs SMTPUTF8")
		}
		r.Lines = append(r.Lines, "<"+m.String()+">")
	}
	return r, nil
}
