package sasl

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"postel/internal/mail"
)

// Limits in octets.
const (
	MaxLine     = 12_288 // a line of base64 (RFC 4954 §4, RFC 5034 §4)
	MaxName     = 320    // a login or an authorization identity
	MaxPassword = 1024
)

// Names of mechanisms; those of SCRAM also exist with -PLUS.
const (
	Plain       = "PLAIN"
	Login       = "LOGIN"
	ScramSHA1   = "SCRAM-SHA-1"
	ScramSHA256 = "SCRAM-SHA-256"
	CramMD5     = "CRAM-MD5"
	OAuthBearer = "OAUTHBEARER"
	XOAuth2     = "XOAUTH2"
	External    = "EXTERNAL"
)

// Server plays the server's side. Auth is needed. Safe for concurrent use.
type Server struct {
	Auth  Authenticator
	Nonce func() string // printable, no comma; nil: 24 random octets in base64
	Host  string        // ours, in challenges of CRAM-MD5
	// Shared is what the shared secrets of CRAM-MD5 must be for; 0 does not offer it. SharedAlways offers it even
	// while not every account has such a secret.
	Shared       Use
	SharedAlways bool
	Tokens       Tokens         // for OAUTHBEARER and XOAUTH2; nil does not offer them
	Clients      *x509.CertPool // who vouches for clients' certificates, for EXTERNAL; nil does not offer it
}

// Mechanisms gives the names to offer, the strongest first; none where passwords may not be sent.
func (s *Server) Mechanisms(ctx context.Context, l Link) []string {
	if !l.Secure {
		return nil
	}
	sha256, sha1 := s.Auth.Every(ctx, ScramSHA256, s.Shared), s.Auth.Every(ctx, ScramSHA1, s.Shared)
	var out []string
	add := func(offered bool, names ...string) {
		if offered {
			out = append(out, names...)
		}
	}
	add(sha256 && l.binds(), ScramSHA256+plus)
	add(sha1 && l.binds(), ScramSHA1+plus)
	add(sha256, ScramSHA256)
	add(sha1, ScramSHA1)
	add(true, Plain, Login)
	add(s.OffersShared(ctx), CramMD5)
	add(s.Tokens != nil, OAuthBearer, XOAuth2)
	add(s.names(l) != nil, External)
	return out
}

// OffersShared tells whether shared secrets are of use: for CRAM-MD5 and APOP.
func (s *Server) OffersShared(ctx context.Context) bool {
	return s.Shared != 0 && (s.SharedAlways || s.Auth.Every(ctx, CramMD5, s.Shared))
}

// Exchange is one attempt to log in. Not safe for concurrent use.
type Exchange interface {
	// Next takes the client's decoded response, nil where AUTH carried no initial one. It gives the next
	// challenge (empty, not nil, when there is nothing to say), or done with the identity and nothing to send.
	// Errors: Invalid (malformed), AuthFailed, Unavailable, TooMany; the exchange is then over.
	Next(ctx context.Context, response []byte) (challenge []byte, done bool, id Identity, err error)
}

// Start begins an exchange; the name is taken in any case. Kind Unsupported for what is not offered.
func (s *Server) Start(ctx context.Context, l Link, mech string) (Exchange, error) {
	mech = strings.ToUpper(mech)
	if !slices.Contains(s.Mechanisms(ctx, l), mech) {
		return nil, mail.E("sasl.start", mail.Unsupported, "unrecognized authentication mechanism")
	}
	switch mech {
	case Plain:
		return &plainServer{auth: s.Auth}, nil
	case Login:
		return &loginServer{auth: s.Auth}, nil
	case CramMD5:
		return &cramServer{auth: s.Auth, use: s.Shared, host: s.Host, newNonce: s.Nonce}, nil
	case OAuthBearer, XOAuth2:
		return &bearerServer{auth: s.Auth, tokens: s.Tokens, old: mech == XOAuth2}, nil
	case External:
		return &externalServer{auth: s.Auth, names: s.names(l)}, nil
	}
	h, bound := scramHash(mech)
	return &scramServer{auth: s.Auth, newNonce: s.Nonce, hash: h, link: l, bound: bound}, nil
}

// authorize checks that an authorization identity, where there is one, names the account that logs in: nobody acts for
// another.
func authorize(ctx context.Context, auth Authenticator, id Identity, authzid string) error {
	if authzid == "" {
		return nil
	}
	as, err := auth.Vouched(ctx, authzid)
	if err != nil {
		return err
	}
	if as.Account != id.Account {
		return Failed()
	}
	return nil
}

func malformed(text string) error {
	return &mail.Error{Op: "sasl", Kind: mail.Invalid, Text: "malformed authentication exchange: " + text}
}

// Failed is the error of a wrong login; it says nothing more.
func Failed() error {
	return &mail.Error{Op: "sasl", Kind: mail.AuthFailed, Code: mail.Enhanced{5, 7, 8}, Text: "authentication failed"}
}
