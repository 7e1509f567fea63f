package app

import (
	"context"

	"postel/internal/mail"
	"postel/internal/oauth"
	"postel/internal/proto/sasl"
	"postel/internal/tlspolicy/certs"
	"postel/internal/vfs"
)

// openLogins readies what logins need beside the directory.
func (n *node) openLogins() (err error) {
	if o := n.Config.OAuth; o.Issuer != "" {
		n.tokens = oauth.New(oauth.Options{Issuer: o.Issuer, Audience: o.Audience, JWKS: o.JWKS, Claim: o.Claim, Clock: n.clock})
	}
	if file := n.Config.TLS.ClientCA; file != "" {
		n.clients, err = certs.Authorities(vfs.Default(), file)
	}
	return err
}

// mechanisms gives what a listener's users may log in with; use is what its shared secrets are for.
func (n *node) mechanisms(use sasl.Use) *sasl.Server {
	s := &sasl.Server{Auth: n.directory, Host: string(n.Config.Hostname), Tokens: n.tokens, Clients: n.clients}
	switch {
	case use == sasl.ForODMR:
		s.Shared, s.SharedAlways = use, true // RFC 2645 §5.1.2 makes CRAM-MD5 mandatory
	case n.Dev != nil, n.Config.CramMD5 == "on":
		s.Shared = use
	}
	return s
}

// NewSecret makes a secret that is shared with an account, for uses as "odmr,pop3".
func (n *node) NewSecret(ctx context.Context, a mail.Address, uses string) (string, error) {
	u, err := sasl.ParseUse(uses)
	if err != nil {
		return "", err
	}
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return "", err
	}
	return n.directory.NewShared(ctx, acc.ID, u)
}

// RemoveSecret takes it away.
func (n *node) RemoveSecret(ctx context.Context, a mail.Address) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.RemoveShared(ctx, acc.ID)
}
