package dns_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zone = `
example.test        MX    10 mx1.example.test
example.test        MX    20 MX2.Example.Test
example.test        TXT   "v=spf1 " "-all"
example.test   7200 A     192.0.2.1
mx1.example.test 60 A     192.0.2.11
mx1.example.test    AAAA  2001:db8::11
mx2.example.test    A     192.0.2.12
_25._tcp.mx1.example.test TLSA 3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff
alias.test          CNAME alias2.test
alias2.test     30  CNAME example.test
dangling.test       CNAME nothing.test
loop1.test          CNAME loop2.test
loop2.test          CNAME loop1.test
*.wild.test         A     192.0.2.99
odd.test            TXT   "a\"b\\c\200"
1.2.0.192.in-addr.arpa PTR mx.example.test
`

func client(t *testing.T, s *dnstest.Server, o dns.Options) *dns.Client {
	t.Helper()
	o.Servers = append(o.Servers, s.Addr)
	if o.Timeout == 0 {
		o.Timeout = 2 * time.Second
	}
	c, err := dns.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// show writes an answer on one line.
func show(a dns.Answer, err error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s>%s ad=%t", a.Name, a.Canonical, a.Authentic)
	for _, r := range a.Records {
		switch {
		case r.Addr.IsValid():
			fmt.Fprintf(&b, " %s", r.Addr)
		case r.Text != "":
			fmt.Fprintf(&b, " %q", r.Text)
		case r.Cert.Data != nil:
			fmt.Fprintf(&b, " %d %d %d %x", r.Cert.Usage, r.Cert.Selector, r.Cert.Matching, r.Cert.Data[:2])
		default:
			fmt.Fprintf(&b, " %d/%s", r.Pref, r.Host)
		}
	}
	if err != nil {
		fmt.Fprintf(&b, " err=%s", mail.KindOf(err))
	}
	return b.String()
}

func TestLookup(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	s.Authentic("example.test", "alias2.test")
	c := client(t, s, dns.Options{})
	for _, tc := range []struct {
		name string
		typ  dns.Type
		want string
	}{
		{"Example.TEST.", dns.MX, "example.test>example.test ad=true 10/mx1.example.test 20/mx2.example.test"},
		{"example.test", dns.TXT, `example.test>example.test ad=true "v=spf1 -all"`},
		{"mx1.example.test", dns.AAAA, "mx1.example.test>mx1.example.test ad=true 2001:db8::11"},
		{"_25._tcp.mx1.example.test", dns.TLSA, "_25._tcp.mx1.example.test>_25._tcp.mx1.example.test ad=true 3 1 1 0011"},
		{"1.2.0.192.in-addr.arpa", dns.PTR, "1.2.0.192.in-addr.arpa>1.2.0.192.in-addr.arpa ad=false 0/mx.example.test"},
		{"odd.test", dns.TXT, `odd.test>odd.test ad=false "a\"b\\c\xc8"`},
		{"alias2.test", dns.A, "alias2.test>example.test ad=true 192.0.2.1"},
		{"alias.test", dns.A, "alias.test>example.test ad=false 192.0.2.1"},
		{"alias.test", dns.CNAME, "alias.test>alias.test ad=false 0/alias2.test"},
		{"alias.test", dns.AAAA, "alias.test>example.test ad=false"},
		{"x.wild.test", dns.A, "x.wild.test>x.wild.test ad=false 192.0.2.99"},
		{"mx2.example.test", dns.MX, "mx2.example.test>mx2.example.test ad=true"},
		{"no.example.test", dns.MX, "no.example.test>no.example.test ad=true err=not found"},
		{"dangling.test", dns.A, "dangling.test>nothing.test ad=false err=not found"},
		{"loop1.test", dns.A, "loop1.test> ad=false err=unavailable"},
		{"x.onion", dns.A, "x.onion>x.onion ad=false err=not found"},
		{"bücher.test", dns.A, "> ad=false err=invalid"},
		{"a..test", dns.A, "> ad=false err=invalid"},
		{"", dns.A, "> ad=false err=invalid"},
		{strings.Repeat("a", 64) + ".test", dns.A, "> ad=false err=invalid"},
		{strings.Repeat("a.", 127) + "test", dns.A, "> ad=false err=invalid"},
	} {
		for range 2 { // the second from the cache
			if got := show(c.Lookup(t.Context(), tc.name, tc.typ)); got != tc.want {
				t.Errorf("%s %s:\n got %s\nwant %s", tc.name, tc.typ, got, tc.want)
			}
		}
	}
	if n := s.Asked("example.test", "MX"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	const q = "example.test"
	good := "example.test>example.test ad=false 192.0.2.1"
	bad := "example.test> ad=false err=unavailable"
	for _, tc := range []struct {
		name  string
		fault dnstest.Fault
		want  string
		tcp   int
		udp   int
	}{
		{"servfail always", dnstest.Fault{Rcode: 2}, bad, 0, 2},
		{"servfail once", dnstest.Fault{Rcode: 2, Times: 1}, good, 0, 2},
		{"refused always", dnstest.Fault{Rcode: 5}, bad, 0, 2},
		{"silent always", dnstest.Fault{Drop: true}, bad, 0, 2},
		{"silent once", dnstest.Fault{Drop: true, Times: 1}, good, 0, 2},
		{"truncated", dnstest.Fault{Truncate: true}, good, 1, 1},
		{"forged replies first", dnstest.Fault{Forge: true}, good, 0, 1},
		{"referral always", dnstest.Fault{Refer: true}, bad, 0, 2},
		{"referral once", dnstest.Fault{Refer: true, Times: 1}, good, 0, 2},
		{"no EDNS", dnstest.Fault{NoEDNS: true}, good, 0, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := dnstest.Start(t, zone)
			s.Fail(q, "A", tc.fault)
			c := client(t, s, dns.Options{Timeout: 300 * time.Millisecond})
			if got := show(c.Lookup(t.Context(), q, dns.A)); got != tc.want {
				t.Errorf("got %s\nwant %s", got, tc.want)
			}
			if tcp, all := s.AskedTCP(), s.Asked("", ""); tcp != tc.tcp || all-tcp != tc.udp {
				t.Errorf("%d over TCP, %d over UDP, want %d and %d", tcp, all-tcp, tc.tcp, tc.udp)
			}
		})
	}
}

// TestChase follows CNAMEs itself when the server does not.
func TestChase(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	s.Fail("", "A", dnstest.Fault{NoFollow: true})
	c := client(t, s, dns.Options{})
	for name, want := range map[string]string{
		"alias.test":    "alias.test>example.test ad=false 192.0.2.1",
		"dangling.test": "dangling.test>nothing.test ad=false err=not found",
		"loop1.test":    "loop1.test> ad=false err=unavailable",
	} {
		if got := show(c.Lookup(t.Context(), name, dns.A)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// TestLargeAnswer needs TCP because it does not fit into what EDNS offers.
func TestLargeAnswer(t *testing.T) {
	t.Parallel()
	var z strings.Builder
	for i := range 200 {
		fmt.Fprintf(&z, "big.test MX %d host-%d.a-rather-long-name-for-a-host.big.test\n", i, i)
	}
	s := dnstest.Start(t, z.String())
	a, err := client(t, s, dns.Options{}).Lookup(t.Context(), "big.test", dns.MX)
	if err != nil || len(a.Records) != 200 || s.AskedTCP() != 1 {
		t.Errorf("%d records, %d over TCP, %v", len(a.Records), s.AskedTCP(), err)
	}
}

func TestNextServer(t *testing.T) {
	t.Parallel()
	dead, broken, good := dnstest.Start(t, zone), dnstest.Start(t, zone), dnstest.Start(t, zone)
	dead.Fail("", "", dnstest.Fault{Drop: true})
	broken.Fail("", "", dnstest.Fault{Rcode: 2})
	c := client(t, good, dns.Options{Servers: []string{dead.Addr, broken.Addr}, Timeout: 200 * time.Millisecond})
	if a, err := c.Lookup(t.Context(), "example.test", dns.A); err != nil || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestCacheHolds(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	var mu sync.Mutex
	now := time.Unix(1_790_000_000, 0)
	step := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	c := client(t, s, dns.Options{Now: func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}})
	asks := func(name string, typ dns.Type, want int) dns.Answer {
		t.Helper()
		a, _ := c.Lookup(t.Context(), name, typ)
		if n := s.Asked(name, typ.String()); n != want {
			t.Errorf("%s %s was asked %d times, want %d", name, typ, n, want)
		}
		return a
	}
	asks("mx1.example.test", dns.A, 1)
	asks("alias.test", dns.A, 1)
	asks("example.test", dns.A, 1)
	asks("gone.test", dns.A, 1)
	step(20 * time.Second)
	if a := asks("mx1.example.test", dns.A, 1); a.TTL != 40*time.Second {
		t.Errorf("40 s should be left, not %s", a.TTL)
	}
	step(11 * time.Second)
	asks("alias.test", dns.A, 2) // 30 s of its second CNAME are over
	step(30 * time.Second)
	asks("gone.test", dns.A, 2) // the SOA said 60 s
	asks("mx1.example.test", dns.A, 2)
	step(58 * time.Minute)
	asks("example.test", dns.A, 1)
	step(2 * time.Minute)
	asks("example.test", dns.A, 2) // 2 h were promised, 1 h is the most
	c.Flush()
	asks("example.test", dns.A, 3)
	s.Fail("example.test", "TXT", dnstest.Fault{Rcode: 2, Times: 2})
	asks("example.test", dns.TXT, 2)
	asks("example.test", dns.TXT, 2)
	step(time.Second)
	asks("example.test", dns.TXT, 3)
}

// TestCacheIsBounded fills a small cache and sees the oldest go and the used ones stay.
func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	c := client(t, s, dns.Options{CacheBytes: 5000})
	for i := range 50 {
		for _, n := range []string{"example.test", fmt.Sprintf("n%d.wild.test", i)} {
			if _, err := c.Lookup(t.Context(), n, dns.A); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := s.Asked("example.test", "A"); n != 1 {
		t.Errorf("what is used all the time was asked %d times", n)
	}
	if _, _ = c.Lookup(t.Context(), "n0.wild.test", dns.A); s.Asked("n0.wild.test", "A") != 2 {
		t.Error("what was used longest ago is still there")
	}
}

func TestEqualQuestionsAreOne(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	s.Fail("example.test", "MX", dnstest.Fault{Delay: 200 * time.Millisecond})
	c := client(t, s, dns.Options{})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			ctx := t.Context()
			if i == 0 { // the one that gives up takes nothing from the others
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
			}
			a, err := c.Lookup(ctx, "example.test", dns.MX)
			switch {
			case i == 0 && err != nil && !mail.Is(err, mail.Canceled):
				t.Errorf("%v", err)
			case i > 0 && (err != nil || len(a.Records) != 2):
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
	wg.Wait()
	if n := s.Asked("example.test", "MX"); n > 2 {
		t.Errorf("asked %d times", n)
	}
}

func TestLookupAddrs(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	c := client(t, s, dns.Options{})
	a, err := dns.LookupAddrs(t.Context(), c, "mx1.example.test")
	if err != nil || !slices.Equal(a.IPv4, []netip.Addr{netip.MustParseAddr("192.0.2.11")}) ||
		!slices.Equal(a.IPv6, []netip.Addr{netip.MustParseAddr("2001:db8::11")}) {
		t.Errorf("%+v, %v", a, err)
	}
	if _, err = dns.LookupAddrs(t.Context(), c, "nope.test"); !mail.Is(err, mail.NotFound) {
		t.Errorf("%v", err)
	}
	s.Fail("mx2.example.test", "AAAA", dnstest.Fault{Rcode: 2})
	if a, err = dns.LookupAddrs(t.Context(), c, "mx2.example.test"); err != nil || len(a.IPv4) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	s.Fail("only4.wild.test", "A", dnstest.Fault{Rcode: 2})
	if _, err = dns.LookupAddrs(t.Context(), c, "only4.wild.test"); !mail.Is(err, mail.Unavailable) {
		t.Errorf("%v", err)
	}
}

func TestReverseName(t *testing.T) {
	t.Parallel()
	for ip, want := range map[string]string{
		"192.0.2.1":          "1.2.0.192.in-addr.arpa",
		"::ffff:192.0.2.1":   "1.2.0.192.in-addr.arpa",
		"2001:db8::567:89ab": "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		if got := dns.ReverseName(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %s", ip, got)
		}
	}
}

func TestServers(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	for _, bad := range []string{"dns.example.org", "127.0.0.1:99999", "", "1.2.3.4.5"} {
		if _, err := dns.New(dns.Options{Servers: []string{bad}}); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q is taken: %v", bad, err)
		}
	}
	for _, good := range []string{"127.0.0.1", "::1", "[::1]:5353", "localhost:5353", "192.0.2.1:53"} {
		if _, err := dns.New(dns.Options{Servers: []string{good}}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	// resolv.conf cannot name a port; that it is read shows in that the server on port 53 is not ours.
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.254\noptions timeout:1 trust-ad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := dns.New(dns.Options{ResolvConf: conf, Timeout: 100 * time.Millisecond, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lookup(t.Context(), "example.test", dns.A); !mail.Is(err, mail.Unavailable) {
		t.Errorf("%v", err)
	}
	if s.Asked("", "") != 0 {
		t.Error("the wrong server was asked")
	}
}

func TestTLSAData(t *testing.T) {
	t.Parallel()
	s := dnstest.Start(t, zone)
	a, err := client(t, s, dns.Options{CacheBytes: -1}).Lookup(t.Context(), "_25._tcp.mx1.example.test", dns.TLSA)
	want := bytes.Repeat([]byte{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}, 2)
	if err != nil || len(a.Records) != 1 || !bytes.Equal(a.Records[0].Cert.Data, want) {
		t.Errorf("%+v, %v", a, err)
	}
}
