package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"postel/test/harness"
)

// entrance is a protocol as curl knows it.
func entrances(s *harness.Server) map[string]string {
	out := map[string]string{}
	for scheme, name := range map[string]string{"smtp": "submission", "imap": "imap", "pop3": "pop3"} {
		out[name] = fmt.Sprintf("%s://localhost:%d/", scheme, s.Ports[name])
	}
	return out
}

// curl logs in and does next to nothing; it gives the exit code, 67 for a refused login.
func curl(t *testing.T, s *harness.Server, url string, args ...string) (string, int) {
	t.Helper()
	args = append([]string{"-sSv", "--ssl-reqd", "--cacert", filepath.Join(filepath.Dir(s.Config), "cert.pem")}, args...)
	if strings.HasPrefix(url, "smtp:") {
		mail := filepath.Join(t.TempDir(), "m")
		if err := os.WriteFile(mail, []byte("From: "+ann+"\r\n\r\nx\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--mail-from", ann, "--mail-rcpt", ann, "-T", mail)
	}
	return harness.Run(t, "", "curl", append(args, url)...)
}

// issuer issues tokens: lines of a configuration that trusts it, and what signs them.
func issuer(t *testing.T) (url string, token func(email string, verified bool, ends time.Duration) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	}))
	t.Cleanup(keys.Close)
	return keys.URL, func(email string, verified bool, ends time.Duration) string {
		t.Helper()
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(map[string]any{
			"iss": keys.URL, "aud": "mail", "exp": time.Now().Add(ends).Unix(), "email": email, "email_verified": verified,
		})
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign(text)
		if err != nil {
			t.Fatal(err)
		}
		compact, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return compact
	}
}

// trusting is the part of a configuration that trusts an issuer.
func trusting(url string) string {
	return fmt.Sprintf("oauth.issuer = %q\noauth.jwks = %q\noauth.audience = \"mail\"\n", url, url+"/jwks")
}

// TestTokens: curl logs in by the tokens of an issuer, at each protocol by both mechanisms.
func TestTokens(t *testing.T) {
	t.Parallel()
	harness.Need(t, "curl")
	url, token := issuer(t)
	s := open(t, trusting(url))
	good := token(ann, true, time.Hour)
	for name, at := range entrances(s) {
		for _, mech := range []string{"OAUTHBEARER", "XOAUTH2"} {
			login := []string{"--login-options", "AUTH=" + mech, "-u", ann + ":", "--oauth2-bearer"}
			if out, code := curl(t, s, at, append(login, good)...); code != 0 {
				t.Errorf("%s %s: exit %d\n%s", name, mech, code, out)
			}
			for what, bad := range map[string]string{
				"another's": token(ben, true, time.Hour), "expired": token(ann, true, -time.Hour),
				"not verified": token(ann, false, time.Hour), "nobody's": token("eve@example.test", true, time.Hour),
			} {
				if out, code := curl(t, s, at, append(login, bad)...); code != 67 {
					t.Errorf("%s %s, a token that is %s: exit %d\n%s", name, mech, what, code, out)
				}
			}
		}
	}
	// The refusal tells a program where to get a token (RFC 7628 §3.2.2); it answers ^A.
	c := harness.SMTP(t, s.Addr("submission"))
	c.Want("220", "STARTTLS")
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Want("250", "EHLO x.test")
	said := c.Want("334 ", "AUTH OAUTHBEARER %s", base64.StdEncoding.EncodeToString([]byte("n,,\x01auth=Bearer x.y.z\x01\x01")))
	why, err := base64.StdEncoding.DecodeString(said[4:])
	var refusal map[string]string
	if err != nil || json.Unmarshal(why, &refusal) != nil || refusal["status"] != "invalid_token" ||
		refusal["openid-configuration"] != url+"/.well-known/openid-configuration" {
		t.Errorf("%q %v", why, err)
	}
	c.Want("535 5.7.8", "AQ==")
}

