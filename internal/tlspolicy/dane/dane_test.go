package dane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
)

// TestLookup: the four ends of a look-up (RFC 7672 §2.1, §2.2).
func TestLookup(t *testing.T) {
	t.Parallel()
	sum := strings.Repeat("00112233445566778899aabbccddeeff", 2)
	s := dnstest.Start(t, `
mx.good.test A 192.0.2.1
_25._tcp.mx.good.test TLSA 3 1 1 `+sum+`
_25._tcp.mx.good.test TLSA 2 0 2 `+sum+sum+`
_25._tcp.mx.good.test TLSA 1 1 1 `+sum+`
mx.useless.test A 192.0.2.1
_25._tcp.mx.useless.test TLSA 0 0 1 `+sum+`
_25._tcp.mx.useless.test TLSA 3 2 1 `+sum+`
_25._tcp.mx.useless.test TLSA 3 1 3 `+sum+`
_25._tcp.mx.useless.test TLSA 3 1 1 0011
mx.none.good.test A 192.0.2.1
mx.plain.test A 192.0.2.1
_25._tcp.mx.plain.test TLSA 3 1 1 `+sum+`
mx.broken.test A 192.0.2.1
mx.dead.test A 192.0.2.1
six.good.test AAAA 2001:db8::1
_25._tcp.six.good.test TLSA 3 1 1 `+sum+`
alias.good.test CNAME mx.good.test
alias.useless.test CNAME mx.none.good.test
_25._tcp.alias.useless.test TLSA 3 1 1 `+sum+`
out.good.test CNAME mx.plain.test
_25._tcp.out.good.test TLSA 3 1 1 `+sum+`
in.plain.test CNAME mx.good.test
`)
	s.Authentic("good.test", "useless.test", "broken.test", "dead.test")
	s.Fail("_25._tcp.mx.broken.test", "TLSA", dnstest.Fault{Rcode: 2})
	s.Fail("mx.dead.test", "", dnstest.Fault{Rcode: 2})
	s.Fail("mx.plain.test", "AAAA", dnstest.Fault{Rcode: 2})
	r, err := dns.New(dns.Options{Servers: []string{s.Addr}, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{
		"mx.good.test":       "mx.good.test 2 usable 1 not insecure=false",
		"mx.useless.test":    "mx.useless.test 0 usable 4 not insecure=false",
		"mx.none.good.test":  " 0 usable 0 not insecure=false",
		"mx.plain.test":      " 0 usable 0 not insecure=true",
		"mx.broken.test":     "unavailable",
		"mx.dead.test":       "unavailable",
		"six.good.test":      "six.good.test 1 usable 0 not insecure=false",
		"alias.good.test":    "mx.good.test 2 usable 1 not insecure=false",
		"alias.useless.test": "alias.useless.test 1 usable 0 not insecure=false", // the end of the CNAME has none
		"out.good.test":      "out.good.test 1 usable 0 not insecure=false",      // leads out of what is authentic
		"in.plain.test":      " 0 usable 0 not insecure=true",
	} {
		f := Lookup(t.Context(), r, host)
		got := fmt.Sprintf("%s %d usable %d not insecure=%t", f.Base, len(f.Records), f.Unusable, f.Insecure)
		if f.Err != nil {
			got = mail.KindOf(f.Err).String()
		}
		if got != want || f.Applies() != (len(f.Records)+f.Unusable > 0) {
			t.Errorf("%s: %s, want %s", host, got, want)
		}
	}
}

// TestUnbelieved: without the resolver's word there are no records (RFC 7672 §2.2).
func TestUnbelieved(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, "mx.good.test A 192.0.2.1\n_25._tcp.mx.good.test TLSA 3 1 1 "+strings.Repeat("00", 32)+"\n")
	r, err := dns.New(dns.Options{Servers: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	if f := Lookup(t.Context(), r, "mx.good.test"); f.Applies() || !f.Insecure || f.Err != nil {
		t.Errorf("%+v", f)
	}
}

// chain is an authority, one between, and a leaf for mx.test.
type chain struct{ root, between, leaf *x509.Certificate }

func newChain(t *testing.T) chain {
	t.Helper()
	var c chain
	var signer *ecdsa.PrivateKey
	parent := (*x509.Certificate)(nil)
	for i, at := range []**x509.Certificate{&c.root, &c.between, &c.leaf} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: fmt.Sprint("certificate ", i)},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), BasicConstraintsValid: true, IsCA: i < 2,
		}
		if i == 2 {
			tmpl.DNSNames = []string{"mx.test"}
		}
		if parent == nil {
			parent, signer = tmpl, key
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		if *at, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		parent, signer = *at, key
	}
	return c
}

