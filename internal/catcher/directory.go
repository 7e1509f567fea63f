// Package catcher makes the mail system a fake server for tests: mail that fits nowhere else lands in one inbox,
// and any credentials open it (sasl.Anyone). It is a decorator of the directory, so that the roles stay what they are: mx and msa
// judge, mta accepts, and only the answer to "whose address is this" differs.
package catcher

import (
	"context"

	"postel/internal/directory"
	"postel/internal/mail"
)

// Directory is a directory in which every address leads somewhere: what the one below does not know is the catcher's.
// Domains of kind Relay stay what they are, as somebody named them.
type Directory struct {
	directory.Directory
	Catcher mail.AccountID // whose INBOX catches
}

// Domain takes every domain that is unknown for a local one.
func (d Directory) Domain(ctx context.Context, name mail.Domain) (directory.Domain, error) {
	have, err := d.Directory.Domain(ctx, name)
	if !mail.Is(err, mail.NotFound) {
		return have, err
	}
	return directory.Domain{Name: name, Kind: directory.Local}, nil
}

// Lookup gives the catcher for whatever is unknown.
func (d Directory) Lookup(ctx context.Context, a mail.Address) (directory.Target, error) {
	t, err := d.Directory.Lookup(ctx, a)
	if mail.Is(err, mail.NotFound) {
		return directory.Target{Account: d.Catcher}, nil
	}
	return t, err
}
