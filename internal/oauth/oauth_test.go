package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"postel/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer signs tokens and publishes its keys.
type issuer struct {
	*httptest.Server
	keys  atomic.Pointer[jose.JSONWebKeySet]
	reads atomic.Int32
	fails atomic.Bool
	more  atomic.Pointer[string] // octets instead of the set
	first atomic.Pointer[func()] // done before anything is answered
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.reads.Add(1)
		if f := i.first.Load(); f != nil {
			(*f)()
		}
		if i.fails.Load() {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		if s := i.more.Load(); s != nil {
			_, _ = w.Write([]byte(*s))
			return
		}
		_ = json.NewEncoder(w).Encode(i.keys.Load())
	}))
	t.Cleanup(i.Close)
	return i
}

type signingKey struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newKey(t *testing.T, id string, alg jose.SignatureAlgorithm) signingKey {
	t.Helper()
	var key crypto.Signer
	var err error
	if strings.HasPrefix(string(alg), "ES") {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signingKey{id, alg, key}
}

func (i *issuer) publish(keys ...signingKey) {
	set := &jose.JSONWebKeySet{}
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.key.Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"})
	}
	i.keys.Store(set)
}

func (k signingKey) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	return sign(t, jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, claims)
}

func sign(t *testing.T, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := s.Sign(text)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var now = time.Unix(1_790_000_000, 0)

// claims gives those of a good token, with changes; nil takes one away.
func claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://id.test/realm", "aud": []string{"other", "mail"}, "sub": "u-17", "exp": now.Add(time.Minute).Unix(),
		"email": "alice@postel.test", "email_verified": true, "preferred_username": "alice",
	}
	for k, v := range change {
		if c[k] = v; v == nil {
			delete(c, k)
		}
	}
	return c
}

func TestTokens(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	rs, es := newKey(t, "one", jose.RS256), newKey(t, "two", jose.ES256)
	stranger := newKey(t, "one", jose.RS256)
	i.publish(rs, es)
	o := Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: i.URL, Clock: func() time.Time { return now }}
	shared := jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: []byte(strings.Repeat("k", 32)), KeyID: "one"}}
	for _, c := range []struct {
		name, claim, token, want string
	}{
		{"RS256", "", rs.sign(t, claims(nil)), "alice@postel.test"},
		{"ES256", "", es.sign(t, claims(nil)), "alice@postel.test"},
		{"aud alone", "", rs.sign(t, claims(map[string]any{"aud": "mail"})), "alice@postel.test"},
		{"verified as text", "", rs.sign(t, claims(map[string]any{"email_verified": "true"})), "alice@postel.test"},
		{"preferred_username", "preferred_username", rs.sign(t, claims(map[string]any{"email_verified": nil})), "alice"},
		{"sub", "sub", rs.sign(t, claims(nil)), "u-17"},
		{"not verified", "", rs.sign(t, claims(map[string]any{"email_verified": false})), ""},
		{"nothing of verified", "", rs.sign(t, claims(map[string]any{"email_verified": nil})), ""},
		{"no such claim", "upn", rs.sign(t, claims(nil)), ""},
		{"a claim that is no text", "exp", rs.sign(t, claims(nil)), ""},
		{"an empty claim", "sub", rs.sign(t, claims(map[string]any{"sub": ""})), ""},
		{"a long claim", "sub", rs.sign(t, claims(map[string]any{"sub": strings.Repeat("x", maxLogin+1)})), ""},
		{"expired", "", rs.sign(t, claims(map[string]any{"exp": now.Add(-time.Second).Unix()})), ""},
		{"no expiry", "", rs.sign(t, claims(map[string]any{"exp": nil})), ""},
		{"not before", "", rs.sign(t, claims(map[string]any{"nbf": now.Add(time.Hour).Unix()})), ""},
		{"another audience", "", rs.sign(t, claims(map[string]any{"aud": "calendar"})), ""},
		{"no audience", "", rs.sign(t, claims(map[string]any{"aud": nil})), ""},
		{"another issuer", "", rs.sign(t, claims(map[string]any{"iss": "https://id.test"})), ""},
		{"a stranger's key", "", stranger.sign(t, claims(nil)), ""},
		{"an unknown key", "", newKey(t, "three", jose.ES256).sign(t, claims(nil)), ""},
		{"a shared key", "", sign(t, shared, claims(nil)), ""},
		{"no signature", "", "eyJhbGciOiJub25lIn0." + strings.Split(rs.sign(t, claims(nil)), ".")[1] + ".", ""},
		{"another algorithm of a known key", "", signingKey{"one", jose.PS256, rs.key}.sign(t, claims(nil)), ""},
		{"changed", "", strings.Replace(rs.sign(t, claims(nil)), ".", ".e30", 1), ""},
		{"nothing", "", "", ""},
		{"two dots", "", "..", ""},
		{"long", "", strings.Repeat("x", 9000), ""},
	} {
		o := o
		o.Claim = c.claim
		got, err := New(o).Verify(t.Context(), c.token)
		if got != c.want || c.want == "" && !mail.Is(err, mail.AuthFailed) {
			t.Errorf("%s: %q %v", c.name, got, err)
		}
	}
	if got := New(o).Discovery(); got != "https://id.test/realm/.well-known/openid-configuration" {
		t.Error(got)
	}
}

