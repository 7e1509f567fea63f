package relay

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// authority signs certificates; the program under test trusts it as the system's.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	path string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, path: harness.Dir(t) + "/ca.pem"}
	der := a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var err error
	if a.cert, err = x509.ParseCertificate(der.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	a.key = der.PrivateKey.(*ecdsa.PrivateKey)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der.Certificate[0]})
	if err := os.WriteFile(a.path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// sign makes a certificate; the first is its own authority.
func (a *authority) sign(tmpl *x509.Certificate) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(time.Now().UnixNano())
	tmpl.NotBefore, tmpl.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// host is a server's configuration with a certificate for a name.
func (a *authority) host(name string) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{a.sign(&x509.Certificate{DNSNames: []string{name}})}, MinVersion: tls.VersionTLS12}
}

// tlsa writes the record DANE-EE(3) SPKI(1) SHA2-256(1) of a server's certificate.
func tlsa(t *testing.T, c *tls.Config) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("3 1 1 %x", sha256.Sum256(leaf.RawSubjectPublicKeyInfo))
}

// policyHost serves what the domains of the world publish by MTA-STS, by host name; its certificate is for all of them.
func policyHost(t *testing.T, a *authority, bodies map[string]string) int {
	t.Helper()
	names := make([]string, 0, len(bodies))
	for n := range bodies {
		names = append(names, n)
	}
	ln, err := net.Listen("tcp", "127.0.0.20:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &httptest.Server{Listener: ln, Config: &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // of a test
		host, _, _ := net.SplitHostPort(r.Host)
		if host == "" {
			host = r.Host
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, bodies[host])
	})}}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{a.sign(&x509.Certificate{DNSNames: names})}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return ln.Addr().(*net.TCPAddr).Port
}

// openTLS is open with an authority that the server trusts, and a policy host.
func openTLS(t *testing.T, zone string, a *authority, policies map[string]string) *world {
	t.Helper()
	for host := range policies {
		zone += host + " A 127.0.0.20\n_" + host + " TXT \"v=STSv1; id=1\"\n"
	}
	w := &world{dns: dnstest.Start(t, zone), port: harness.FreePort(t), https: policyHost(t, a, policies)}
	w.startTLS(t, a)
	return w
}

// startTLS starts the server, which trusts the authority.
func (w *world) startTLS(t *testing.T, a *authority, more ...string) {
	t.Helper()
	args := []string{
		"--deliver", "relay", "--dns", w.dns.Addr, "--mx-port", fmt.Sprint(w.port), "--port", fmt.Sprintf("smtp=%d", w.port),
		"--https-port", fmt.Sprint(w.https), "--account", alice + ":" + password,
	}
	w.Server = harness.DevWith(t, []string{"SSL_CERT_FILE=" + a.path, "SSL_CERT_DIR=/nonexistent"}, append(args, more...)...)
}

// single is a sink that takes one message over a session (RFC 9422), so that each meets its policy anew.
type single struct{ *harness.Sink }

// offer sets what STARTTLS is offered with; nil ends that.
func (s single) offer(c *tls.Config) {
	s.SetTLS(c)
	if c != nil {
		s.Set("EHLO", "250-sink.test\n250-STARTTLS\n250-8BITMIME\n250 LIMITS MAILMAX=1")
	} else {
		s.Set("EHLO", "250-sink.test\n250-8BITMIME\n250 LIMITS MAILMAX=1")
	}
}

// waits wants the one message in the queue to wait with a reply, then takes it out.
func (w *world) waits(t *testing.T, reply string) {
	t.Helper()
	item := w.queued(t, 1, 1)[0]
	if got := first(item)["last"].(string); !strings.HasPrefix(got, reply) {
		t.Errorf("%s, want %s", got, reply)
	}
	w.ok(t, "queue", "drop", item["id"].(string))
	w.queued(t, 0, 0)
}

