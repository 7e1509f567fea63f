package sasl

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"postel/internal/mail"
)

// Tokens verifies bearer tokens. Safe for concurrent use.
type Tokens interface {
	// Verify gives the login that a token is for. Kinds: AuthFailed for a token that is not good, Unavailable when
	// that cannot be told now.
	Verify(ctx context.Context, token string) (login string, err error)
	// Discovery says where clients learn how to get a token (RFC 7628 §3.2.2); "" when nowhere.
	Discovery() string
}

// bearerServer is OAUTHBEARER (RFC 7628) and its older brother XOAUTH2. Both are one message:
//
//	OAUTHBEARER  n , [a=authzid] , ^A *(key=value ^A) ^A      with auth=Bearer token
//	XOAUTH2      user=login ^A auth=Bearer token ^A ^A
//
// A token that is refused is told of in a challenge, which the client answers before it hears the failure.
type bearerServer struct {
	auth   Authenticator
	tokens Tokens
	old    bool // XOAUTH2

	asked, refused, over bool
}

func (b *bearerServer) Next(ctx context.Context, response []byte) ([]byte, bool, Identity, error) {
	switch {
	case b.over:
		return nil, false, Identity{}, malformed("it is over")
	case b.refused: // whatever the client says now: RFC 7628 §3.2.3 wants ^A
		b.over = true
		return nil, false, Identity{}, Failed()
	case response == nil && !b.asked:
		b.asked = true
		return []byte{}, false, Identity{}, nil
	}
	authzid, token, ok := b.parse(response)
	if !ok || len(authzid) > MaxName {
		b.over = true
		return nil, false, Identity{}, malformed("a message of " + b.name())
	}
	id, err := b.check(ctx, authzid, token)
	if mail.Is(err, mail.AuthFailed) {
		b.refused = true
		return b.failure(), false, Identity{}, nil
	}
	b.over = true
	return nil, err == nil, id, err
}

func (b *bearerServer) name() string {
	if b.old {
		return XOAuth2
	}
	return OAuthBearer
}

func (b *bearerServer) check(ctx context.Context, authzid, token string) (Identity, error) {
	login, err := b.tokens.Verify(ctx, token)
	if err != nil {
		return Identity{}, err
	}
	id, err := b.auth.Vouched(ctx, login)
	if err == nil {
		err = authorize(ctx, b.auth, id, authzid)
	}
	return id, err
}

// failure is the challenge that says why a token is refused (RFC 7628 §3.2.2). XOAUTH2 has the status as a number.
func (b *bearerServer) failure() []byte {
	out := struct {
		Status    string `json:"status"`
		Schemes   string `json:"schemes,omitempty"`
		Discovery string `json:"openid-configuration,omitempty"`
	}{Status: "invalid_token", Discovery: b.tokens.Discovery()}
	if b.old {
		out.Status, out.Schemes, out.Discovery = "401", "bearer", ""
	}
	text, err := json.Marshal(out)
	if err != nil {
		return []byte("{}")
	}
	return text
}

// parse gives the identity that is asked for and the token.
func (b *bearerServer) parse(msg []byte) (authzid, token string, ok bool) {
	text, ok := bytes.CutSuffix(msg, []byte("\x01\x01"))
	if !ok || bytes.IndexByte(msg, 0) >= 0 {
		return "", "", false
	}
	fields := strings.Split(string(text), "\x01")
	if b.old {
		authzid, ok = strings.CutPrefix(fields[0], "user=")
		ok = ok && authzid != ""
	} else {
		authzid, ok = bearerHeader(fields[0])
	}
	if !ok {
		return "", "", false
	}
	for _, f := range fields[1:] {
		key, value, ok := strings.Cut(f, "=")
		if !ok || key == "" {
			return "", "", false
		}
		if key != "auth" { // host, port and whatever else: RFC 7628 §3.1
			continue
		}
		scheme, credentials, ok := strings.Cut(value, " ")
		if !ok || token != "" || !strings.EqualFold(scheme, "Bearer") {
			return "", "", false
		}
		token = strings.TrimSpace(credentials)
	}
	return authzid, token, token != ""
}

// bearerHeader reads the GS2 header (RFC 7628 §3.1): no channel binding, and an authorization identity or none.
func bearerHeader(s string) (authzid string, ok bool) {
	f := strings.Split(s, ",")
	if len(f) != 3 || f[0] != "n" && f[0] != "y" || f[2] != "" {
		return "", false
	}
	if f[1] == "" {
		return "", true
	}
	a, ok := attribute(f[1], 'a')
	if !ok {
		return "", false
	}
	return decodeName(a)
}
