package fetch

import (
	"context"
	"slices"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// Only gives the policy for a session that was turned round: as p, but for recipients of the domains that were asked
// for; of all, where there are none.
func Only(p smtp.Policy, domains []mail.Domain) smtp.Policy {
	if len(domains) == 0 {
		return p
	}
	return only{p, domains}
}

type only struct {
	smtp.Policy
	domains []mail.Domain
}

// Begin begins a transaction that is bound to the domains.
func (o only) Begin(ctx context.Context, p smtp.Peer) (smtp.Transaction, error) {
	tx, err := o.Policy.Begin(ctx, p)
	if err != nil {
		return nil, err
	}
	return bound{tx, o.domains}, nil
}

type bound struct {
	smtp.Transaction
	domains []mail.Domain
}

// Rcpt takes recipients of the domains.
func (b bound) Rcpt(ctx context.Context, r mail.Recipient) error {
	if !slices.Contains(b.domains, r.Address.Domain) {
		return &mail.Error{Op: "fetch.rcpt", Kind: mail.Denied, Code: mail.Enhanced{5, 7, 1}, Text: "not a domain that was asked for"}
	}
	return b.Transaction.Rcpt(ctx, r)
}