// TestMTASTS: with enforce a certificate that does not verify, and a host that is not named, wait; with testing all
// goes; `postel sts` tells of it.
func TestMTASTS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	policy := "version: STSv1\nmode: %s\nmx: %s\nmax_age: 86400\n"
	w := openTLS(t, `
strict.test MX 10 mx.strict.test
mx.strict.test A 127.0.0.2
other.test MX 10 mx.other.test
mx.other.test A 127.0.0.2
trying.test MX 10 mx.trying.test
mx.trying.test A 127.0.0.2
`, a, map[string]string{
		"mta-sts.strict.test": fmt.Sprintf(policy, "enforce", "*.strict.test"),
		"mta-sts.other.test":  fmt.Sprintf(policy, "enforce", "mx.elsewhere.test"),
		"mta-sts.trying.test": fmt.Sprintf(policy, "testing", "mx.trying.test"),
	})
	s := single{w.sink(t, "127.0.0.2")}

	s.offer(a.host("mx.strict.test"))
	w.submit(t, alice, "verified", "x@strict.test")
	if got := taken(t, s.Sink, 1)[0]; !got.TLS {
		t.Error("in clear")
	}
	w.submit(t, alice, "unnamed", "x@other.test")
	w.waits(t, "451 4.7.0 the policy of other.test (MTA-STS) does not name its MX mx.other.test")
	w.submit(t, alice, "testing", "x@trying.test") // whose certificate is for another name
	if got := taken(t, s.Sink, 2)[1]; !got.TLS {
		t.Error("in clear")
	}
	if log := w.Log(); !strings.Contains(log, "a certificate does not verify, as a policy in testing wants it") {
		t.Error(log)
	}
	s.offer(nil)
	w.submit(t, alice, "stripped", "x@strict.test")
	w.waits(t, "451 4.7.4 mx.strict.test does not offer TLS, which the policy of strict.test demands")
	s.offer(newAuthority(t).host("mx.strict.test"))
	w.submit(t, alice, "forged", "x@strict.test")
	w.waits(t, "451 4.7.5 TLS handshake failed: certificate signed by unknown authority")
	if n := len(s.Taken()); n != 2 {
		t.Errorf("%d messages", n)
	}
	w.sts(t, a)
}

// TestPolicyOutlivesKill: a policy holds when the server was killed, its record is gone and its host is down (RFC 8461
// §5.1).
func TestPolicyOutlivesKill(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	const zone = "strict.test MX 10 mx.strict.test\nmx.strict.test A 127.0.0.2\n"
	w := &world{port: harness.FreePort(t)}
	w.https = policyHost(t, a, map[string]string{"mta-sts.strict.test": "version: STSv1\nmode: enforce\nmx: mx.strict.test\nmax_age: 86400\n"})
	w.dns = dnstest.Start(t, zone+"mta-sts.strict.test A 127.0.0.20\n_mta-sts.strict.test TXT \"v=STSv1; id=1\"\n")
	data := "--data=" + harness.Dir(t) + "/data"
	w.startTLS(t, a, data)
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(a.host("mx.strict.test"))
	w.submit(t, alice, "before", "x@strict.test")
	taken(t, s.Sink, 1)
	w.queued(t, 0, 0)
	w.Kill()

	w.dns.SetZone(t, zone)
	w.https = harness.FreePort(t)
	w.startTLS(t, a, data)
	s.offer(nil)
	w.submit(t, alice, "after", "x@strict.test")
	w.waits(t, "451 4.7.4 mx.strict.test does not offer TLS, which the policy of strict.test demands")
}

