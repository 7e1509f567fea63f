package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"strings"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// The numbers of RFC 6698 §2.1 under the names of RFC 7218.
const (
	usageTA = 2
	usageEE = 3

	selectorCert = 0
	selectorKey  = 1

	matchFull   = 0
	matchSHA256 = 1
	matchSHA512 = 2
)

// maxChain bounds the certificates that are looked at.
const maxChain = 20

// Verify checks the certificates that a server showed, its own first, against usable records; one that fits is
// enough. With DANE-EE the certificate counts as it is, whatever names and dates it has (RFC 7672 §3.1.1). With
// DANE-TA it must lead to the authority, hold today, and be for one of the names (§3.1.2, §3.2). The error has Kind
// Denied.
func Verify(records []dns.CertRecord, names []string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return mail.E("dane.verify", mail.Denied, "no certificate was shown")
	}
	chain = chain[:min(len(chain), maxChain)]
	roots := x509.NewCertPool()
	authorities := false
	for _, r := range records {
		switch r.Usage {
		case usageEE:
			if matches(r, chain[0]) {
				return nil
			}
		case usageTA:
			for _, a := range authoritiesOf(r, chain) {
				roots.AddCert(a)
				authorities = true
			}
		}
	}
	if !authorities {
		return mail.E("dane.verify", mail.Denied, "the certificate fits none of the TLSA records")
	}
	return verifyChain(roots, names, chain, now)
}

// authoritiesOf gives the certificates that a record of usage DANE-TA means: those shown, and the one that it holds
// whole (RFC 7671 §5.2.2).
func authoritiesOf(r dns.CertRecord, chain []*x509.Certificate) (found []*x509.Certificate) {
	for _, c := range chain {
		if matches(r, c) {
			found = append(found, c)
		}
	}
	if r.Selector == selectorCert && r.Matching == matchFull {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			found = append(found, c)
		}
	}
	return found
}

func verifyChain(roots *x509.CertPool, names []string, chain []*x509.Certificate, now time.Time) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	o := x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now}
	if _, err := chain[0].Verify(o); err != nil {
		return &mail.Error{Op: "dane.verify", Kind: mail.Denied, Text: "the certificate does not lead to an authority of the TLSA records", Err: err}
	}
	for _, n := range names {
		if chain[0].VerifyHostname(n) == nil {
			return nil
		}
	}
	return &mail.Error{Op: "dane.verify", Kind: mail.Denied, Text: "the certificate is for another name", Err: x509.HostnameError{Certificate: chain[0], Host: strings.Join(names, " or ")}}
}

// matches compares a certificate with a record (RFC 6698 §2.1.2, §2.1.3).
func matches(r dns.CertRecord, c *x509.Certificate) bool {
	what := c.Raw
	if r.Selector == selectorKey {
		what = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case matchSHA256:
		sum := sha256.Sum256(what)
		what = sum[:]
	case matchSHA512:
		sum := sha512.Sum512(what)
		what = sum[:]
	}
	return bytes.Equal(what, r.Data)
}
