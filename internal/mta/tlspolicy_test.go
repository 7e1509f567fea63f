package mta

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
	"postel/internal/route"
	"postel/internal/tlspolicy"
	"postel/internal/tlspolicy/mtasts"
)

// published is what remote.test says by MTA-STS.
type published struct{ policy mtasts.Policy }

func (p published) Policy(context.Context, mail.Domain) mtasts.Found {
	if p.policy.Mode == "" {
		return mtasts.Found{Why: "no record"}
	}
	return mtasts.Found{Entry: mtasts.Entry{Policy: p.policy}, Valid: true, Why: "kept"}
}

// secureRouter sends to mx.remote.test, with or without DNSSEC.
type secureRouter struct {
	fakeRouter
	authentic bool
}

func (r secureRouter) Route(_ context.Context, d mail.Domain, _ mail.Address) (route.Plan, error) {
	return route.Plan{Domain: d, Authentic: r.authentic, Hosts: []route.Host{{
		Name: "mx.remote.test", Proto: route.SMTP, TLS: route.May, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25")},
	}}}, nil
}

// decided is a fixture whose sessions are secured as policies say.
type decided struct {
	*fixture
	sink    *sink
	memory  *tlspolicy.Volatile
	counted counted
}

type policyCase struct {
	tls       bool // the host offers TLS
	broken    bool // and fails in the handshake
	trusted   bool // its certificate verifies
	authentic bool // DNSSEC vouches for the MX records
	tlsa      string
	sts       mtasts.Policy
	memory    *tlspolicy.Volatile
}

