package mta

import (
	"context"
	"errors"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// logIn logs in where the route says so. A token that is refused is got anew, once.
func logIn(ctx context.Context, c *smtp.Client, t target) error {
	switch {
	case t.User == "":
		return nil
	case t.Tokens == nil:
		return loginFailed(c.Auth(ctx, "", t.User, t.Password))
	}
	token, err := t.Tokens.Token(ctx, "")
	if err != nil {
		return err
	}
	err = c.AuthToken(ctx, t.User, token)
	if mail.Is(err, mail.AuthFailed) {
		if other, terr := t.Tokens.Token(ctx, token); terr == nil && other != token {
			err = c.AuthToken(ctx, t.User, other)
		}
	}
	return loginFailed(err)
}

// loginFailed says an error of a login as what it is for the mail: a reason to wait until the operator mends it, whatever
// the host said (RFC 4954 §6).
func loginFailed(err error) error {
	refusal, refused := smtp.RefusalOf(err)
	var e *mail.Error
	switch {
	case !errors.As(err, &e):
	case mail.Is(err, mail.AuthFailed) && refused:
		return &mail.Error{Op: "mta.login", Kind: mail.AuthFailed, Code: mail.Enhanced{4, 7, 8}, Text: "our login was refused: " + refusal.String()}
	case mail.Is(err, mail.AuthFailed): // SCRAM
		return &mail.Error{Op: "mta.login", Kind: mail.AuthFailed, Code: mail.Enhanced{4, 7, 8}, Text: "our login failed: " + e.Text, Err: err}
	case mail.Is(err, mail.Unsupported):
		return &mail.Error{Op: "mta.login", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 0}, Text: "no login is possible: the server offers no mechanism that we have a secret for"}
	}
	return err
}
