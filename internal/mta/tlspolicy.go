package mta

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
	"postel/internal/route"
	"postel/internal/tlspolicy"
)

// policyHolds is how long a session is used without asking anew how it must be secured: what a domain's owner wants may
// have become stricter.
const policyHolds = time.Minute

// target is a host with how a session with it must be secured.
type target struct {
	route.Host
	policy *tlspolicy.Decision // nil: as the route says
}

// destination begins decisions about the hosts of a plan; nil where a rule has the word, or nobody decides.
func (m *MTA) destination(ctx context.Context, p route.Plan) *tlspolicy.Destination {
	if m.o.TLSPolicy == nil || p.Ruled {
		return nil
	}
	return m.o.TLSPolicy.Destination(ctx, p.Domain, p.Canonical, p.Authentic)
}

// target asks how a host must be spoken to; false when it must not be, which is noted.
func (v *visit) target(h route.Host, named bool, d *tlspolicy.Destination) (target, bool) {
	t := target{Host: h}
	if d != nil {
		dec := d.Host(v.s.work, h.Name)
		if dec.Strict() && v.waives() {
			dec = dec.Waive()
		}
		t.policy = &dec
		named = named || dec.Vouched
		if dec.Refused != nil {
			v.s.m.o.TLSPolicy.Report(dec, tlspolicy.Session{})
			v.failed(ours(mail.ScopeHost, 451, dec.Refused.Code, dec.Refused.Text))
			return t, false
		}
	}
	if v.it.RequireTLS && !named {
		v.heard(ours(mail.ScopeHost, 550, noRequireTLS, "REQUIRETLS: nothing vouches for the names of the hosts of "+v.it.Destination))
		return t, false
	}
	return t, true
}

// waives tells whether the message says TLS-Required: No, for which REQUIRETLS leaves no room (RFC 8689 §3, §4.1).
func (v *visit) waives() bool {
	if v.it.RequireTLS {
		return false
	}
	body := &lazyBody{ctx: v.s.work, blobs: v.s.m.o.Blobs, prefix: v.it.Prefix, blob: v.it.Blob}
	defer body.close()
	h, err := message.ReadHeader(bufio.NewReader(body), message.MaxHeader)
	return err == nil && h.Count("TLS-Required") == 1 && strings.EqualFold(strings.TrimSpace(h.Get("TLS-Required")), "No")
}

// waived tells whether sessions with the host are for one message only.
func (t target) waived() bool { return t.policy != nil && t.policy.Waived() }

// failed notes what was heard of a host that could not be used.
func (v *visit) failed(r mail.Result) {
	v.heard(r)
	if v.a.host == hostUnknown {
		v.a.host = hostFailed
	}
	v.a.reason = r
	v.a.slow = r.Code == 421 && r.Host != ""
}

// expired tells whether the open session is to be opened anew, with what holds now, and for the next message.
func (w *worker) expired() bool {
	m := w.s.m
	return w.lax || w.routed != m.routed.Load() || m.o.TLSPolicy != nil && m.o.Clock().After(w.since.Add(policyHolds))
}

// demands tells whether the host is left when it does not offer TLS, and in which words.
func (t target) demands() (string, bool) {
	if t.TLS == route.Must {
		return "TLS, which its route demands", true
	}
	if t.policy == nil {
		return "", false
	}
	return t.policy.Demands()
}

// clearAfterFailure tells whether the host may be spoken to in clear when TLS does not come about.
func (t target) clearAfterFailure() bool {
	return t.TLS == route.May && (t.policy == nil || t.policy.ClearAfterFailure())
}

// note records how the session is to be secured, and why.
func (t target) note(g *observe.Session) {
	if g == nil || t.policy == nil {
		return
	}
	for _, s := range t.policy.Steps {
		line := "policy " + t.policy.Level.String() + ": " + s.Text
		if s.Clause != "" {
			line += " (" + s.Clause + ")"
		}
		g.Trace(observe.Note, []byte(line), false)
	}
}

