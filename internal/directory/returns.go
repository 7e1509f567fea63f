package directory

import (
	"context"

	"postel/internal/mail"
)

// Returns is a Directory in which the addresses that our forwarder made lead back to the senders for whom it made them.
type Returns struct {
	Directory
	// Reverse reads such an address, of whatever domain; Kind NotFound when it is none, else its error is the answer.
	Reverse func(a mail.Address) (mail.Address, error)
	// Own is a domain of such addresses that has no row; may be empty.
	Own mail.Domain
}

// Lookup gives where an address leads, as Directory has it.
func (r Returns) Lookup(ctx context.Context, a mail.Address) (Target, error) {
	to, err := r.Reverse(a)
	if mail.Is(err, mail.NotFound) || err == nil && to.Fold() == a.Fold() {
		return r.Directory.Lookup(ctx, a)
	}
	if a.Domain != r.Own {
		d, unknown := r.Directory.Domain(ctx, a.Domain)
		if unknown != nil || d.Kind != Local {
			return r.Directory.Lookup(ctx, a)
		}
	}
	if err != nil {
		return Target{}, err
	}
	return Target{Alias: []mail.Address{to}}, nil
}
