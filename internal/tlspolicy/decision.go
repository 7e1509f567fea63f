package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/tlspolicy/dane"
	"postel/internal/tlspolicy/tlsrpt"
)

// Level is what a connection must have before mail goes over it; a higher one is stricter.
type Level uint8

// The levels.
const (
	May       Level = iota // TLS where it is offered, not verified
	Encrypted              // TLS, not verified
	WebPKI                 // a certificate that the authorities of the Web vouch for, for the host's name
	TLSA                   // a certificate that TLSA records vouch for
)

// String gives "may", "encrypted", "webpki" or "tlsa".
func (l Level) String() string { return [...]string{"may", "encrypted", "webpki", "tlsa"}[l&3] }

// MarshalText gives the name.
func (l Level) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// Step is one part of the explanation of a decision.
type Step struct {
	Text   string `json:"text"`
	Clause string `json:"clause,omitempty"` // "RFC 8461 §5"
}

// Decision is what holds for one host of a destination.
type Decision struct {
	Domain  mail.Domain      `json:"domain"`
	Host    string           `json:"host"`
	Level   Level            `json:"level"`
	Refused *mail.Error      `json:"-"`                 // the host must not be used; temporary always
	Testing bool             `json:"testing,omitempty"` // the certificate is verified as with WebPKI, and failure only told
	Vouched bool             `json:"vouched"`           // somebody who is believed says that the host is the domain's
	Records []dns.CertRecord `json:"-"`                 // of level TLSA
	Names   []string         `json:"-"`                 // likewise
	Base    string           `json:"-"`                 // the name to ask the server for; "" is Host
	Steps   []Step           `json:"steps,omitempty"`

	counted tlsrpt.Policy    // under which a session is counted
	faults  []tlsrpt.Session // what is amiss with what the domain publishes, counted beside each session

	seen     Seen      // what was known of the host
	verified time.Time // when TLSA records last verified one of the domain's
	before   bool      // the host has spoken TLS lately
	fallback bool      // TLS failed in an earlier attempt
	waived   bool      // the author of the message does without
}

// ClearAfterFailure tells whether the host may be spoken to in clear when TLS fails or is no longer offered.
func (d Decision) ClearAfterFailure() bool { return d.Level == May && d.fallback }

// Strict tells whether the owner of the domain demands anything.
func (d Decision) Strict() bool { return d.Refused != nil || d.Level > May }

// Waive gives the decision for a message whose author wants it delivered whatever that owner demands: TLS where it is
// offered, else in clear (RFC 8689 §4.2.2).
func (d Decision) Waive() Decision {
	w := Decision{Domain: d.Domain, Host: d.Host, Vouched: d.Vouched, Steps: d.Steps[:len(d.Steps):len(d.Steps)], fallback: true, waived: true}
	w.say("RFC 8689 §4.2.2", "the author says TLS-Required: No, so that it is sent all the same")
	return w
}

// Waived tells whether the decision is one of Waive: what is sent over such a session does not hold for other messages.
func (d Decision) Waived() bool { return d.waived }

// Demands tells whether a host that does not offer TLS is left for this attempt, and why.
func (d Decision) Demands() (why string, yes bool) {
	switch {
	case d.Level == TLSA || d.Level == Encrypted:
		return "TLS, which its TLSA records demand", true
	case d.Level == WebPKI:
		return "TLS, which the policy of " + string(d.Domain) + " demands", true
	case d.before && !d.fallback:
		return "TLS any more, as it did before", true
	}
	return "", false
}

// Configure sets what a handshake verifies. What only a policy in testing minds is looked at by Report.
func (d Decision) Configure(cfg *tls.Config, now func() time.Time) {
	cfg.ServerName = d.Host
	cfg.InsecureSkipVerify = true // but for what follows
	switch {
	case d.Level == TLSA:
		cfg.ServerName = d.Base // RFC 7672 §8.1
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			return dane.Verify(d.Records, d.Names, s.PeerCertificates, now())
		}
	case d.Level == WebPKI:
		cfg.InsecureSkipVerify = false // RFC 8461 §4.2
	}
}

// webPKI is the verification of crypto/tls, for a policy that only watches.
func webPKI(roots *x509.CertPool, host string, chain []*x509.Certificate, now time.Time) error {
	if len(chain) == 0 {
		return mail.E("tlspolicy.verify", mail.Denied, "no certificate was shown")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host, CurrentTime: now})
	return err
}
