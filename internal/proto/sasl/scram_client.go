package sasl

import (
	"crypto"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/subtle"
	"encoding/base64"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// maxClientIterations bounds the work that a server may ask for.
const maxClientIterations = 1 << 20

type scramClient struct {
	hash              crypto.Hash
	header            string // of GS2
	binding           []byte
	user, pass, nonce string
	step              int
	want              []byte // the server's signature
	proved            bool
}

func (c *scramClient) bare() string { return "n=" + encodeName(c.user) + ",r=" + c.nonce }

func (c *scramClient) Initial() []byte { return []byte(c.header + c.bare()) }

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return c.final(string(challenge))
	case 2:
		v, ok := attribute(string(challenge), 'v')
		v, _, _ = strings.Cut(v, ",")
		got, err := base64.StdEncoding.DecodeString(v)
		if !ok || err != nil || !hmac.Equal(got, c.want) {
			return nil, mail.E("sasl.client", mail.AuthFailed, "the server does not know the password")
		}
		c.proved = true
		return []byte{}, nil
	}
	return nil, malformed("SCRAM is over")
}

// final answers server-first-message with client-final-message.
func (c *scramClient) final(first string) ([]byte, error) {
	f := strings.SplitN(first, ",", 4)
	if len(f) < 3 || len(first) > MaxLine {
		return nil, malformed("server-first-message")
	}
	nonce, ok := attribute(f[0], 'r')
	salt64, ok2 := attribute(f[1], 's')
	salt, err := base64.StdEncoding.DecodeString(salt64)
	iter, ok3 := attribute(f[2], 'i')
	n, err2 := strconv.Atoi(iter)
	if !ok || !ok2 || !ok3 || err != nil || err2 != nil || !isNonce(nonce) || len(salt) == 0 ||
		!strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return nil, malformed("server-first-message")
	}
	if n < 4096 || n > maxClientIterations {
		return nil, mail.E("sasl.client", mail.Invalid, "the server asks for %d iterations", n)
	}
	salted, err := pbkdf2.Key(hasher(c.hash), c.pass, salt, n, c.hash.Size())
	if err != nil {
		return nil, mail.Wrap("sasl.client", err)
	}
	bound := append([]byte(c.header), c.binding...)
	without := "c=" + base64.StdEncoding.EncodeToString(bound) + ",r=" + nonce
	authMessage := c.bare() + "," + first + "," + without
	clientKey := mac(c.hash, salted, "Client Key")
	proof := make([]byte, c.hash.Size())
	subtle.XORBytes(proof, clientKey, mac(c.hash, digest(c.hash, clientKey), authMessage))
	c.want = mac(c.hash, mac(c.hash, salted, "Server Key"), authMessage)
	return []byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func (c *scramClient) Finish() error {
	if !c.proved {
		return mail.E("sasl.client", mail.AuthFailed, "the server did not prove that it knows the password")
	}
	return nil
}
