package smtpd

import (
	"context"
	"net/netip"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
)

// standIns are the commands of filters and proxies that speak for others. Only listed peers see them and may use them.
func standIns() []command {
	return []command{
		{
			verb: "XCLIENT", states: always &^ recipients, flags: listed | alone, rfc: "Postfix XCLIENT_README",
			run:     args(smtp.ParseXClient, (*session).xclient),
			offer:   offerListed("XCLIENT " + smtp.XClientAttributes),
			syntax:  "XCLIENT attribute=value…",
			about:   "begins the session anew as that of another client",
			mistake: "values are xtext; the session begins anew behind the 220: greet again",
		}, {
			verb: "XFORWARD", states: greeted, flags: listed, rfc: "Postfix XFORWARD_README",
			run:     args(smtp.ParseXForward, (*session).xforward),
			offer:   offerListed("XFORWARD " + smtp.XForwardAttributes),
			syntax:  "XFORWARD attribute=value…",
			about:   "tells, for the records alone, of whom the next message came",
			mistake: "it changes nothing of what the client may do: that is XCLIENT",
		},
	}
}

func offerListed(line string) func(*session) []string {
	return func(s *session) []string {
		if !s.listed {
			return nil
		}
		return []string{line}
	}
}

// isListed tells whether the peer itself, not for whom it speaks, may use XCLIENT.
func (s *session) isListed() bool {
	a := s.conn.RemoteAddr().Addr()
	for _, n := range s.server.o.XClient {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// xclient makes the session that of another client, at its beginning. TLS stays what it is.
func (s *session) xclient(ctx context.Context, x smtp.XClient) (smtp.Reply, error) {
	if s.tx != nil {
		return smtp.Reply{}, badSequence("a transaction is open: finish it, or RSET")
	}
	id, err := s.standFor(ctx, x)
	if err != nil {
		return smtp.Reply{}, err
	}
	s.state, s.identity, s.helo, s.esmtp = fresh, id, x.Helo, x.Protocol == "ESMTP"
	s.name, s.forwarded = x.Name, smtp.XClient{}
	s.stopLook() // what DNS says of one client is nothing about another, though both say the same name
	s.note("speaks for " + x.String())
	return smtp.NewReply(220, mail.Enhanced{}, "%s %s", s.server.o.Hostname, s.server.o.Greeting), nil
}

// standFor takes the address and the login of the other client.
func (s *session) standFor(ctx context.Context, x smtp.XClient) (id sasl.Identity, err error) {
	if x.Login != "" {
		if s.server.o.Identify == nil {
			return id, smtp.Fail(501, mail.Invalid, mail.Enhanced{5, 5, 4}, "nobody logs in here")
		}
		if id, err = s.server.o.Identify(ctx, x.Login); err != nil {
			return id, err
		}
	}
	remote := x.Addr
	if remote.Addr().IsValid() && remote.Port() == 0 {
		remote = netip.AddrPortFrom(remote.Addr(), s.conn.RemoteAddr().Port())
	} else if !remote.Addr().IsValid() {
		remote = netip.AddrPort{}
	}
	dest := x.Dest
	if dest.Addr().IsValid() && dest.Port() == 0 {
		dest = netip.AddrPortFrom(dest.Addr(), s.conn.LocalAddr().Port())
	} else if !dest.Addr().IsValid() {
		dest = netip.AddrPort{}
	}
	return id, s.conn.Impersonate(remote, dest)
}

// xforward notes of whom the next message came.
func (s *session) xforward(_ context.Context, x smtp.XClient) (smtp.Reply, error) {
	s.forwarded = s.forwarded.With(x)
	s.note("forwards " + s.forwarded.String())
	return smtp.NewReply(250, mail.Enhanced{2, 0, 0}, "noted"), nil
}
