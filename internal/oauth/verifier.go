package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"postel/internal/mail"
)

// Options of a Verifier. Issuer, Audience and JWKS are needed.
type Options struct {
	Issuer   string // iss, as it stands in the tokens
	Audience string // one of aud
	JWKS     string // a URL or the path of a file
	Claim    string // that names the account; "" is "email"
	Clock    func() time.Time
	Client   *http.Client // nil: its own
}

// Verifier verifies tokens. Safe for concurrent use.
type Verifier struct {
	o    Options
	keys *keySet
}

// maxLogin is the length of the longest login that is taken from a token.
const maxLogin = 320

// New makes a Verifier; it reads nothing yet.
func New(o Options) *Verifier {
	if o.Claim == "" {
		o.Claim = "email"
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	return &Verifier{o: o, keys: &keySet{where: o.JWKS, client: o.Client, clock: o.Clock, turn: make(chan struct{}, 1)}}
}

// algorithms are those of signatures that everyone can verify and only the issuer can make.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
}

// Discovery says where a client learns how to get a token (OpenID Connect Discovery §4).
func (v *Verifier) Discovery() string {
	return strings.TrimSuffix(v.o.Issuer, "/") + "/.well-known/openid-configuration"
}

// Verify gives the login that a token is for. Kinds: AuthFailed, Unavailable while the keys cannot be read.
func (v *Verifier) Verify(ctx context.Context, token string) (string, error) {
	signing := &signature{keys: v.keys}
	c := &oidc.Config{ClientID: v.o.Audience, Now: v.o.Clock}
	for _, a := range algorithms() {
		c.SupportedSigningAlgs = append(c.SupportedSigningAlgs, string(a))
	}
	t, err := oidc.NewVerifier(v.o.Issuer, signing, c).Verify(ctx, token)
	if signing.unavailable != nil {
		return "", signing.unavailable
	}
	if err != nil {
		return "", refused(err)
	}
	return v.login(t)
}

// login reads the claim that names the account.
func (v *Verifier) login(t *oidc.IDToken) (string, error) {
	var claims map[string]json.RawMessage
	if err := t.Claims(&claims); err != nil {
		return "", refused(err)
	}
	var login string
	if err := json.Unmarshal(claims[v.o.Claim], &login); err != nil {
		return "", refused(err)
	}
	if v.o.Claim == "email" && !isTrue(claims["email_verified"]) {
		return "", refused(mail.E("oauth.claim", mail.Denied, "the issuer has not verified the address"))
	}
	if login == "" || len(login) > maxLogin {
		return "", refused(mail.E("oauth.claim", mail.Invalid, "the claim %s names nobody", v.o.Claim))
	}
	return login, nil
}

// isTrue also takes the text "true", as some issuers write it.
func isTrue(v json.RawMessage) bool { return string(v) == "true" || string(v) == `"true"` }

func refused(err error) error {
	return &mail.Error{Op: "oauth.verify", Kind: mail.AuthFailed, Code: mail.Enhanced{5, 7, 8}, Text: "the token is not good", Err: err}
}

// signature verifies one token's for go-oidc, and keeps the error that says more than that it is wrong.
type signature struct {
	keys        *keySet
	unavailable error
}

// VerifySignature gives what was signed.
func (s *signature) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	jws, err := jose.ParseSigned(token, algorithms())
	if err != nil {
		return nil, err
	}
	if len(jws.Signatures) != 1 {
		return nil, mail.E("oauth.signature", mail.Invalid, "one signature, not %d", len(jws.Signatures))
	}
	header := jws.Signatures[0].Header
	keys, err := s.keys.named(ctx, header.KeyID)
	if err != nil {
		if !mail.Is(err, mail.AuthFailed) {
			s.unavailable = err
		}
		return nil, err
	}
	for _, k := range keys {
		if k.Algorithm != "" && k.Algorithm != header.Algorithm {
			continue
		}
		if payload, err := jws.Verify(k.Key); err == nil {
			return payload, nil
		}
	}
	return nil, mail.E("oauth.signature", mail.AuthFailed, "no key of the issuer's made the signature")
}
