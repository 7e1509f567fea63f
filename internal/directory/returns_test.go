package directory

import (
	"context"
	"testing"

	"postel/internal/mail"
)

// caught is a directory whose local domain takes mail for everybody.
type caught struct{ Directory }

func (caught) Domain(_ context.Context, d mail.Domain) (Domain, error) {
	switch d {
	case "ours.test":
		return Domain{Name: d, Kind: Local}, nil
	case "relay.test":
		return Domain{Name: d, Kind: Relay}, nil
	}
	return Domain{}, mail.E("fake", mail.NotFound, "not ours")
}

func (c caught) Lookup(ctx context.Context, a mail.Address) (Target, error) {
	d, err := c.Domain(ctx, a.Domain)
	return Target{Account: 1, Relay: d.Kind == Relay}, err
}

// TestReturns: what our forwarder made leads back, before any catchall, at our domains alone; what it did not make is
// refused there, and everything else is as without it.
func TestReturns(t *testing.T) {
	t.Parallel()
	author := mail.Address{Local: "author", Domain: "far.test"}
	r := Returns{Directory: caught{}, Own: "srs.test", Reverse: func(a mail.Address) (mail.Address, error) {
		switch a.Local {
		case "made":
			return author, nil
		case "forged":
			return mail.Address{}, mail.E("fake", mail.Denied, "forged")
		}
		return mail.Address{}, mail.E("fake", mail.NotFound, "none")
	}}
	for _, c := range []struct {
		local  string
		domain mail.Domain
		want   string
	}{
		{"made", "ours.test", "author"},
		{"made", "srs.test", "author"},
		{"made", "relay.test", "relay"},
		{"made", "far.test", "not found"},
		{"forged", "ours.test", "denied"},
		{"forged", "srs.test", "denied"},
		{"forged", "relay.test", "relay"},
		{"forged", "far.test", "not found"},
		{"user", "ours.test", "account"},
		{"user", "srs.test", "not found"},
	} {
		to, err := r.Lookup(t.Context(), mail.Address{Local: c.local, Domain: c.domain})
		got := "account"
		switch {
		case err != nil:
			got = mail.KindOf(err).String()
		case len(to.Alias) == 1 && to.Alias[0] == author && to.Account == 0:
			got = "author"
		case to.Relay:
			got = "relay"
		}
		if got != c.want {
			t.Errorf("%s@%s: %s, want %s", c.local, c.domain, got, c.want)
		}
	}
}
