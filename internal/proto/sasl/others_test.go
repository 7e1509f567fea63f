package sasl

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
)

// play lets our client log in at x.
func play(t *testing.T, cred Credentials, mech string, x Exchange) error {
	t.Helper()
	c, err := Client(mech, cred)
	if err != nil {
		return err
	}
	response := c.Initial()
	for range 6 {
		challenge, done, _, err := x.Next(t.Context(), response)
		if err != nil {
			return err
		}
		if done {
			return c.Finish()
		}
		if response, err = c.Next(challenge); err != nil {
			return err
		}
	}
	return context.DeadlineExceeded
}

// TestCRAMExample is the exchange of RFC 2195 §2.
func TestCRAMExample(t *testing.T) {
	t.Parallel()
	const challenge, response = "<1896.697170952@postoffice.reston.mci.net>", "tim b913a602c7eda7a495b4e6e7334d3890"
	x := &cramServer{auth: tim{}, use: ForPOP3, challenge: challenge}
	if _, done, id, err := x.Next(t.Context(), []byte(response)); !done || id.Account != 1 || err != nil {
		t.Errorf("%v %v", id, err)
	}
	c := &cramClient{user: "tim", pass: "tanstaaftanstaaf"}
	if got, err := c.Next([]byte(challenge)); string(got) != response || err != nil {
		t.Errorf("%q %v", got, err)
	}
	if _, err := c.Next([]byte(challenge)); err == nil {
		t.Error("a second challenge is answered")
	}
}

type tim struct{ accounts }

func (tim) Shared(_ context.Context, use Use, login string) (string, Identity, error) {
	if use != ForPOP3 || login != "tim" {
		return "random", Identity{}, nil
	}
	return "tanstaaftanstaaf", Identity{Account: 1}, nil
}

func TestCRAM(t *testing.T) {
	t.Parallel()
	s := &Server{Auth: accounts{}, Shared: ForPOP3, Host: "mx.test", Nonce: func() string { return "once" }}
	digest := string(cramDigest("tanstaaftanstaaf", "<once@mx.test>"))
	for _, c := range []struct {
		name string
		in   []string
		want mail.AccountID
		kind mail.Kind
	}{
		{"right", []string{"", "alice " + digest}, 7, 0},
		{"upper case", []string{"", "alice " + strings.ToUpper(digest)}, 7, 0},
		{"wrong", []string{"", "alice " + strings.Repeat("0", 32)}, 0, mail.AuthFailed},
		{"unknown", []string{"", "nobody " + digest}, 0, mail.AuthFailed},
		{"initial response", []string{"alice " + digest}, 0, mail.Invalid},
		{"no user", []string{"", " " + digest}, 0, mail.Invalid},
		{"short", []string{"", "alice " + digest[1:]}, 0, mail.Invalid},
		{"not hexadecimal", []string{"", "alice " + strings.Repeat("x", 32)}, 0, mail.AuthFailed},
		{"a long name", []string{"", strings.Repeat("x", MaxName+1) + " " + digest}, 0, mail.Invalid},
		{"nothing", []string{"", ""}, 0, mail.Invalid},
	} {
		_, id, err := talk(t, s, CramMD5, c.in...)
		if c.want == 0 && mail.KindOf(err) != c.kind || c.want != 0 && err != nil || id.Account != c.want {
			t.Errorf("%s: %v %v", c.name, id, err)
		}
	}
	challenges, _, _ := talk(t, &Server{Auth: accounts{}, Shared: ForPOP3, Host: "mx.test"}, CramMD5, "", "x")
	again, _, _ := talk(t, &Server{Auth: accounts{}, Shared: ForPOP3, Host: "mx.test"}, CramMD5, "", "x")
	if challenges[0] == again[0] || !strings.HasSuffix(challenges[0], "@mx.test>") {
		t.Errorf("%q, then %q", challenges, again)
	}
	any := &Server{Auth: Anyone{Account: 3}, Shared: ForSubmission}
	if _, id, err := talk(t, any, CramMD5, "", "who "+strings.Repeat("0", 32)); err != nil || !id.Anyone || id.Login != "who" {
		t.Errorf("%v %v", id, err)
	}
}

func TestUses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, out string
		use     Use
	}{
		{"odmr", "odmr", ForODMR},
		{"pop3, odmr", "odmr,pop3", ForODMR | ForPOP3},
		{"submission,imap,pop3,odmr", "odmr,pop3,imap,submission", AllUses},
	} {
		if got, err := ParseUse(c.in); err != nil || got != c.use || got.String() != c.out {
			t.Errorf("%s: %s %v", c.in, got, err)
		}
	}
	for _, bad := range []string{"", "smtp", "odmr,", "odmr;pop3"} {
		if got, err := ParseUse(bad); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q: %s %v", bad, got, err)
		}
	}
}