// sts looks at what `postel sts` says.
func (w *world) sts(t *testing.T, a *authority) {
	t.Helper()
	postel := func(domain string, more ...string) (string, int) {
		args := []string{"SSL_CERT_FILE=" + a.path, harness.Binary(t), "sts", domain, "--dns", w.dns.Addr, "--https-port", fmt.Sprint(w.https)}
		return harness.Run(t, "", "env", append(args, more...)...)
	}
	for _, c := range []struct {
		domain, says string
		code         int
	}{
		{"x@strict.test", "strict.test: enforce: mail goes only to hosts that it names|id 1, kept for 24h0m0s|mx *.strict.test|1. mx.strict.test: named by the policy", 0},
		{"trying.test", "testing: what does not fit is logged|1. mx.trying.test: named", 0},
		{"other.test", "1. mx.other.test: not named by the policy|other.test: the policy does not name the MX mx.other.test", 1},
		{"nothing.test", "nothing.test: no policy of MTA-STS: _mta-sts.nothing.test has no TXT record", 1},
		{"a b", "no domain name", 2},
	} {
		out, code := postel(c.domain)
		for says := range strings.SplitSeq(c.says, "|") {
			if !strings.Contains(out, says) || code != c.code {
				t.Errorf("sts %s: exit %d without %q: %s", c.domain, code, says, out)
			}
		}
	}
	out, code := postel("strict.test", "--json")
	if want := `{"domain":"strict.test","id":"1","mode":"enforce","mx":["*.strict.test"],"max_age":86400,"hosts":[{"name":"mx.strict.test","named":true}]}`; code != 0 || strings.TrimSpace(out) != want {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestDANE: a certificate that fits the TLSA record is enough, one that does not is not, and without DNSSEC nothing is
// sent where it was before; the order of the world is that of RFC 7672.
func TestDANE(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	self := newAuthority(t).host("whatever.test")
	zone := `
safe.test MX 10 mx.safe.test
mx.safe.test A 127.0.0.2
wrong.test MX 10 mx.wrong.test
mx.wrong.test A 127.0.0.2
_25._tcp.mx.wrong.test TLSA 3 1 1 ` + strings.Repeat("ab", 32) + `
bare.test MX 10 mx.bare.test
mx.bare.test A 127.0.0.2
plain.test MX 10 mx.plain.test
mx.plain.test A 127.0.0.2
useless.test MX 10 mx.useless.test
mx.useless.test A 127.0.0.2
_25._tcp.mx.useless.test TLSA 1 1 1 ` + strings.Repeat("ab", 32) + `
_25._tcp.mx.safe.test TLSA ` + tlsa(t, self) + "\n"
	w := openTLS(t, zone, a, nil)
	w.dns.Authentic("safe.test", "wrong.test", "bare.test", "useless.test", "none.test")
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(self)
	w.submit(t, alice, "fits", "x@safe.test")
	if got := taken(t, s.Sink, 1)[0]; !got.TLS {
		t.Error("in clear")
	}
	w.submit(t, alice, "differs", "x@wrong.test")
	w.waits(t, "451 4.7.5 TLS handshake failed: the certificate fits none of the TLSA records")
	s.offer(nil)
	w.submit(t, alice, "stripped", "x@safe.test")
	w.waits(t, "451 4.7.4 mx.safe.test does not offer TLS, which its TLSA records demand")

	for _, c := range []struct {
		domain, says string
		code         int
	}{
		{"x@safe.test", "DNSSEC vouches for the MX records of safe.test|1. mx.safe.test: its certificate must fit one of the records (RFC 7672 §2.2)|DANE-EE(3) SPKI(1) SHA2-256(1) ", 0},
		{"bare.test", "1. mx.bare.test: no TLSA records|bare.test: mx.bare.test has no TLSA record that can be used", 1},
		{"plain.test", "DNSSEC does not vouch|nothing vouches for the name|no DNSSEC for the domain's MX records", 1},
		{"useless.test", "none of its records is usable: TLS is a must, without verification|and 1 that cannot be used", 1},
		{"none.test", "does not exist", 1},
	} {
		out, code := w.Postel("tlsa", c.domain, "--dns", w.dns.Addr)
		for says := range strings.SplitSeq(c.says, "|") {
			if !strings.Contains(out, says) || code != c.code {
				t.Errorf("tlsa %s: exit %d without %q: %s", c.domain, code, says, out)
			}
		}
	}
	if v := w.objects(t, "tlsa", "safe.test", "--dns", w.dns.Addr)[0]; v["authentic"] != true || v["hosts"].([]any)[0].(map[string]any)["base"] != "mx.safe.test" {
		t.Errorf("%v", v)
	}
}

// TestTLSBefore: what offered TLS is not spoken to in clear at once, and never in silence.
func TestTLSBefore(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	w := openTLS(t, "sink.test MX 10 mx.sink.test\nmx.sink.test A 127.0.0.2\n", a, nil)
	s := single{w.sink(t, "127.0.0.2")}
	s.offer(a.host("any.test"))
	w.submit(t, alice, "before", "x@sink.test")
	if got := taken(t, s.Sink, 1)[0]; !got.TLS {
		t.Error("in clear")
	}
	s.offer(nil)
	w.submit(t, alice, "after", "x@sink.test")
	item := w.queued(t, 1, 1)[0]
	if got := first(item)["last"].(string); !strings.HasPrefix(got, "451 4.7.4 mx.sink.test does not offer TLS any more, as it did before") {
		t.Error(got)
	}
	w.ok(t, "queue", "retry", item["id"].(string))
	if got := taken(t, s.Sink, 2)[1]; got.TLS {
		t.Error("under TLS")
	}
	if log := w.Log(); !strings.Contains(log, "downgrade: a host is spoken to in clear") {
		t.Error(log)
	}
}