// TestTokenCommand: a server logs in at another one by the tokens of a program, which is asked again when the first is
// refused; neither token is in a transcript or the log.
func TestTokenCommand(t *testing.T) {
	t.Parallel()
	url, token := issuer(t)
	routed := func(top string, port int, login string) *harness.Server {
		t.Helper()
		config := harness.WriteConfig(t, top+company+fmt.Sprintf("[[route]]\ndomain = \"far.test\"\nhost = \"127.0.0.1\"\nport = %d\n", port)+login)
		addAccounts(t, config)
		return harness.ServeFile(t, config)
	}
	hub := routed(trusting(url), harness.FreePort(t), "")
	stale, good := token(ann, true, -time.Hour), token(ann, true, time.Hour)
	dir := harness.Dir(t)
	script := fmt.Sprintf("#!/bin/sh\necho run >> %[1]s/runs\n[ -e %[1]s/again ] || { touch %[1]s/again; echo %[2]s; exit; }\necho '{\"access_token\":\"%[3]s\",\"expires_in\":3600}'\n", dir, stale, good)
	if err := os.WriteFile(dir+"/token", []byte(script), 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	s := routed("", hub.Ports["submission"], fmt.Sprintf("user = %q\ntoken_command = [%q]\n", ann, dir+"/token"))
	c := s.Submission(ann, password)
	for range 2 {
		if r := c.Send(ann, "x@far.test", "From: "+ann+"\r\nSubject: by a token\r\n\r\nx\r\n"); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	harness.Eventually(t, func() error {
		out, _ := hub.Postel("queue", "list", "--json")
		if n := strings.Count(out, `"x@far.test"`); n != 2 {
			return fmt.Errorf("%d messages at the other server: %s\n%s", n, out, s.Log())
		}
		return nil
	})
	if runs, err := os.ReadFile(dir + "/runs"); string(runs) != "run\nrun\n" {
		t.Errorf("the program ran: %q %v", runs, err)
	}
	list, _ := s.Postel("glass", "list", "--json")
	all := s.Log() + list
	for _, id := range regexp.MustCompile(`s-[0-9a-v]{16,}`).FindAllString(list, -1) {
		one, _ := s.Postel("glass", "show", id)
		all += one
	}
	if !strings.Contains(all, "AUTH OAUTHBEARER") {
		t.Error("no login in the transcripts", all)
	}
	for _, secret := range []string{stale, good} {
		if strings.Contains(all, secret) || strings.Contains(all, base64.StdEncoding.EncodeToString([]byte("n,a="+ann+",\x01auth=Bearer "+secret+"\x01\x01"))) {
			t.Error("a token is told")
		}
	}
}

// TestCertificates: curl logs in by a certificate of the authority that the configuration names.
func TestCertificates(t *testing.T) {
	t.Parallel()
	harness.Need(t, "curl")
	dir := harness.Dir(t)
	ours, theirs := newCA(t, dir, "ours"), newCA(t, dir, "theirs")
	s := open(t, fmt.Sprintf("tls.client_ca = %q\n", ours.file))
	anns, eves, forged := ours.client(t, ann), ours.client(t, "eve@example.test"), theirs.client(t, ann)
	for name, url := range entrances(s) {
		external := func(cert, user string) []string {
			return []string{"--cert", cert, "--key", cert, "--login-options", "AUTH=EXTERNAL", "-u", user + ":"}
		}
		if out, code := curl(t, s, url, external(anns, ann)...); code != 0 {
			t.Errorf("%s: exit %d\n%s", name, code, out)
		}
		for what, args := range map[string][]string{
			"as another": external(anns, ben), "whom nobody knows": external(eves, ann), "of another authority": external(forged, ann),
		} {
			if out, code := curl(t, s, url, args...); code == 0 || code == 35 || code == 56 {
				t.Errorf("%s, a certificate %s: exit %d\n%s", name, what, code, out)
			}
		}
		// A certificate that is of no use does no harm to who knows the password.
		for _, cert := range []string{forged, eves} {
			if out, code := curl(t, s, url, "--cert", cert, "--key", cert, "-u", ann+":"+password); code != 0 {
				t.Errorf("%s by password: exit %d\n%s", name, code, out)
			}
		}
	}
}

// ca is an authority for clients.
type ca struct {
	dir, file string
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate
}

func newCA(t *testing.T, dir, name string) ca {
	t.Helper()
	a := ca{dir: dir, file: filepath.Join(dir, name+".pem")}
	a.cert, a.key = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, a.file)
	return a
}

// client makes a certificate for an address, and gives the file with it and its key.
func (a ca) client(t *testing.T, address string) string {
	t.Helper()
	file := strings.TrimSuffix(a.file, ".pem") + "-" + address + ".pem"
	a.sign(t, &x509.Certificate{EmailAddresses: []string{address}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, file)
	return file
}

func (a ca) sign(t *testing.T, tmpl *x509.Certificate, file string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl.SerialNumber, tmpl.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(time.Hour)
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return cert, key
}
