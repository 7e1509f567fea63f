package mta

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"postel/internal/tlspolicy/mtasts"
	"postel/internal/tlspolicy/tlsrpt"
)

// counted are the sessions that were counted.
type counted struct {
	mu  sync.Mutex
	all []tlsrpt.Session
}

// Note implements tlspolicy.Reports.
func (c *counted) Note(s tlsrpt.Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, s)
}

func (c *counted) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, s := range c.all {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", s.Domain, s.Policy.Type, s.Policy.Domain, s.Failure.Result)))
	}
	return strings.Join(out, ", ")
}

// TestTLSIsCounted: each session counts once under what it had to fit, in the words of RFC 8460 §4.3, and what is amiss
// with what is published besides.
func TestTLSIsCounted(t *testing.T) {
	t.Parallel()
	enforce, other := wild(mtasts.Enforce, "mx.remote.test"), wild(mtasts.Enforce, "*.other.test")
	testing1, testing2 := wild(mtasts.Testing, "mx.remote.test"), wild(mtasts.Testing, "*.other.test")
	const fits, differs, useless = "3 1 1 KEY", "3 1 1 0000000000000000000000000000000000000000000000000000000000000000", "1 1 1 KEY"
	for _, c := range []struct {
		name string
		policyCase
		want string // without "remote.test "
	}{
		{"nothing said, TLS", policyCase{tls: true}, "no-policy-found remote.test"},
		{"nothing said, no TLS", policyCase{}, "no-policy-found remote.test starttls-not-supported"},
		{"nothing said, broken", policyCase{tls: true, broken: true}, "no-policy-found remote.test validation-failure"},
		{"enforce, verified", policyCase{tls: true, trusted: true, sts: enforce}, "sts remote.test"},
		{"enforce, unverified", policyCase{tls: true, sts: enforce}, "sts remote.test certificate-not-trusted"},
		{"enforce, in clear", policyCase{sts: enforce}, "sts remote.test starttls-not-supported"},
		{"enforce, another host", policyCase{tls: true, trusted: true, sts: other}, "sts remote.test validation-failure"},
		{"testing, verified", policyCase{tls: true, trusted: true, sts: testing1}, "sts remote.test"},
		{"testing, unverified", policyCase{tls: true, sts: testing1}, "sts remote.test certificate-not-trusted"},
		{"testing, in clear", policyCase{sts: testing1}, "sts remote.test starttls-not-supported"},
		{"testing, another host", policyCase{tls: true, sts: testing2}, "sts remote.test validation-failure, no-policy-found remote.test"},
		{"TLSA fits", policyCase{tls: true, authentic: true, tlsa: fits}, "tlsa mx.remote.test"},
		{"TLSA differs", policyCase{tls: true, authentic: true, tlsa: differs, sts: enforce}, "tlsa mx.remote.test certificate-not-trusted"},
		{"TLSA, in clear", policyCase{authentic: true, tlsa: fits}, "tlsa mx.remote.test starttls-not-supported"},
		{"useless TLSA", policyCase{tls: true, authentic: true, tlsa: useless}, "tlsa mx.remote.test tlsa-invalid, no-policy-found remote.test"},
		{"useless TLSA, enforce", policyCase{tls: true, trusted: true, authentic: true, tlsa: useless, sts: enforce}, "tlsa mx.remote.test tlsa-invalid, sts remote.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			d.mustAccept("alice@postel.test", "b@remote.test")
			d.last(t)
			want := "remote.test " + strings.ReplaceAll(c.want, ", ", ", remote.test ")
			if got := d.counted.String(); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			for _, s := range d.counted.all {
				if f := s.Failure; f.Result != "" && f.MX != "mx.remote.test" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// TestTLSIsNotCounted: where somebody else than the owner has the word, and where it did not come to TLS (RFC 8460
// §4.3.4), nothing is counted.
func TestTLSIsNotCounted(t *testing.T) {
	t.Parallel()
	enforce := wild(mtasts.Enforce, "mx.remote.test")
	for _, c := range []struct {
		name, fields string
		policyCase
		required bool
		greeting string
	}{
		{"TLS-Required: No", "TLS-Required: No\r\n", policyCase{sts: enforce}, false, ""},
		{"REQUIRETLS without a policy", "", policyCase{tls: true, authentic: true}, true, ""},
		{"no session", "", policyCase{tls: true, sts: enforce}, false, "421 4.3.2 not now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d := c.start(t)
			if c.greeting != "" {
				d.sink.mu.Lock()
				d.sink.replies = map[string]string{"GREETING": c.greeting}
				d.sink.mu.Unlock()
			}
			e := envelope("alice@postel.test", "b@remote.test")
			e.RequireTLS = c.required
			msg := d.message(c.fields + sample)
			defer msg.Discard()
			if _, err := d.Accept(t.Context(), Incoming{Envelope: e, Message: msg, Trace: []byte("Received: by test\r\n")}); err != nil {
				t.Fatal(err)
			}
			d.last(t)
			if got := d.counted.String(); got != "" {
				t.Error(got)
			}
		})
	}
}
