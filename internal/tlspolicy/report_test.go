package tlspolicy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
)

// noted are the sessions that were counted.
type noted []tlsrpt.Session

// Note implements Reports.
func (n *noted) Note(s tlsrpt.Session) { *n = append(*n, s) }

func (n *noted) take() string {
	var out []string
	for _, s := range *n {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", s.Policy.Type, s.Policy.Domain, s.Failure.Result)))
	}
	*n = nil
	return strings.Join(out, ", ")
}

// issuer signs certificates; the first is its own.
type issuer struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t}
	c := i.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)})
	i.cert, i.key = c.Leaf, c.PrivateKey.(*ecdsa.PrivateKey)
	return i
}

func (i *issuer) sign(tmpl *x509.Certificate) tls.Certificate {
	i.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		i.t.Fatal(err)
	}
	tmpl.SerialNumber = big.NewInt(1)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = tmpl, key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
	if err != nil {
		i.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		i.t.Fatal(err)
	}
	chain := [][]byte{der}
	if i.cert != nil {
		chain = append(chain, i.cert.Raw)
	}
	return tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf}
}

// handshake does one as a decision wants it.
func handshake(t *testing.T, d Decision, roots *x509.CertPool, server *tls.Config) Session {
	t.Helper()
	ours, theirs := net.Pipe()
	defer ours.Close()
	go func() {
		defer theirs.Close()
		if server != nil {
			_ = tls.Server(theirs, server).Handshake()
		}
	}()
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	d.Configure(cfg, time.Now)
	c := tls.Client(ours, cfg)
	s := Session{Roots: roots, Sending: netip.MustParseAddr("192.168.1.2"), Receiving: netip.MustParseAddr("192.0.2.1")}
	if err := c.HandshakeContext(t.Context()); err != nil {
		s.Failed = &mail.Error{Op: "smtp.tls", Kind: mail.Unavailable, Text: "TLS handshake failed", Err: err}
	} else {
		state := c.ConnectionState()
		s.State = &state
	}
	return s
}

// TestResults: what is wrong with a certificate has its name in RFC 8460 §4.3.1, by the Web's authorities as by DANE's,
// and with a policy in testing as with one that is enforced.
func TestResults(t *testing.T) {
	t.Parallel()
	const host = "mx.a.test"
	i := newIssuer(t)
	roots := x509.NewCertPool()
	roots.AddCert(i.cert)
	sum := sha256.Sum256(i.cert.Raw)
	web := Decision{Domain: "a.test", Host: host, Level: WebPKI, counted: tlsrpt.Policy{Type: tlsrpt.STS, Domain: "a.test"}}
	trying, anchor := web, web
	trying.Level, trying.Testing = May, true
	anchor.Level, anchor.Names, anchor.Records = TLSA, []string{host}, []dns.CertRecord{{Usage: 2, Matching: 1, Data: sum[:]}}
	until := time.Now().Add(time.Hour)
	good := &x509.Certificate{DNSNames: []string{host}, NotAfter: until}
	for _, c := range []struct {
		name string
		cert *x509.Certificate
		by   *issuer
		want tlsrpt.Result
	}{
		{"good", good, i, ""},
		{"another name", &x509.Certificate{DNSNames: []string{"mx.b.test"}, NotAfter: until}, i, tlsrpt.HostMismatch},
		{"expired", &x509.Certificate{DNSNames: []string{host}, NotAfter: time.Now().Add(-time.Hour)}, i, tlsrpt.Expired},
		{"another authority", good, newIssuer(t), tlsrpt.NotTrusted},
		{"no handshake", nil, nil, tlsrpt.Invalid},
	} {
		for _, d := range []Decision{web, trying, anchor} {
			var n noted
			k := New(Options{Reports: &n})
			var server *tls.Config
			if c.cert != nil {
				server = &tls.Config{Certificates: []tls.Certificate{c.by.sign(c.cert)}, MinVersion: tls.VersionTLS12}
			}
			k.Report(d, handshake(t, d, roots, server))
			if len(n) != 1 || n[0].Failure.Result != c.want {
				t.Errorf("%s, %s %t: %+v", c.name, d.Level, d.Testing, n)
				continue
			}
			f := n[0].Failure
			explained := c.want == tlsrpt.NotTrusted || c.want == tlsrpt.Invalid
			if (f.Reason != "") != explained || strings.Contains(f.Reason, "192.168") || f.SendingIP != "" || c.want != "" && f.ReceivingIP != "192.0.2.1" {
				t.Errorf("%s, %s: %+v", c.name, d.Level, f)
			}
		}
	}
}

// TestFaultsAreCounted: what is amiss with what a domain publishes counts beside its sessions, or without one where no
// host may be used (RFC 8460 §4.3.2).
func TestFaultsAreCounted(t *testing.T) {
	t.Parallel()
	w := start(t)
	var n noted
	w.o.Reports = &n
	for _, c := range []struct {
		domain    mail.Domain
		authentic bool
		found     *mtasts.Found
		want      string
	}{
		{"plain.test", false, nil, "no-policy-found plain.test starttls-not-supported"},
		{"broken.test", true, nil, "tlsa mx.broken.test dnssec-invalid"},
		{"plain.test", false, &mtasts.Found{Fault: true, Cause: mtasts.Unfetched}, "sts plain.test sts-policy-fetch-error, no-policy-found plain.test starttls-not-supported"},
		{"plain.test", false, &mtasts.Found{Fault: true, Cause: mtasts.Untrusted}, "sts plain.test sts-webpki-invalid, no-policy-found plain.test starttls-not-supported"},
		{"plain.test", false, &mtasts.Found{Fault: true, Cause: mtasts.Unreadable}, "sts plain.test sts-policy-invalid, no-policy-found plain.test starttls-not-supported"},
		{"[192.0.2.1]", false, nil, ""},
	} {
		d := w.Destination(t.Context(), c.domain, "", c.authentic)
		d.sts = c.found
		dec := d.Host(t.Context(), "mx."+string(c.domain))
		w.Report(dec, Session{})
		if got := n.take(); got != c.want {
			t.Errorf("%s: %s, want %s", c.domain, got, c.want)
		}
		if w.Report(dec.Waive(), Session{}); n.take() != "" {
			t.Errorf("%s: counted though the author had the word", c.domain)
		}
	}
	w.Learn(t.Context(), w.Destination(t.Context(), "dane.test", "", true).Host(t.Context(), "mx.dane.test"), Secured)
	w.Report(w.Destination(t.Context(), "dane.test", "", false).Host(t.Context(), "mx.dane.test"), Session{})
	if got := n.take(); got != "tlsa mx.dane.test dane-required" {
		t.Error(got)
	}
}

// TestPolicyStrings: what was demanded is told as it was published (RFC 8460 §4.4).
func TestPolicyStrings(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.policies.of["plain.test"] = mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.plain.test", "*.b.test"}, MaxAge: time.Hour}
	p := w.Destination(t.Context(), "plain.test", "", false).Host(t.Context(), "mx.plain.test").counted
	if got := strings.Join(p.Strings, "|") + "|" + strings.Join(p.MX, "|"); got != "version: STSv1|mode: enforce|mx: mx.plain.test|mx: *.b.test|max_age: 3600|mx.plain.test|*.b.test" {
		t.Error(got)
	}
	p = w.Destination(t.Context(), "dane.test", "", true).Host(t.Context(), "mx.dane.test").counted
	if got := strings.Join(p.Strings, "|"); got != "3 1 1 "+strings.Repeat("00", 32) || p.Domain != "mx.dane.test" {
		t.Errorf("%+v", p)
	}
}
