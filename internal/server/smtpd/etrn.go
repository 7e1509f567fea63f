package smtpd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// Flush starts a queue run for a node, as far as the peer may have one. Errors: NotFound or Denied where it may not
// (459), any other where the run cannot be started (458).
type Flush func(ctx context.Context, p smtp.Peer, n smtp.Node) (smtp.Flushed, error)

// etrn is the row of ETRN (RFC 1985).
func etrn() command {
	return command{
		verb: "ETRN", states: greeted, rfc: "RFC 1985 §5",
		run:    args(smtp.ParseETRN, (*session).etrn),
		offer:  func(*session) []string { return []string{"ETRN"} },
		syntax: "ETRN domain, ETRN @domain or ETRN #queue",
		about:  "sends the mail that waits for a domain, for it and its subdomains, or in a queue, to its own server now",
		mistake: "the mail goes to the domain's MX by a connection of ours, never over this one; " +
			"whoever has no address of his own wants ATRN",
	}
}

// etrn answers as RFC 1985 §5.2 says.
func (s *session) etrn(ctx context.Context, n smtp.Node) (smtp.Reply, error) {
	f, err := s.server.o.Flush(ctx, s.peer(), n)
	switch ok := (mail.Enhanced{2, 0, 0}); {
	case mail.Is(err, mail.NotFound), mail.Is(err, mail.Denied):
		return smtp.Reply{}, smtp.Fail(459, mail.Denied, mail.Enhanced{4, 7, 1}, "node %s not allowed: %s", n, reason(err))
	case err != nil:
		_ = s.refusal(err, false) // logs what is our own fault
		return smtp.Reply{}, smtp.Fail(458, mail.Unavailable, mail.Enhanced{4, 3, 0}, "unable to queue messages for node %s", n)
	case f.Running:
		return smtp.NewReply(250, ok, "OK, queuing for node %s started", n), nil
	case f.Pending == 0:
		return smtp.NewReply(251, ok, "OK, no messages waiting for node %s", n), nil
	case f.More:
		return smtp.NewReply(252, ok, "OK, pending messages for node %s started", n), nil
	default:
		return smtp.NewReply(253, ok, "OK, %d pending messages for node %s started", f.Pending, n), nil
	}
}

// reason gives an error's public text.
func reason(err error) string { return smtp.ReplyOf(err, false).Text() }
