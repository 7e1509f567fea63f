package sasl

import (
	"context"
	"crypto"

	"postel/internal/mail"
)

// Anyone is an Authenticator that takes any login with any password, for a fake server. What it gives names the
// account it was made with, the login as the client said it, and says Anyone.
type Anyone struct {
	Account mail.AccountID
}

func (a Anyone) identity(login string) Identity {
	return Identity{Account: a.Account, Login: login, Anyone: true}
}

// Password takes everything.
func (a Anyone) Password(_ context.Context, _, login, _ string) (Identity, error) {
	return a.identity(login), nil
}

// SCRAM cannot be: it would have to know the password. A Server with Anyone does not offer it.
func (Anyone) SCRAM(context.Context, crypto.Hash, string) (SCRAMKeys, Identity, error) {
	return SCRAMKeys{}, Identity{}, mail.E("sasl.anyone", mail.Unsupported, "no stored keys")
}

// Shared gives a secret that is not to be compared.
func (a Anyone) Shared(_ context.Context, _ Use, login string) (string, Identity, error) {
	return "", a.identity(login), nil
}

// Vouched takes everybody.
func (a Anyone) Vouched(_ context.Context, login string) (Identity, error) {
	return a.identity(login), nil
}

// Every is true of what proves nothing about the server.
func (Anyone) Every(_ context.Context, mech string, _ Use) bool { return mech == CramMD5 }
