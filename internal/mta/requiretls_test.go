package mta

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
)

// TestRequireTLS: what must not go in clear goes to a host whose name is vouched for, whose certificate verifies and that
// passes the demand on, and else back with 5.7.30 and without its content (RFC 8689 §4.2.1 and §5).
func TestRequireTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                              string
		ehlo                              []string
		authentic, trusted, session, sent bool
	}{
		{name: "as it should be", ehlo: []string{"STARTTLS", "REQUIRETLS"}, authentic: true, trusted: true, sent: true},
		{name: "behind another message", ehlo: []string{"STARTTLS", "REQUIRETLS"}, authentic: true, trusted: true, session: true, sent: true},
		{name: "a name from anyone", ehlo: []string{"STARTTLS", "REQUIRETLS"}, trusted: true},
		{name: "a certificate from anyone", ehlo: []string{"STARTTLS", "REQUIRETLS"}, authentic: true},
		{name: "no TLS", ehlo: []string{"REQUIRETLS"}, authentic: true, trusted: true},
		{name: "no REQUIRETLS", ehlo: []string{"STARTTLS"}, authentic: true, trusted: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sink{cert: certificate(t)}
			for _, x := range c.ehlo {
				s.ehlo = append(s.ehlo, "250-"+x)
			}
			f := withSink(t, s, func(o *Options) {
				o.Router = fakeRouter{authentic: c.authentic}
				o.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
				if leaf, err := x509.ParseCertificate(s.cert.Certificate[0]); err != nil {
					t.Fatal(err)
				} else if c.trusted {
					o.TLS.RootCAs.AddCert(leaf)
				}
			})
			if c.session { // it leaves an open session, which is not verified
				f.mustAccept("alice@postel.test", "b@remote.test")
				until(t, "it is sent", func() bool { return len(f.items()) == 0 })
			}
			e := envelope("alice@postel.test", "b@remote.test")
			e.RequireTLS, e.Return = true, "FULL"
			if _, _, err := f.accept(e); err != nil {
				t.Fatal(err)
			}
			until(t, "it is done", func() bool { return len(f.items()) == 0 })
			s.mu.Lock()
			defer s.mu.Unlock()
			said := strings.Contains(strings.Join(s.commands, "\n"), " REQUIRETLS")
			if said != c.sent || c.sent && (!s.tls || len(s.messages) == 0) || !c.sent && len(s.messages) > 0 {
				t.Errorf("%q %q", s.commands, s.messages)
			}
			if in := f.mailbox(alice, "INBOX"); c.sent && len(in) > 0 ||
				!c.sent && (len(in) != 1 || !strings.Contains(in[0], "Status: 5.7.30") || strings.Contains(in[0], "\r\nbody\r\n")) {
				t.Errorf("%q", in)
			}
		})
	}
}
