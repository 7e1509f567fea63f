package smtpd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// odmr is the table of the port of on-demand mail relay: these commands and no others (RFC 2645 §5.4).
func odmr(o Options) []command {
	var rows []command
	for _, c := range table(o) {
		switch c.verb {
		case "EHLO":
			c.flags |= anonymous
		case "STARTTLS", "AUTH":
			c.flags |= anonymous
		case "QUIT":
		default:
			continue
		}
		rows = append(rows, c)
	}
	return append(rows, command{
		verb: "ATRN", states: always, flags: needAuth | alone | hangup, rfc: "RFC 2645 §5.2.1",
		run:     args(smtp.ParseATRN, (*session).atrn),
		offer:   func(*session) []string { return []string{"ATRN"} },
		syntax:  "ATRN [domain[,domain…]]",
		about:   "turns the connection round: this server sends what it holds for your domains, and you answer as the server",
		mistake: "behind the 250 it is your turn to say 220",
	})
}

// atrn turns the connection round (RFC 2645 §5.2.1, §5.3).
func (s *session) atrn(ctx context.Context, domains []mail.Domain) (smtp.Reply, error) {
	errand, err := s.server.o.Turn.Turn(ctx, s.peer(), domains)
	switch {
	case mail.Is(err, mail.Denied):
		return smtp.Reply{}, smtp.Fail(450, mail.Denied, mail.Enhanced{4, 7, 1}, "ATRN request refused: not all of these are your domains")
	case mail.Is(err, mail.NotFound):
		return smtp.Reply{}, smtp.Fail(453, mail.NotFound, mail.Enhanced{4, 2, 0}, "you have no mail")
	case mail.Is(err, mail.Busy):
		return smtp.Reply{}, smtp.Fail(451, mail.Busy, mail.Enhanced{4, 3, 2}, "unable to process the ATRN request now: %s", reason(err))
	case err != nil:
		_ = s.refusal(err, false) // logs what is our own fault
		return smtp.Reply{}, smtp.Fail(451, mail.Unavailable, mail.Enhanced{4, 3, 0}, "unable to process the ATRN request now")
	}
	defer errand.Close()
	s.done = true // whatever comes of it
	s.server.o.OnReply("ATRN", 250)
	s.reply(smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "OK now reversing the connection"))
	if err := s.w.Flush(); err != nil {
		s.broken(err)
		return smtp.Reply{}, nil
	}
	s.note("turned round")
	errand.Run(ctx, s.conn.Turn(), s.conn.Stopping)
	return smtp.Reply{}, nil
}