func (c policyCase) start(t *testing.T) *decided {
	t.Helper()
	s := &sink{cert: certificate(t)}
	leaf, err := x509.ParseCertificate(s.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	zone := "mx.remote.test A 192.0.2.1\n"
	if c.tlsa != "" {
		zone += "_25._tcp.mx.remote.test TLSA " + strings.ReplaceAll(c.tlsa, "KEY", hex.EncodeToString(sum[:])) + "\n"
	}
	server := dnstest.Start(t, zone)
	server.Authentic("remote.test")
	resolver, err := dns.New(dns.Options{Servers: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	if c.tls {
		s.ehlo = append(s.ehlo, "250-STARTTLS", "250-REQUIRETLS")
	}
	if c.broken {
		s.cert = nil
	}
	d := &decided{sink: s, memory: c.memory}
	if d.memory == nil {
		d.memory = new(tlspolicy.Volatile)
	}
	d.fixture = withSink(t, s, func(o *Options) {
		o.Router = secureRouter{authentic: c.authentic}
		o.TLSPolicy = tlspolicy.New(tlspolicy.Options{Resolver: resolver, Policies: published{c.sts}, Memory: d.memory, Reports: &d.counted})
		o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
		if c.trusted {
			o.TLS.RootCAs.AddCert(leaf)
		}
	})
	return d
}

// last waits for the first attempt and gives what came of it: "sent", or the code and text of the last result.
func (d *decided) last(t *testing.T) string {
	t.Helper()
	got := ""
	until(t, "there is a verdict", func() bool {
		items := d.items()
		if len(items) == 0 {
			got = "sent"
		} else if r := items[0].Recipients[0]; r.Attempts > 0 {
			got = r.Last.String()
		}
		return got != ""
	})
	return got
}

func wild(mode mtasts.Mode, mx string) mtasts.Policy {
	return mtasts.Policy{Mode: mode, MX: []string{mx}, MaxAge: time.Hour}
}

// TestPolicies: what is sent, and over what, as the owner of a domain wants it (RFC 7672, RFC 8461).
func TestPolicies(t *testing.T) {
	t.Parallel()
	enforce, other, testing1 := wild(mtasts.Enforce, "mx.remote.test"), wild(mtasts.Enforce, "*.other.test"), wild(mtasts.Testing, "mx.remote.test")
	const fits, differs, useless = "3 1 1 KEY", "3 1 1 0000000000000000000000000000000000000000000000000000000000000000", "1 1 1 KEY"
	for _, c := range []struct {
		name string
		policyCase
		want   string
		secure bool
	}{
		{"nothing said, TLS", policyCase{tls: true}, "sent", true},
		{"nothing said, no TLS", policyCase{}, "sent", false},
		{"nothing said, broken", policyCase{tls: true, broken: true}, "451 4.7.5 TLS handshake failed", false},
		{"enforce, verified", policyCase{tls: true, trusted: true, sts: enforce}, "sent", true},
		{"enforce, unverified", policyCase{tls: true, sts: enforce}, "451 4.7.5 TLS handshake failed: certificate", false},
		{"enforce, in clear", policyCase{sts: enforce}, "451 4.7.4 mx.remote.test does not offer TLS, which the policy of remote.test demands", false},
		{"enforce, another host", policyCase{tls: true, trusted: true, sts: other}, "451 4.7.0 the policy of remote.test (MTA-STS) does not name", false},
		{"testing, unverified", policyCase{tls: true, sts: testing1}, "sent", true},
		{"testing, in clear", policyCase{sts: testing1}, "sent", false},
		{"TLSA fits", policyCase{tls: true, authentic: true, tlsa: fits}, "sent", true},
		{"TLSA fits, not the policy", policyCase{tls: true, authentic: true, tlsa: fits, sts: other}, "sent", true},
		{"TLSA differs", policyCase{tls: true, authentic: true, tlsa: differs}, "451 4.7.5 TLS handshake failed: the certificate fits none of the TLSA records", false},
		{"TLSA differs, the policy fits", policyCase{tls: true, trusted: true, authentic: true, tlsa: differs, sts: enforce}, "451 4.7.5", false},
		{"TLSA, in clear", policyCase{authentic: true, tlsa: fits}, "451 4.7.4 mx.remote.test does not offer TLS, which its TLSA records demand", false},
		{"TLSA without DNSSEC", policyCase{tls: true, tlsa: differs}, "sent", true},
		{"useless TLSA", policyCase{tls: true, authentic: true, tlsa: useless}, "sent", true},
		{"useless TLSA, in clear", policyCase{authentic: true, tlsa: useless}, "451 4.7.4", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			d.mustAccept("alice@postel.test", "b@remote.test")
			if got := d.last(t); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s, want %s", got, c.want)
			}
			d.sink.mu.Lock()
			defer d.sink.mu.Unlock()
			if c.want == "sent" != (len(d.sink.messages) == 1) || c.want == "sent" && d.sink.tls != c.secure {
				t.Errorf("%d messages, TLS %t", len(d.sink.messages), d.sink.tls)
			}
		})
	}
}

// TestClearAtTheNextAttempt: a host whose TLS fails, or that does not offer it any more, is spoken to in clear at the
// next attempt, not at once.
func TestClearAtTheNextAttempt(t *testing.T) {
	t.Parallel()
	memory := new(tlspolicy.Volatile)
	for _, step := range []struct {
		policyCase
		want string
	}{
		{policyCase{tls: true, broken: true}, "451 4.7.5"},
		{policyCase{tls: true, broken: true}, "sent"},
		{policyCase{tls: true}, "sent"},
		{policyCase{}, "451 4.7.4 mx.remote.test does not offer TLS any more, as it did before"},
		{policyCase{}, "sent"},
	} {
		step.memory = memory
		d := step.start(t)
		d.mustAccept("alice@postel.test", "b@remote.test")
		if got := d.last(t); !strings.HasPrefix(got, step.want) {
			t.Errorf("%+v: %s, want %s", step.policyCase, got, step.want)
		}
	}
}

// TestRequireTLSByPolicy: a policy of MTA-STS vouches for the names of hosts, and TLSA records for their certificates
// (RFC 8689 §4.2.1).
func TestRequireTLSByPolicy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		policyCase
		sent bool
	}{
		{"a policy names the host", policyCase{tls: true, trusted: true, sts: wild(mtasts.Enforce, "mx.remote.test")}, true},
		{"it does, and nothing verifies", policyCase{tls: true, sts: wild(mtasts.Testing, "mx.remote.test")}, false},
		{"nobody names it", policyCase{tls: true, trusted: true}, false},
		{"TLSA", policyCase{tls: true, authentic: true, tlsa: "3 1 1 KEY"}, true},
		{"DNSSEC alone, unverified", policyCase{tls: true, authentic: true}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			e := envelope("alice@postel.test", "b@remote.test")
			e.RequireTLS = true
			if _, _, err := d.accept(e); err != nil {
				t.Fatal(err)
			}
			until(t, "it is done", func() bool { return len(d.items()) == 0 })
			d.sink.mu.Lock()
			defer d.sink.mu.Unlock()
			if (len(d.sink.messages) == 1) != c.sent {
				t.Errorf("%d messages: %q", len(d.sink.messages), d.sink.commands)
			}
			if in := d.mailbox(alice, "INBOX"); c.sent == (len(in) == 1) {
				t.Errorf("%q", in)
			}
		})
	}
}