// tokens knows one good token.
type tokens struct{}

func (tokens) Verify(_ context.Context, token string) (string, error) {
	switch token {
	case "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "pencil":
		return "alice", nil
	case "stranger":
		return "nobody", nil
	case "down":
		return "", mail.E("test", mail.Unavailable, "no keys")
	}
	return "", Failed()
}

func (tokens) Discovery() string { return "https://id.test/.well-known/openid-configuration" }

// TestBearer has the messages of RFC 7628 §4 and of XOAUTH2.
func TestBearer(t *testing.T) {
	t.Parallel()
	const (
		good    = "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
		refusal = `{"status":"invalid_token","openid-configuration":"https://id.test/.well-known/openid-configuration"}`
		old     = `{"status":"401","schemes":"bearer"}`
	)
	s := &Server{Auth: accounts{}, Tokens: tokens{}}
	for _, c := range []struct {
		mech      string
		in        []string
		challenge string
		kind      mail.Kind // 0: alice is in
	}{
		{OAuthBearer, []string{"n,a=alice,\x01host=server.example.com\x01port=143\x01" + good}, "", 0},
		{OAuthBearer, []string{"", "n,,\x01" + good}, "", 0},
		{OAuthBearer, []string{"y,a=alice@postel.test,\x01auth=bearer pencil\x01\x01"}, "", 0},
		{OAuthBearer, []string{"n,a=bob,\x01" + good, "\x01"}, refusal, mail.AuthFailed},
		{OAuthBearer, []string{"n,,\x01auth=Bearer wrong\x01\x01", "\x01"}, refusal, mail.AuthFailed},
		{OAuthBearer, []string{"n,,\x01auth=Bearer wrong\x01\x01", "n,,\x01" + good}, refusal, mail.AuthFailed},
		{OAuthBearer, []string{"n,,\x01auth=Bearer stranger\x01\x01", ""}, refusal, mail.AuthFailed},
		{OAuthBearer, []string{"n,,\x01auth=Bearer down\x01\x01"}, "", mail.Unavailable},
		{OAuthBearer, []string{"n,,\x01auth=Basic pencil\x01\x01"}, "", mail.Invalid},
		{OAuthBearer, []string{"n,,\x01auth=Bearer pencil\x01auth=Bearer pencil\x01\x01"}, "", mail.Invalid},
		{OAuthBearer, []string{"n,,\x01auth=Bearer \x01\x01"}, "", mail.Invalid},
		{OAuthBearer, []string{"n,,\x01\x01"}, "", mail.Invalid}, // asks for discovery, which is no login
		{OAuthBearer, []string{"p=tls-exporter,,\x01" + good}, "", mail.Invalid},
		{OAuthBearer, []string{"n,b=alice,\x01" + good}, "", mail.Invalid},
		{OAuthBearer, []string{"n\x01" + good}, "", mail.Invalid},
		{OAuthBearer, []string{"user=alice\x01" + good}, "", mail.Invalid},
		{OAuthBearer, []string{"n,,\x01=x\x01" + good}, "", mail.Invalid},
		{OAuthBearer, []string{"n,,\x01auth=Bearer pencil\x01"}, "", mail.Invalid},
		{XOAuth2, []string{"user=alice\x01" + good}, "", 0},
		{XOAuth2, []string{"", "user=alice@postel.test\x01" + good}, "", 0},
		{XOAuth2, []string{"user=bob\x01" + good, ""}, old, mail.AuthFailed},
		{XOAuth2, []string{"user=alice\x01auth=Bearer wrong\x01\x01", ""}, old, mail.AuthFailed},
		{XOAuth2, []string{"user=\x01" + good}, "", mail.Invalid},
		{XOAuth2, []string{"n,,\x01" + good}, "", mail.Invalid},
	} {
		challenges, id, err := talk(t, s, c.mech, c.in...)
		var last string
		if n := len(challenges); n > 0 {
			last = challenges[n-1]
		}
		if c.kind == 0 && (err != nil || id.Account != 7) || c.kind != 0 && mail.KindOf(err) != c.kind || last != c.challenge {
			t.Errorf("%s %q: %q %v %v", c.mech, c.in, last, id, err)
		}
	}
}

