package dns_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
)

// TestDialer: a host that a stranger names leads to no address that only we can reach, at the port that was asked for,
// and not to more than a few.
func TestDialer(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, `
inside.test A 127.0.0.1
inside.test A 0.0.0.0
inside.test A 169.254.169.254
inside.test A 224.0.0.1
inside.test AAAA ::1
inside.test AAAA ::ffff:127.0.0.1
inside.test AAAA fe80::1
private.test A 10.0.0.1
private.test AAAA fd00::1
public.test A 192.0.2.1
public.test AAAA 2001:db8::1
shared.test A 100.100.100.200
shared.test AAAA 64:ff9b::a00:1
behind.test AAAA 64:ff9b::7f00:1
behind.test AAAA 64:ff9b::a9fe:a9fe
behind.test AAAA 64:ff9b::c000:201
many.test A 192.0.2.1
many.test A 192.0.2.2
many.test A 192.0.2.3
many.test A 192.0.2.4
many.test A 192.0.2.5
`)
	r, err := dns.New(dns.Options{Servers: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host string
		d    dns.Dialer
		want string // the addresses that were tried
	}{
		{"inside.test:443", dns.Dialer{}, ""},
		{"inside.test:443", dns.Dialer{Loopback: true}, "127.0.0.1:443 [::1]:443 127.0.0.1:443"},
		{"private.test:443", dns.Dialer{Outside: true}, ""},
		{"shared.test:443", dns.Dialer{Outside: true}, ""},
		{"shared.test:443", dns.Dialer{}, "100.100.100.200:443 [64:ff9b::a00:1]:443"},
		{"behind.test:443", dns.Dialer{}, "[64:ff9b::c000:201]:443"},
		{"private.test:443", dns.Dialer{}, "10.0.0.1:443 [fd00::1]:443"},
		{"public.test:8443", dns.Dialer{Outside: true}, "192.0.2.1:8443 [2001:db8::1]:8443"},
		{"public.test:443", dns.Dialer{Port: 8443}, "192.0.2.1:8443 [2001:db8::1]:8443"},
		{"many.test:443", dns.Dialer{}, "192.0.2.1:443 192.0.2.2:443 192.0.2.3:443 192.0.2.4:443"},
		{"none.test:443", dns.Dialer{}, ""},
	} {
		var tried []string
		c.d.Resolver, c.d.Timeout = r, time.Second
		refused := errors.New("refused")
		c.d.Dial = func(_ context.Context, _, addr string) (net.Conn, error) {
			tried = append(tried, addr)
			return nil, refused
		}
		_, err := c.d.DialContext(t.Context(), "tcp", c.host)
		if got := strings.Join(tried, " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.host, got, c.want)
		}
		if c.want == "" && !mail.Is(err, mail.NotFound) || c.want != "" && !errors.Is(err, refused) {
			t.Errorf("%s: %v", c.host, err)
		}
	}
}
