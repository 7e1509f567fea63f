package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/tlspolicy/dane"
	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
)

// Reports counts what sessions came to; *tlsrpt.Reporter does. Safe for concurrent use, and quick.
type Reports interface {
	Note(tlsrpt.Session)
}

// Session is what became of the TLS of a session with the host of a decision. With neither State nor Failed the host
// did not offer TLS, or refused it.
type Session struct {
	Sending   netip.Addr // ours
	Receiving netip.Addr
	State     *tls.ConnectionState // nil in clear
	Failed    error                // why the handshake did not come about
	Roots     *x509.CertPool       // the authorities of the Web; nil is the system's
}

// Report counts a session for the owner of its domain (RFC 8460). With a decision that refuses the host there was none,
// and only that is counted. A certificate that a policy in testing minds is looked at here.
func (k *Keeper) Report(d Decision, s Session) {
	if _, literal := d.Domain.Literal(); literal || d.waived {
		return
	}
	where := tlsrpt.Failure{MX: d.Host, ReceivingIP: shown(s.Receiving), SendingIP: shown(s.Sending)}
	for _, f := range d.faults {
		where.Result, where.Reason = f.Failure.Result, f.Failure.Reason
		f.Failure = where
		k.count(f)
	}
	if d.Refused != nil {
		return
	}
	where.Result, where.Reason = k.judge(d, s)
	if where.Result == "" {
		where = tlsrpt.Failure{}
	}
	k.count(tlsrpt.Session{Domain: d.Domain, Policy: d.counted, Failure: where})
}

func (k *Keeper) count(s tlsrpt.Session) {
	if k.o.Reports != nil {
		k.o.Reports.Note(s)
	}
}

// shown gives an address that the world may know; "" for one of a network behind address translation.
func shown(a netip.Addr) string {
	if !a.IsValid() || a.IsPrivate() || a.IsLinkLocalUnicast() {
		return ""
	}
	return a.String()
}

// judge gives the result of a session, "" for success, and why (RFC 8460 §4.3).
func (k *Keeper) judge(d Decision, s Session) (r tlsrpt.Result, why string) {
	switch {
	case s.Failed != nil:
		return resultOf(s.Failed)
	case s.State == nil:
		return tlsrpt.NoSTARTTLS, ""
	case d.Testing:
		if err := webPKI(s.Roots, d.Host, s.State.PeerCertificates, k.o.Clock()); err != nil {
			k.o.Log.Warn("a certificate does not verify, as a policy in testing wants it", "domain", d.Domain, "host", d.Host, "err", err)
			return resultOf(err)
		}
	}
	return "", ""
}

// resultOf names what went wrong in a handshake.
func resultOf(err error) (tlsrpt.Result, string) {
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return tlsrpt.HostMismatch, ""
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsrpt.Expired, ""
	case errors.As(err, &unknown):
		return tlsrpt.NotTrusted, "certificate signed by unknown authority" // without guesses at whose
	case errors.As(err, &invalid), errors.As(err, &cert), mail.Is(cause(err), mail.Denied):
		return tlsrpt.NotTrusted, reason(err)
	}
	return tlsrpt.Invalid, reason(err)
}

// cause gives what a handshake's error wraps: that of a verification of ours, if it was one.
func cause(err error) error {
	var e *mail.Error
	if errors.As(err, &e) && e.Err != nil && !mail.Is(e, mail.Denied) {
		return cause(e.Err)
	}
	return err
}

// reason says in a few words what a report may tell: no address of ours.
func reason(err error) string {
	var op *net.OpError
	if err = cause(err); errors.As(err, &op) {
		err = op.Err
	}
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "tls: failed to verify certificate: "), "x509: ")
}

// amiss notes a fault of what the domain publishes.
func (d *Decision) amiss(p tlsrpt.Policy, r tlsrpt.Result, why string) {
	d.faults = append(d.faults, tlsrpt.Session{Domain: d.Domain, Policy: p, Failure: tlsrpt.Failure{Result: r, Reason: why}})
}

const notNamed = "the policy does not name the MX"

// causes are the results for policies of MTA-STS that cannot be had (RFC 8460 §4.3.2.2).
var causes = map[mtasts.Cause]tlsrpt.Result{
	mtasts.Unfetched: tlsrpt.STSUnfetched, mtasts.Untrusted: tlsrpt.STSUntrusted, mtasts.Unreadable: tlsrpt.STSInvalid,
}

// tlsaPolicy writes TLSA records as reports have them: "3 1 1 " and hexadecimal digits (RFC 8460 §4.4).
func tlsaPolicy(f dane.Found) tlsrpt.Policy {
	p := tlsrpt.Policy{Type: tlsrpt.TLSA, Domain: mail.Domain(f.Base)}
	for _, r := range f.Records {
		p.Strings = append(p.Strings, fmt.Sprintf("%d %d %d %X", r.Usage, r.Selector, r.Matching, r.Data))
	}
	return p
}

// stsPolicy writes a policy of MTA-STS as reports have it: its lines (RFC 8460 §4.4). One that cannot be had has none.
func stsPolicy(d mail.Domain, f mtasts.Found) tlsrpt.Policy {
	p := tlsrpt.Policy{Type: tlsrpt.STS, Domain: d}
	if !f.Valid {
		return p
	}
	p.Strings = append(p.Strings, "version: STSv1", "mode: "+string(f.Policy.Mode))
	for _, mx := range f.Policy.MX {
		p.Strings = append(p.Strings, "mx: "+mx)
	}
	p.Strings = append(p.Strings, fmt.Sprintf("max_age: %d", f.Policy.MaxAge/time.Second))
	p.MX = f.Policy.MX
	return p
}
