package sasl

import (
	"crypto/tls"
	"slices"
	"strings"

	"postel/internal/mail"
)

// ClientExchange plays the client's side of one attempt to log in.
type ClientExchange interface {
	// Initial gives the initial response; nil when the mechanism has none. Where the protocol cannot send it with
	// the command, it is the answer to the server's first, empty challenge.
	Initial() []byte
	// Next gives the response to a decoded challenge. After an error the exchange is to be cancelled with "*".
	Next(challenge []byte) ([]byte, error)
	// Finish is asked once the server says that the login worked: an error when it has not proved to know the
	// password though the mechanism wants it (SCRAM).
	Finish() error
}

// Credentials are what a client logs in with, and what it knows of the server.
type Credentials struct {
	User, Password string
	Token          string               // a bearer token, in place of a password
	Offered        []string             // the mechanisms that the server lists
	TLS            *tls.ConnectionState // nil in clear
}

// link gives the connection as the client sees it.
func (c Credentials) link() Link {
	l := Link{TLS: c.TLS}
	if c.TLS != nil && len(c.TLS.PeerCertificates) > 0 {
		l.Certificate = c.TLS.PeerCertificates[0]
	}
	return l
}

func (c Credentials) offered(mech string) bool {
	return slices.ContainsFunc(c.Offered, func(o string) bool { return strings.EqualFold(o, mech) })
}

// Choose gives the best of the mechanisms offered that we speak, "" when there is none. A shared secret comes last
// under TLS, where a password does no harm, and before the password in clear.
func (c Credentials) Choose() string {
	order := []string{ScramSHA256, ScramSHA1, Plain, Login, CramMD5}
	switch {
	case c.Token != "":
		order = []string{OAuthBearer, XOAuth2}
	case c.TLS == nil:
		order = []string{ScramSHA256, ScramSHA1, CramMD5, Plain, Login}
	case c.link().binds():
		order = append([]string{ScramSHA256 + plus, ScramSHA1 + plus}, order...)
	}
	for _, ours := range order {
		if c.offered(ours) {
			return ours
		}
	}
	return ""
}

// Client begins an exchange. Kind Unsupported for a mechanism that we do not speak, or cannot on this connection,
// Invalid for a user or a password that cannot be sent.
func Client(mech string, c Credentials) (ClientExchange, error) {
	user, err := Prepare(c.User)
	if err != nil {
		return nil, err
	}
	pass, err := Prepare(c.Password)
	if err != nil {
		return nil, err
	}
	mech = strings.ToUpper(mech)
	switch mech {
	case OAuthBearer, XOAuth2:
		return newBearerClient(mech, user, c.Token)
	case Plain:
		return plainClient{user, pass}, nil
	case Login:
		return &loginClient{words: []string{user, pass}}, nil
	case CramMD5:
		return &cramClient{user: user, pass: pass}, nil
	}
	h, bound := scramHash(mech)
	if h == 0 || bound && !c.link().binds() {
		return nil, mail.E("sasl.client", mail.Unsupported, "we do not speak the mechanism %s here", mech)
	}
	x := &scramClient{hash: h, user: user, pass: pass, nonce: randomNonce()}
	x.header, x.binding = c.gs2(bound)
	return x, nil
}

// gs2 gives the header that says what is bound, and the data of that (RFC 5802 §6): y is for a client that could, but
// heard no offer, so that a server which made one learns that somebody took it out.
func (c Credentials) gs2(bound bool) (header string, data []byte) {
	l := c.link()
	if bound {
		for _, kind := range [...]string{tlsExporter, tlsUnique, tlsServerEndPoint} {
			if data = l.binding(kind); data != nil {
				return "p=" + kind + ",,", data
			}
		}
	}
	if l.binds() && c.Offered != nil && !c.offered(ScramSHA256+plus) && !c.offered(ScramSHA1+plus) {
		return "y,,", nil
	}
	return "n,,", nil
}

type plainClient struct{ user, pass string }

func (c plainClient) Initial() []byte { return []byte("\x00" + c.user + "\x00" + c.pass) }

func (c plainClient) Next([]byte) ([]byte, error) { return nil, malformed("PLAIN has one response") }
func (c plainClient) Finish() error               { return nil }

type loginClient struct{ words []string }

func (c *loginClient) Initial() []byte { return nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	if len(c.words) == 0 {
		return nil, malformed("LOGIN has two responses")
	}
	w := c.words[0]
	c.words = c.words[1:]
	return []byte(w), nil
}

func (c *loginClient) Finish() error { return nil }
