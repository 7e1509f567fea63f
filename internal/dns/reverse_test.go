package dns_test

import (
	"net/netip"
	"testing"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
)

// TestReverse holds a client's names against its address (RFC 8601 §3).
func TestReverse(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, `
1.2.0.192.in-addr.arpa PTR liar.test
1.2.0.192.in-addr.arpa PTR mx.test
2.2.0.192.in-addr.arpa PTR liar.test
3.2.0.192.in-addr.arpa PTR nowhere.test
4.2.0.192.in-addr.arpa PTR dead.test
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR mx.test
mx.test   A    192.0.2.1
mx.test   AAAA 2001:db8::1
liar.test A    192.0.2.99
dead.test A    192.0.2.4
`)
	s.Fail("dead.test", "A", dnstest.Fault{Rcode: 2})
	s.Fail("6.2.0.192.in-addr.arpa", "PTR", dnstest.Fault{Rcode: 2})
	c := client(t, s, dns.Options{})
	for addr, want := range map[string]struct {
		name    string
		verdict dns.Verdict
	}{
		"192.0.2.1": {"mx.test", dns.Pass}, "2001:db8::1": {"mx.test", dns.Pass}, "::ffff:192.0.2.1": {"mx.test", dns.Pass},
		"192.0.2.2": {"", dns.Fail}, "192.0.2.3": {"", dns.Fail}, "192.0.2.4": {"", dns.TempError},
		"192.0.2.5": {"", dns.None}, "192.0.2.6": {"", dns.TempError},
	} {
		if name, v := dns.Reverse(t.Context(), c, netip.MustParseAddr(addr)); name != want.name || v != want.verdict {
			t.Errorf("%s: %q %s, want %+v", addr, name, v, want)
		}
	}
	for hello, want := range map[string]dns.Verdict{
		"mx.test": dns.Pass, "MX.Test": dns.Pass, "liar.test": dns.Fail, "nowhere.test": dns.None, "dead.test": dns.TempError,
		"[192.0.2.1]": dns.Pass, "[192.0.2.2]": dns.Fail, "no domain": dns.None, "": dns.None,
	} {
		if v := dns.Hello(t.Context(), c, hello, netip.MustParseAddr("192.0.2.1")); v != want {
			t.Errorf("%q: %s, want %s", hello, v, want)
		}
	}
}