// TestPolicyAnew: a session is not used for longer than what decided on it holds.
func TestPolicyAnew(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	now := time.Now()
	s := &sink{cert: certificate(t), ehlo: []string{"250-STARTTLS"}}
	server := dnstest.Start(t, "mx.remote.test A 192.0.2.1\n")
	resolver, err := dns.New(dns.Options{Servers: []string{server.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	f := withSink(t, s, func(o *Options) {
		o.Clock = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return now
		}
		o.Timeouts.Idle = time.Minute
		o.TLSPolicy = tlspolicy.New(tlspolicy.Options{Resolver: resolver, Policies: published{}, Memory: new(tlspolicy.Volatile)})
	})
	for i, step := range []time.Duration{0, policyHolds - 1, 2} {
		mu.Lock()
		now = now.Add(step)
		mu.Unlock()
		f.mustAccept("alice@postel.test", "b@remote.test")
		until(t, "it is sent", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.messages) == i+1 })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialled != 2 {
		t.Errorf("%d connections", s.dialled)
	}
}

// TestTLSRequiredNo: a message whose author wants it to arrive whatever the domain demands of TLS is sent, and no other
// message goes over its session (RFC 8689 §4.2.2); REQUIRETLS is above that (§4.1).
func TestTLSRequiredNo(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, fields string
		policyCase
		required, sent bool
	}{
		{"in clear", "TLS-Required: no\r\n", policyCase{authentic: true, tlsa: "3 1 1 KEY"}, false, true},
		{"unverified", "TLS-Required: No\r\n", policyCase{tls: true, sts: wild(mtasts.Enforce, "mx.remote.test")}, false, true},
		{"not named", "TLS-Required: No\r\n", policyCase{tls: true, sts: wild(mtasts.Enforce, "other.test")}, false, true},
		{"broken", "TLS-Required: No\r\n", policyCase{tls: true, broken: true, sts: wild(mtasts.Enforce, "mx.remote.test")}, false, true},
		{"twice", "TLS-Required: No\r\nTLS-Required: No\r\n", policyCase{sts: wild(mtasts.Enforce, "mx.remote.test")}, false, false},
		{"something else", "TLS-Required: Yes\r\n", policyCase{sts: wild(mtasts.Enforce, "mx.remote.test")}, false, false},
		{"REQUIRETLS", "TLS-Required: No\r\n", policyCase{sts: wild(mtasts.Enforce, "mx.remote.test")}, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			e := envelope("alice@postel.test", "b@remote.test")
			e.RequireTLS = c.required
			msg := d.message(c.fields + sample)
			defer msg.Discard()
			errs, err := d.Accept(t.Context(), Incoming{Envelope: e, Message: msg, Trace: []byte("Received: by test\r\n")})
			if err = errors.Join(append(errs, err)...); err != nil {
				t.Fatal(err)
			}
			if got := d.last(t); !c.required && (got == "sent") != c.sent {
				t.Error(got)
			}
			d.sink.mu.Lock()
			sent := len(d.sink.messages)
			d.sink.mu.Unlock()
			if (sent == 1) != c.sent {
				t.Errorf("%d messages", sent)
			}
			if c.sent { // the next does not go over the session that may still be open
				d.mustAccept("alice@postel.test", "b@remote.test")
				if got := d.last(t); got == "sent" {
					t.Error("another message went the same way")
				}
			}
		})
	}
}
