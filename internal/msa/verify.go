package msa

import (
	"context"

	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// Verify tells one of our users whether an address of ours takes mail. It implements smtp.Verifier.
func (p *Policy) Verify(ctx context.Context, peer smtp.Peer, a mail.Address) (mail.Address, error) {
	a, err := p.complete(ctx, peer, a)
	if err != nil {
		return a, err
	}
	target, err := p.o.Directory.Lookup(ctx, a)
	switch {
	case mail.Is(err, mail.NotFound):
		_, err = p.o.Directory.Domain(ctx, a.Domain)
		if err == nil {
			return a, noSuchUser("msa.verify")
		}
		if !mail.Is(err, mail.NotFound) {
			return a, err
		}
		return a, mail.E("msa.verify", mail.Unsupported, "not ours")
	case err != nil:
		return a, err
	case target.Relay:
		return a, mail.E("msa.verify", mail.Unsupported, "not ours to know")
	case target.Account == 0:
		_, err = directory.Resolve(ctx, p.o.Directory, a)
	}
	return a, err
}

// Expand tells a user the members of an alias that names that user itself: who gets the mail of a list may see who else
// does. Root sees them all. It implements smtp.Verifier.
func (p *Policy) Expand(ctx context.Context, peer smtp.Peer, a mail.Address) ([]mail.Address, error) {
	a, err := p.complete(ctx, peer, a)
	if err != nil {
		return nil, err
	}
	list, err := p.o.Directory.Lookup(ctx, a)
	if err != nil && !mail.Is(err, mail.NotFound) {
		return nil, err
	}
	if peer.System != nil && peer.System.UID == 0 && len(list.Alias) > 0 {
		return list.Alias, nil
	}
	for _, m := range list.Alias {
		t, err := p.o.Directory.Lookup(ctx, m)
		switch {
		case err == nil && t.Account != 0 && t.Account == peer.Account:
			return list.Alias, nil
		case err != nil && !mail.Is(err, mail.NotFound):
			return nil, err
		}
	}
	return nil, &mail.Error{Op: "msa.expand", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 2}, Text: "no list of yours"}
}

// complete puts the domain of the user behind a name that has none, and knows the host's postmaster.
func (p *Policy) complete(ctx context.Context, peer smtp.Peer, a mail.Address) (mail.Address, error) {
	a, err := directory.Postmaster(ctx, p.o.Directory, p.o.Hostname, peer.Local.Addr(), a)
	if err != nil || a.Domain != "" || a.Fold().Local == "postmaster" {
		return a, err
	}
	a.Domain = p.o.Hostname
	if login, err := mail.ParseAddress(peer.Login); err == nil {
		a.Domain = login.Domain
	}
	return a, nil
}

func noSuchUser(op string) error {
	return &mail.Error{Op: op, Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1}, Text: "no such user here"}
}