// rec makes a record that fits a certificate.
func rec(usage, selector, matching uint8, c *x509.Certificate) dns.CertRecord {
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		s := sha256.Sum256(data)
		data = s[:]
	case 2:
		s := sha512.Sum512(data)
		data = s[:]
	}
	return dns.CertRecord{Usage: usage, Selector: selector, Matching: matching, Data: data}
}

// TestVerify: RFC 7672 §3.1 and §3.2.
func TestVerify(t *testing.T) {
	t.Parallel()
	c, other := newChain(t), newChain(t)
	full := []*x509.Certificate{c.leaf, c.between, c.root}
	now, tomorrow := time.Now(), time.Now().Add(24*time.Hour)
	for _, tc := range []struct {
		name    string
		records []dns.CertRecord
		names   []string
		chain   []*x509.Certificate
		now     time.Time
		why     string
	}{
		{"EE, any name, over its time", []dns.CertRecord{rec(3, 1, 1, c.leaf)}, []string{"x.test"}, full[:1], tomorrow, ""},
		{"EE of the authority is none", []dns.CertRecord{rec(3, 1, 1, c.root)}, []string{"mx.test"}, full, now, "none of the TLSA"},
		{"EE, one of two", []dns.CertRecord{rec(3, 1, 1, other.leaf), rec(3, 0, 2, c.leaf)}, nil, full[:1], now, ""},
		{"TA", []dns.CertRecord{rec(2, 0, 1, c.root)}, []string{"x.test", "mx.test"}, full, now, ""},
		{"TA between", []dns.CertRecord{rec(2, 1, 2, c.between)}, []string{"mx.test"}, full[:2], now, ""},
		{"TA that is not shown", []dns.CertRecord{rec(2, 0, 1, c.root)}, []string{"mx.test"}, full[:2], now, "none of the TLSA"},
		{"TA that is in DNS", []dns.CertRecord{rec(2, 0, 0, c.root)}, []string{"mx.test"}, full[:2], now, ""},
		{"TA, another name", []dns.CertRecord{rec(2, 0, 1, c.root)}, []string{"x.test"}, full, now, "another name"},
		{"TA, over its time", []dns.CertRecord{rec(2, 0, 1, c.root)}, []string{"mx.test"}, full, tomorrow, "does not lead"},
		{"TA shown, but not its signature", []dns.CertRecord{rec(2, 0, 1, other.root)}, []string{"mx.test"}, []*x509.Certificate{c.leaf, other.root}, now, "does not lead"},
		{"rubbish for a certificate", []dns.CertRecord{{Usage: 2, Data: []byte("x")}}, []string{"mx.test"}, full, now, "none of the TLSA"},
		{"no certificate", []dns.CertRecord{rec(3, 1, 1, c.leaf)}, nil, nil, now, "no certificate"},
		{"no record", nil, []string{"mx.test"}, full, now, "none of the TLSA"},
	} {
		err := Verify(tc.records, tc.names, tc.chain, tc.now)
		if (err == nil) != (tc.why == "") || err != nil && (!strings.Contains(err.Error(), tc.why) || !mail.Is(err, mail.Denied)) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	for selector := range uint8(2) {
		for matching := range uint8(3) {
			for usage := uint8(2); usage < 4; usage++ {
				at := map[uint8]*x509.Certificate{2: c.root, 3: c.leaf}[usage]
				r := rec(usage, selector, matching, at)
				if !Usable(r) {
					t.Errorf("%d %d %d is not usable", usage, selector, matching)
				}
				if err := Verify([]dns.CertRecord{r}, []string{"mx.test"}, full, now); err != nil {
					t.Errorf("%d %d %d: %v", usage, selector, matching, err)
				}
				if err := Verify([]dns.CertRecord{r}, []string{"mx.test"}, []*x509.Certificate{other.leaf, other.between, other.root}, now); err == nil {
					t.Errorf("%d %d %d fits anything", usage, selector, matching)
				}
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if got := strings.Join(Names("mx.far.test", "mx.near.test", "near.test"), " "); got != "mx.far.test mx.near.test near.test" {
		t.Error(got)
	}
	if got := strings.Join(Names("mx.test", "mx.test", "test"), " "); got != "mx.test test" {
		t.Error(got)
	}
}