// TestBearerClient: our client says what RFC 7628 §4.1 and XOAUTH2 have, and hears a refusal to its end (§3.2.3).
func TestBearerClient(t *testing.T) {
	t.Parallel()
	const token = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
	s := &Server{Auth: accounts{}, Tokens: tokens{}}
	for mech, want := range map[string]string{
		OAuthBearer: "n,a=alice,\x01auth=Bearer " + token + "\x01\x01",
		XOAuth2:     "user=alice\x01auth=Bearer " + token + "\x01\x01",
	} {
		for _, c := range []struct {
			token string
			kind  mail.Kind // 0: in
		}{{token, 0}, {"wrong", mail.AuthFailed}, {"two words", mail.Invalid}, {"a\x01b", mail.Invalid}, {"", mail.Invalid}, {strings.Repeat("x", 9000), mail.Invalid}} {
			x, err := s.Start(t.Context(), Link{Secure: true}, mech)
			if err != nil {
				t.Fatal(err)
			}
			err = play(t, Credentials{User: "alice", Token: c.token}, mech, x)
			if c.kind == 0 && err != nil || c.kind != 0 && !mail.Is(err, c.kind) {
				t.Errorf("%s %.20q: %v", mech, c.token, err)
			}
		}
		x, err := Client(mech, Credentials{User: "alice", Token: token})
		if err != nil || string(x.Initial()) != want {
			t.Errorf("%s: %q %v", mech, x.Initial(), err)
		}
	}
	all := strings.Fields("PLAIN SCRAM-SHA-256 XOAUTH2 OAUTHBEARER")
	if got := (Credentials{Token: token, Offered: all}).Choose(); got != OAuthBearer {
		t.Error(got)
	}
	if got := (Credentials{Token: token, Offered: all[:2]}).Choose(); got != "" {
		t.Errorf("a token goes by %s", got)
	}
}

// authority signs clients' certificates.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := authority{key: key}
	a.cert = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a authority) sign(t *testing.T, tmpl *x509.Certificate) *x509.Certificate {
	t.Helper()
	tmpl.SerialNumber = big.NewInt(1)
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = time.Now().Add(time.Hour)
	}
	parent := a.cert
	if parent == nil {
		parent = tmpl
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestExternal: the certificate names the account, the client at most one of those it names (RFC 4422 appendix A).
func TestExternal(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	s := &Server{Auth: accounts{}, Clients: pool}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	subject := func(mail string) pkix.Name {
		return pkix.Name{CommonName: "alice", ExtraNames: []pkix.AttributeTypeAndValue{{Type: emailAddress, Value: mail}}}
	}
	san := func(names ...string) *x509.Certificate {
		return &x509.Certificate{ExtKeyUsage: client, EmailAddresses: names}
	}
	for _, c := range []struct {
		name    string
		by      authority
		cert    *x509.Certificate
		authzid []string
		offered bool
		want    mail.AccountID // 0: refused
	}{
		{"SAN", ours, san("alice@postel.test"), []string{""}, true, 7},
		{"SAN, asked", ours, san("alice@postel.test"), []string{"", "\x00empty"}, true, 7},
		{"as oneself", ours, san("alice@postel.test"), []string{"alice"}, true, 7},
		{"as another", ours, san("alice@postel.test"), []string{"bob"}, true, 0},
		{"as nobody", ours, san("alice@postel.test"), []string{"carol"}, true, 0},
		{"two names", ours, san("alice@postel.test", "bob"), []string{"bob"}, true, 8},
		{"the first that is one", ours, san("nobody@x.test", "bob"), []string{""}, true, 8},
		{"a stranger", ours, san("nobody@x.test"), []string{""}, true, 0},
		{"subject", ours, &x509.Certificate{ExtKeyUsage: client, Subject: subject("alice@postel.test")}, []string{""}, true, 7},
		{"subject beside SAN", ours, &x509.Certificate{ExtKeyUsage: client, Subject: subject("alice@postel.test"), EmailAddresses: []string{"bob"}}, []string{""}, true, 8},
		{"common name only", ours, &x509.Certificate{ExtKeyUsage: client, Subject: pkix.Name{CommonName: "alice@postel.test"}}, nil, false, 0},
		{"another authority", theirs, san("alice@postel.test"), nil, false, 0},
		{"a server's", ours, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, EmailAddresses: []string{"alice"}}, nil, false, 0},
		{"run out", ours, &x509.Certificate{ExtKeyUsage: client, EmailAddresses: []string{"alice"}, NotAfter: time.Now().Add(-time.Minute)}, nil, false, 0},
	} {
		l := Link{Secure: true, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c.by.sign(t, c.cert)}}}
		x, err := s.Start(t.Context(), l, "external")
		if (err == nil) != c.offered {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil {
			continue
		}
		var id Identity
		for i, r := range c.authzid {
			in := []byte(strings.TrimPrefix(r, "\x00empty"))
			if len(c.authzid) > 1 && i == 0 {
				in = nil
			}
			_, _, id, err = x.Next(t.Context(), in)
		}
		if id.Account != c.want || c.want == 0 && !mail.Is(err, mail.AuthFailed) {
			t.Errorf("%s: %v %v", c.name, id, err)
		}
	}
	for _, l := range []Link{{Secure: true}, {Secure: true, TLS: &tls.ConnectionState{}}} {
		if _, err := s.Start(t.Context(), l, External); !mail.Is(err, mail.Unsupported) {
			t.Errorf("without a certificate: %v", err)
		}
	}
}
