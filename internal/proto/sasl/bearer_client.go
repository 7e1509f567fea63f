package sasl

import (
	"strings"

	"postel/internal/mail"
)

// bearerClient sends a token by OAUTHBEARER (RFC 7628 §3.1) or XOAUTH2.
type bearerClient struct {
	message, answer string // answer is what a refusal's challenge is answered with, before it is told
	over            bool
}

// maxToken bounds a token, so that its message fits into a line of base64 (MaxLine).
const maxToken = 8192

// newBearerClient makes the client of a mechanism for tokens. Kind Invalid for a user or token that cannot be sent.
func newBearerClient(mech, user, token string) (ClientExchange, error) {
	other := func(r rune) bool { return r <= ' ' || r >= 0x7f }
	if token == "" || len(token) > maxToken || strings.ContainsFunc(token, other) || strings.Contains(user, "\x01") {
		return nil, mail.E("sasl.client", mail.Invalid, "the token cannot be sent")
	}
	auth := "\x01auth=Bearer " + token + "\x01\x01"
	if mech == XOAuth2 {
		return &bearerClient{message: "user=" + user + auth}, nil
	}
	return &bearerClient{message: "n,a=" + encodeName(user) + "," + auth, answer: "\x01"}, nil
}

func (c *bearerClient) Initial() []byte { return []byte(c.message) }

// Next answers the one challenge there is: why the token is refused (RFC 7628 §3.2.3).
func (c *bearerClient) Next([]byte) ([]byte, error) {
	if c.over {
		return nil, malformed("a token is refused once")
	}
	c.over = true
	return []byte(c.answer), nil
}

func (c *bearerClient) Finish() error { return nil }