// TestKeys: keys are kept, read again when one is missing, but not at the pace of those who ask.
// An issuer that hangs keeps nobody waiting whose key is known, though a stranger's token makes us ask it.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	known, unknown := newKey(t, "1", jose.ES256), newKey(t, "2", jose.ES256)
	i.publish(known)
	var clock atomic.Int64 // seconds after now
	v := New(Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: i.URL, Claim: "sub", Clock: func() time.Time {
		return now.Add(time.Duration(clock.Load()) * time.Second)
	}})
	later := map[string]any{"exp": now.Add(100 * time.Hour).Unix()}
	if _, err := v.Verify(t.Context(), known.sign(t, claims(later))); err != nil {
		t.Fatal(err)
	}
	asked, hang := make(chan struct{}), make(chan struct{})
	i.fails.Store(true)
	i.first.Store(new(func() {
		close(asked)
		<-hang
	}))
	clock.Store(int64(readAgain / time.Second))
	done := make(chan error)
	go func() {
		_, err := v.Verify(t.Context(), unknown.sign(t, claims(later)))
		done <- err
	}()
	<-asked
	impatient, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(impatient, known.sign(t, claims(later))); err != nil {
		t.Error(err)
	}
	close(hang)
	if err := <-done; !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	clock := now
	first, second := newKey(t, "1", jose.ES256), newKey(t, "2", jose.ES256)
	i.publish(first)
	v := New(Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: i.URL, Claim: "sub", Clock: func() time.Time { return clock }})
	later := map[string]any{"exp": now.Add(100 * time.Hour).Unix()}
	want := func(what string, k signingKey, kind mail.Kind, reads int32) {
		t.Helper()
		_, err := v.Verify(t.Context(), k.sign(t, claims(later)))
		if (err == nil) != (kind == 0) || err != nil && mail.KindOf(err) != kind || i.reads.Load() != reads {
			t.Errorf("%s: %v after %d reads, want %d", what, err, i.reads.Load(), reads)
		}
	}
	want("the first token", first, 0, 1)
	want("kept", first, 0, 1)
	i.publish(second)
	for range 20 {
		want("unknown, too soon", second, mail.AuthFailed, 1)
	}
	clock = clock.Add(readPause)
	want("unknown", second, 0, 2)
	clock = clock.Add(readPause)
	want("taken back", first, mail.AuthFailed, 3)
	i.fails.Store(true)
	clock = clock.Add(readAgain)
	want("not to be read", second, 0, 4)
	want("not to be read, unknown", first, mail.Unavailable, 4)
	clock = clock.Add(goodFor)
	want("not to be read for long", second, mail.Unavailable, 5)
	i.fails.Store(false)
	clock = clock.Add(readPause)
	want("to be read again", second, 0, 6)
}

// TestHostileKeys: what an issuer may publish.
func TestHostileKeys(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	k := newKey(t, "", jose.ES256)
	public, err := json.Marshal(jose.JSONWebKey{Key: k.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	private, err := json.Marshal(jose.JSONWebKey{Key: k.key})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"as it should be":     {`{"keys":[` + string(public) + `]}`, true},
		"beside unknown ones": {`{"keys":[{"kty":"new"},{},` + string(public) + `]}`, true},
		"private keys":        {`{"keys":[` + string(private) + `]}`, false},
		"for encryption":      {`{"keys":[` + strings.Replace(string(public), "{", `{"use":"enc",`, 1) + `]}`, false},
		"a shared key":        {`{"keys":[{"kty":"oct","k":"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}]}`, false},
		"none":                {`{"keys":[]}`, false},
		"no JSON":             {`<html>`, false},
		"too many":            {`{"keys":[` + strings.Repeat(string(public)+",", maxKeys) + string(public) + `]}`, false},
		"too large":           {`{"keys":[` + string(public) + `]` + strings.Repeat(" ", readLimit) + `}`, false},
		"deep":                {`{"keys":` + strings.Repeat("[", 100_000), false},
	} {
		i.more.Store(&c.text)
		v := New(Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: i.URL, Clock: func() time.Time { return now }})
		if _, err := v.Verify(t.Context(), k.sign(t, claims(nil))); (err == nil) != c.ok || err != nil && !mail.Is(err, mail.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		v = New(Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: file, Clock: func() time.Time { return now }})
		if _, err := v.Verify(t.Context(), k.sign(t, claims(nil))); (err == nil) != c.ok || err != nil && !mail.Is(err, mail.Unavailable) {
			t.Errorf("%s from a file: %v", name, err)
		}
	}
}

// TestWaiters: who waits for the keys may give up; the read goes on for the others.
func TestWaiters(t *testing.T) {
	t.Parallel()
	v := New(Options{Issuer: "https://id.test/realm", Audience: "mail", JWKS: "/nowhere", Clock: func() time.Time { return now }})
	v.keys.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(ctx, newKey(t, "1", jose.ES256).sign(t, claims(nil))); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}
