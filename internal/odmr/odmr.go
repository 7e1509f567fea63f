// Package odmr is the role of the provider in on-demand mail relay (RFC 2645): it says which customer may take the
// mail of which domains. Who is at the other end was proved by AUTH; what is sent, and how, is mta's.
package odmr

import (
	"context"
	"slices"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/mta"
	"postel/internal/proto/smtp"
)

// Options is what the role needs; all fields are required.
type Options struct {
	Directory Domains
	MTA       *mta.MTA
}

// Domains is what the role asks of the directory.
type Domains interface {
	Domain(ctx context.Context, d mail.Domain) (directory.Domain, error)
	Domains(ctx context.Context) ([]directory.Domain, error)
}

// Provider is the role; it is an smtp.Turner.
type Provider struct{ o Options }

// New makes the role.
func New(o Options) *Provider { return &Provider{o} }

// Turn takes the mail of the domains for the peer's account. One domain that is not the account's makes all of it
// Denied, and no mail moves (RFC 2645 §5.2.1).
func (p *Provider) Turn(ctx context.Context, peer smtp.Peer, domains []mail.Domain) (smtp.Errand, error) {
	theirs, err := p.theirs(ctx, peer, domains)
	if err != nil {
		return nil, err
	}
	c, err := p.o.MTA.Collect(ctx, theirs, customer(peer))
	if err != nil {
		return nil, err // not a nil Collection in an Errand
	}
	return c, nil
}

// theirs gives the domains, when all of them are the peer's; all that are where none is named.
func (p *Provider) theirs(ctx context.Context, peer smtp.Peer, domains []mail.Domain) ([]mail.Domain, error) {
	refused := mail.E("odmr.turn", mail.Denied, "not your domains")
	login, err := mail.ParseAddress(peer.Login)
	if err != nil || peer.Anyone {
		return nil, refused
	}
	is := func(d directory.Domain) bool { return slices.Contains(d.ODMR, login.Fold()) }
	for _, name := range domains {
		d, err := p.o.Directory.Domain(ctx, name)
		if mail.Is(err, mail.NotFound) || err == nil && !is(d) {
			return nil, refused
		}
		if err != nil {
			return nil, err
		}
	}
	if len(domains) > 0 {
		return domains, nil
	}
	all, err := p.o.Directory.Domains(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if is(d) {
			domains = append(domains, d.Name)
		}
	}
	if len(domains) == 0 {
		return nil, refused
	}
	return domains, nil
}

// customer names the peer in results and reports: by its greeting where that is a name, else by its address.
func customer(p smtp.Peer) string {
	if d, err := mail.ParseDomain(p.Helo); err == nil {
		if _, literal := d.Literal(); !literal {
			return string(d)
		}
	}
	return p.Remote.Addr().String()
}