// encrypt starts TLS where it is offered, or demanded.
func (m *MTA) encrypt(ctx context.Context, c *smtp.Client, t target, secure bool) error {
	_, offered := c.Extension("STARTTLS")
	what, demanded := t.demands()
	switch {
	case !secure || !offered && !demanded:
		return nil
	case !offered:
		return &handshakeFailed{&mail.Error{Op: "mta.tls", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 4}, Text: t.Name + " does not offer " + what}}
	}
	err := c.StartTLS(ctx, m.tlsFor(t))
	if _, refused := smtp.RefusalOf(err); refused && t.clearAfterFailure() {
		return nil // the connection is in order, in clear
	}
	if err != nil {
		return &handshakeFailed{explained(err)}
	}
	return nil
}

// explained says in the error of a handshake what is wrong with the certificate.
func explained(err error) error {
	var e, ours *mail.Error
	var cert *tls.CertificateVerificationError
	if !errors.As(err, &e) {
		return err
	}
	said := *e
	switch {
	case errors.As(e.Err, &ours):
		said.Text += ": " + ours.Text
	case errors.As(e.Err, &cert):
		said.Text += ": " + strings.TrimPrefix(cert.Err.Error(), "x509: ")
	}
	return &said
}

// isTLSFailure tells of a result of openSession that there is no TLS, or none that verifies.
func isTLSFailure(r mail.Result) bool {
	return r.Enhanced == mail.Enhanced{4, 7, 4} || r.Enhanced == mail.Enhanced{4, 7, 5}
}

// tlsFor gives the configuration for one host: what the policy says, and where the route or REQUIRETLS want a
// certificate that verifies, that of the policy too.
func (m *MTA) tlsFor(t target) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.o.TLS != nil {
		cfg = m.o.TLS.Clone()
	}
	cfg.ClientSessionCache = m.resume
	if t.policy != nil && (t.TLS != route.Must || t.policy.Level == tlspolicy.TLSA) {
		t.policy.Configure(cfg, m.o.Clock)
		return cfg
	}
	cfg.InsecureSkipVerify = t.TLS != route.Must // against eavesdropping only; who verifies says Must
	cfg.ServerName = ""
	if _, err := netip.ParseAddr(t.Name); err != nil || t.TLS == route.Must {
		cfg.ServerName = t.Name
	}
	return cfg
}

// learn tells the policy what became of the session's TLS.
func (m *MTA) learn(ctx context.Context, t target, s *session, failed error) {
	var broke *handshakeFailed
	var o tlspolicy.Outcome
	switch {
	case t.policy == nil, t.TLS == route.Never:
		return
	case errors.As(failed, &broke) && t.TLS == route.May:
		o = tlspolicy.Broke
	case failed != nil:
		return
	case s.client.TLS() != nil:
		o = tlspolicy.Secured
	default:
		o = tlspolicy.InClear
	}
	m.o.TLSPolicy.Learn(context.WithoutCancel(ctx), *t.policy, o)
}

// countTLS counts what TLS came to in a session: one in which a route, REQUIRETLS or the author of the message had the
// word instead of the owner of the domain says nothing of that one's policy.
func (m *MTA) countTLS(ctx context.Context, t target, addr netip.AddrPort, s *session, failed error) {
	other := t.TLS == route.Never || t.TLS == route.Must && t.policy != nil && t.policy.Level < tlspolicy.WebPKI
	if t.policy == nil || s.client == nil || other || ctx.Err() != nil {
		return
	}
	r := tlspolicy.Session{Sending: s.local, Receiving: addr.Addr(), State: s.client.TLS()}
	if m.o.TLS != nil {
		r.Roots = m.o.TLS.RootCAs
	}
	var broke *handshakeFailed
	if r.State == nil && failed != nil {
		if !errors.As(failed, &broke) {
			return // it did not come to TLS
		}
		_, refused := smtp.RefusalOf(failed)
		if _, offered := s.client.Extension("STARTTLS"); offered && !refused {
			r.Failed = broke.error
		}
	}
	m.o.TLSPolicy.Report(*t.policy, r)
}
