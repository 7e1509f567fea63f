package sasl

import (
	"context"
	"crypto"

	"postel/internal/mail"
)

// Identity is who logged in.
type Identity struct {
	Account mail.AccountID
	Login   string // the account's main address
	Anyone  bool   // any credentials were taken (the catcher's); Account is then the catcher's
}

// Authenticator is what the mechanisms ask of a directory. Every answer takes the same time whether the account
// exists or not. Errors: AuthFailed (wrong or unknown, never told apart), Unavailable, TooMany.
type Authenticator interface {
	// Password checks a password of at most 1 KiB. authzid, when not empty, must name the same account.
	Password(ctx context.Context, authzid, login, password string) (Identity, error)
	// SCRAM gives the stored keys of a login for SHA-1 or SHA-256; for one that has none, stable fake keys
	// (RFC 5802 §5.1) with a zero Identity, so that the exchange fails only at its end.
	SCRAM(ctx context.Context, h crypto.Hash, login string) (SCRAMKeys, Identity, error)
	// Shared gives the recoverable secret of a login for CRAM-MD5 and APOP; for one that has none for this use a
	// random one with a zero Identity.
	Shared(ctx context.Context, use Use, login string) (string, Identity, error)
	// Vouched gives the account that a login names, where its owner has shown otherwise that it is theirs. Kind
	// AuthFailed when there is none, or it may not log in.
	Vouched(ctx context.Context, login string) (Identity, error)
	// Every tells whether every account can log in by a mechanism of stored or, for this use, shared secrets: it is
	// offered only then.
	Every(ctx context.Context, mech string, use Use) bool
}

// SCRAMKeys is what a server keeps for SCRAM (RFC 5802 §3, RFC 7677).
type SCRAMKeys struct {
	Salt       []byte
	Iterations int
	StoredKey  []byte
	ServerKey  []byte
}
