package app

import (
	"context"
	"slices"

	"postel/internal/check"
	"postel/internal/mail"
	"postel/internal/upgrade"
)

// check looks at everything that is stored, for the API.
func (n *node) check(ctx context.Context, q check.Request, tell func(mail.Finding) error) (check.Summary, error) {
	format, err := upgrade.Format(ctx, n.kv)
	newest := upgrade.Newest(n.formats())
	if err == nil && format != newest {
		return check.Summary{}, mail.E("app.check", mail.Unsupported, "the data has format %d and is checked once it has %d: start the server, or try --upgrade-dry-run", format, newest)
	}
	if err != nil && !mail.Is(err, mail.Internal) { // a damaged row is a finding like others
		return check.Summary{}, err
	}
	o := check.Options{Format: formatCheck{n}, Store: n.store, Blobs: n.blobs, Queue: n.queue, Directory: directoryCheck{n}}
	if n.index != nil {
		o.Index = n.index
	}
	return check.Run(ctx, o, q, tell)
}

// formatCheck is the format of the data as a check sees it.
type formatCheck struct{ n *node }

// Verify is check.Format's.
func (f formatCheck) Verify(ctx context.Context, mend bool) ([]mail.Finding, error) {
	found, err := upgrade.Verify(ctx, f.n.kv)
	if err != nil || !mend || !slices.ContainsFunc(found, func(x mail.Finding) bool { return x.State == mail.Mendable }) {
		return found, err
	}
	known := upgrade.Newest(f.n.formats())
	if f.n.Bare { // no server was started on it
		known = upgrade.First
	}
	if err := upgrade.Mend(ctx, f.n.kv, known); err != nil {
		return found, err
	}
	if f.n.Bare {
		if err := f.n.upgradeRows(ctx); err != nil {
			return found, err
		}
	}
	for i := range found {
		if found[i].State == mail.Mendable {
			found[i].State = mail.Mended
		}
	}
	return found, nil
}

// directoryCheck is the directory as a check sees it.
type directoryCheck struct{ n *node }

// Verify is check.Directory's.
func (d directoryCheck) Verify(ctx context.Context, mend bool) ([]mail.Finding, error) {
	return d.n.directory.Verify(ctx, mend, d.n.store)
}

// AddressOf is check.Directory's.
func (d directoryCheck) AddressOf(ctx context.Context, a mail.AccountID) mail.Address {
	acc, err := d.n.directory.Account(ctx, a)
	if err != nil {
		return mail.Address{}
	}
	return acc.Address
}
