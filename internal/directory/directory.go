// Package directory is the contract for who exists and who may do what: domains, accounts, their addresses and
// aliases, authentication, quotas. Backends: directory/local (rows of kv).
package directory

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// DomainKind says what is done with mail for a domain.
type DomainKind string

// The kinds of domains.
const (
	Local DomainKind = "local" // its mailboxes are ours
	Relay DomainKind = "relay" // taken by MX, queued, sent on
)

// Domain is one of our domains.
type Domain struct {
	Name     mail.Domain
	Kind     DomainKind
	CatchAll mail.Address // zero: unknown local parts are refused
	// What all accounts whose main address is of the domain may hold together; 0 is unlimited.
	Quota       int64 // octets
	MaxMessages int64
	// ODMR are the accounts, folded, that take the mail of a domain of kind Relay by ATRN (RFC 2645); where there is
	// one the mail is kept for them and goes nowhere by itself.
	ODMR []mail.Address
	ETRN mail.Callers // who may have its queued mail sent at once (RFC 1985)
}

// Account is a user with mailboxes.
type Account struct {
	ID        mail.AccountID
	Address   mail.Address   // the main one, folded; also the login
	Addresses []mail.Address // all of them, the main one first
	Quota     int64          // octets; 0 is unlimited
	Disabled  bool
	SendAs    []mail.Address // others that it may write as, besides its own; folded
	Catcher   bool           // takes any password (dev only)
	// Bulk says that it sends to many: recipients that refuse its mail for good are suppressed, and it may not write to
	// those who are. VERP: each recipient gets its mail from an address that names the recipient.
	Bulk, VERP bool
}

// Target is what an address of ours leads to. Exactly one of Account, Alias, Relay is set.
type Target struct {
	Account mail.AccountID
	Detail  string         // what stood behind the + of a subaddress
	Alias   []mail.Address // to be resolved in their turn; remote ones are sent on
	Relay   bool           // a domain of kind Relay: any local part
}

// Directory answers the roles' questions. Safe for concurrent use. Addresses are compared folded.
type Directory interface {
	sasl.Authenticator
	// Domain gives one of our domains; Kind NotFound when it is not ours.
	Domain(ctx context.Context, d mail.Domain) (Domain, error)
	// Lookup says where an address of our domains leads: the exact address, then without its subaddress, then
	// the domain's catchall; "postmaster" of any local domain, and the bare Postmaster, always lead somewhere.
	// Kind NotFound for an unknown user (5.1.1) and for a domain that is not ours (then Domain says so too).
	Lookup(ctx context.Context, a mail.Address) (Target, error)
	// Account gives an account by id; Kind NotFound.
	Account(ctx context.Context, id mail.AccountID) (Account, error)
	// MaySendAs tells whether the account may write as a: one of its addresses, with or without a subaddress, or
	// an alias that leads to it alone, or one that it was allowed.
	MaySendAs(ctx context.Context, id mail.AccountID, a mail.Address) (bool, error)
}
