package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // CRAM-MD5 is what it is; HMAC needs no resistance to collisions
	"encoding/hex"
)

// cramServer is CRAM-MD5 (RFC 2195 §2): a challenge that never comes twice, answered by login SP digest.
type cramServer struct {
	auth      Authenticator
	use       Use
	host      string
	newNonce  func() string
	challenge string // "" before it was sent
	over      bool
}

func (c *cramServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	switch {
	case c.over:
		return nil, false, Identity{}, malformed("it is over")
	case c.challenge == "" && response != nil:
		c.over = true
		return nil, false, Identity{}, malformed("CRAM-MD5 has no initial response")
	case c.challenge == "":
		nonce := randomNonce
		if c.newNonce != nil {
			nonce = c.newNonce
		}
		c.challenge = "<" + nonce() + "@" + c.host + ">" // with the shape of a Message-ID
		return []byte(c.challenge), false, Identity{}, nil
	}
	c.over = true
	at := bytes.LastIndexByte(response, ' ')
	if at < 1 || at > MaxName || len(response)-at-1 != hex.EncodedLen(md5.Size) {
		return nil, false, Identity{}, malformed("CRAM-MD5 is answered by a user name, a space and 32 hexadecimal digits")
	}
	secret, id, err := c.auth.Shared(ctx, c.use, string(response[:at]))
	if err != nil {
		return nil, false, Identity{}, err
	}
	right := hmac.Equal(cramDigest(secret, c.challenge), bytes.ToLower(response[at+1:]))
	if id.Account == 0 || !right && !id.Anyone {
		return nil, false, Identity{}, Failed()
	}
	return nil, true, id, nil
}

// cramDigest gives the keyed digest of a challenge in hexadecimal.
func cramDigest(secret, challenge string) []byte {
	h := hmac.New(md5.New, []byte(secret))
	h.Write([]byte(challenge))
	return hex.AppendEncode(nil, h.Sum(nil))
}

// cramClient answers the one challenge.
type cramClient struct {
	user, pass string
	over       bool
}

func (c *cramClient) Initial() []byte { return nil }

func (c *cramClient) Next(challenge []byte) ([]byte, error) {
	if c.over || len(challenge) == 0 {
		return nil, malformed("CRAM-MD5 has one challenge")
	}
	c.over = true
	return append([]byte(c.user+" "), cramDigest(c.pass, string(challenge))...), nil
}

func (c *cramClient) Finish() error { return nil }
