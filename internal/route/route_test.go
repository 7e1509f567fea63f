package route_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
	"postel/internal/route"
)

const zone = `
plain.test      MX 20 b.plain.test
plain.test      MX 10 a.plain.test
a.plain.test    A    192.0.2.1
a.plain.test    A    192.0.2.2
a.plain.test    AAAA 2001:db8::1
b.plain.test    A    192.0.2.3

nomx.test       A    192.0.2.10
nothing.test    TXT  "nobody home"
null.test       MX 0 .
nullplus.test   MX 0 .
nullplus.test   MX 10 a.plain.test
deadmx.test     MX 10 gone.deadmx.test
deadmx.test     TXT "x"
nextmx.test     MX 10 gone.nextmx.test
nextmx.test     MX 20 a.plain.test
alias.test      CNAME plain.test
aliasmx.test    MX 10 c.aliasmx.test
c.aliasmx.test  CNAME b.plain.test
ipmx.test       MX 10 192.0.2.77.

local.test      MX 10 lo.local.test
lo.local.test   A 127.0.0.1
lo.local.test   AAAA ::1
mixed.test      MX 10 m.mixed.test
m.mixed.test    A 127.0.0.1
m.mixed.test    A 0.0.0.0
m.mixed.test    A 224.0.0.1
m.mixed.test    A 255.255.255.255
m.mixed.test    AAAA fe80::1
m.mixed.test    AAAA ::ffff:127.0.0.9
m.mixed.test    A 192.0.2.20
silly.test      A 0.0.0.0

us.test         MX 10 better.us.test
us.test         MX 20 mx.ours.test
us.test         MX 20 equal.us.test
us.test         MX 30 worse.us.test
*.us.test       A 192.0.2.30
onlyus.test     MX 10 mx.ours.test
onlyus.test     MX 20 worse.us.test
byaddr.test     MX 10 better.us.test
byaddr.test     MX 20 other.name.test
byaddr.test     MX 30 worse.us.test
other.name.test A 192.0.2.25
byalias.test    MX 10 ali.name.test
ali.name.test   CNAME mx.ours.test
mx.ours.test    A 192.0.2.26
self.ours.test  A 192.0.2.25

smart.test      A 192.0.2.40
tricky.test     A 192.0.2.25
flaky.test      MX 10 ok.flaky.test
ok.flaky.test   A 192.0.2.50
half.test       MX 10 fail.half.test
half.test       MX 20 a.plain.test
allfail.test    MX 10 fail.half.test
allfail.test    MX 20 gone.deadmx.test
fail.half.test  A 192.0.2.60
v4only.test     MX 10 v4.v4only.test
v4.v4only.test  A 192.0.2.61
usflaky.test    MX 10 fail.half.test
usflaky.test    MX 20 mx.ours.test
`

func router(t *testing.T, o route.Options) (*route.Router, *dnstest.Server) {
	t.Helper()
	s := dnstest.Start(t, zone)
	c, err := dns.New(dns.Options{Servers: []string{s.Addr}, Timeout: 300 * time.Millisecond, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	o.Resolver = c
	o.Names = []string{"mx.ours.test", "Self.Ours.Test."}
	if o.Own == nil {
		o.Own = func(ap netip.AddrPort) bool { return ap == netip.MustParseAddrPort("192.0.2.25:25") }
	}
	if o.Shuffle == nil {
		o.Shuffle = func(int, func(i, j int)) {}
	}
	r, err := route.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r, s
}

func show(p route.Plan, err error) string {
	var b strings.Builder
	for _, h := range p.Hosts {
		fmt.Fprintf(&b, "%d %s", h.Pref, h.Name)
		for _, a := range h.Addrs {
			fmt.Fprintf(&b, " %s", a)
		}
		if h.Proto != route.SMTP || h.TLS != route.May || h.User != "" {
			fmt.Fprintf(&b, " %s %s %s:%s", h.Proto, h.TLS, h.User, h.Password)
		}
		b.WriteString("; ")
	}
	var e *mail.Error
	if errors.As(err, &e) {
		fmt.Fprintf(&b, "%d %s %s", route.ReplyCode(err), e.Code, e.Kind)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestRoute(t *testing.T) {
	t.Parallel()
	r, s := router(t, route.Options{})
	s.Fail("flaky.test", "MX", dnstest.Fault{Rcode: 2})
	s.Fail("fail.half.test", "", dnstest.Fault{Rcode: 2})
	s.Fail("v4.v4only.test", "AAAA", dnstest.Fault{Rcode: 2})
	const a = "a.plain.test [2001:db8::1]:25 192.0.2.1:25 192.0.2.2:25"
	for domain, want := range map[mail.Domain]string{
		"plain.test":                "10 " + a + "; 20 b.plain.test 192.0.2.3:25",
		"nomx.test":                 "0 nomx.test 192.0.2.10:25",
		"nothing.test":              "550 5.1.2 not found",
		"nxdomain.test":             "550 5.1.2 not found",
		"null.test":                 "556 5.1.10 denied",
		"nullplus.test":             "10 " + a,
		"deadmx.test":               "550 5.4.4 not found",
		"nextmx.test":               "20 " + a,
		"alias.test":                "10 " + a + "; 20 b.plain.test 192.0.2.3:25",
		"aliasmx.test":              "10 c.aliasmx.test 192.0.2.3:25",
		"ipmx.test":                 "550 5.4.4 not found",
		"local.test":                "550 5.4.6 loop",
		"mixed.test":                "10 m.mixed.test 192.0.2.20:25",
		"silly.test":                "550 5.4.6 loop",
		"us.test":                   "10 better.us.test 192.0.2.30:25",
		"onlyus.test":               "550 5.4.6 loop",
		"byaddr.test":               "10 better.us.test 192.0.2.30:25",
		"byalias.test":              "550 5.4.6 loop",
		"mx.ours.test":              "550 5.4.6 loop",
		"self.ours.test":            "550 5.4.6 loop",
		"tricky.test":               "550 5.4.6 loop",
		"flaky.test":                "451 4.4.3 unavailable",
		"half.test":                 "20 " + a,
		"allfail.test":              "451 4.4.3 unavailable",
		"usflaky.test":              "451 4.4.3 unavailable",
		"v4only.test":               "10 v4.v4only.test 192.0.2.61:25",
		"[192.0.2.9]":               "0 192.0.2.9 192.0.2.9:25",
		"[ipv6:2001:db8::9]":        "0 2001:db8::9 [2001:db8::9]:25",
		"[127.0.0.1]":               "550 5.4.6 loop",
		"[ipv6:::1]":                "550 5.4.6 loop",
		"[ipv6:::ffff:127.0.0.1]":   "550 5.4.6 loop",
		"[192.0.2.25]":              "550 5.4.6 loop",
		"[0.0.0.0]":                 "550 5.4.6 loop",
		"x.onion":                   "550 5.1.2 not found",
		mail.Domain("bad name.com"): "550 5.1.2 not found",
	} {
		p, err := r.Route(t.Context(), domain, mail.Address{})
		if got := show(p, err); got != want {
			t.Errorf("%s:\n got %s\nwant %s", domain, got, want)
		}
		if len(p.Steps) == 0 && domain != "bad name.com" {
			t.Errorf("%s: nothing explains it", domain)
		}
		if (err == nil) != (len(p.Hosts) > 0) {
			t.Errorf("%s: %d hosts and %v", domain, len(p.Hosts), err)
		}
	}
}

// TestNoFallback sees that a failed MX look-up never leads to the domain's own addresses.
func TestNoFallback(t *testing.T) {
	t.Parallel()
	r, s := router(t, route.Options{})
	s.Fail("nomx.test", "MX", dnstest.Fault{Drop: true})
	if got := show(r.Route(t.Context(), "nomx.test", mail.Address{})); got != "451 4.4.3 unavailable" {
		t.Error(got)
	}
	if s.Asked("nomx.test", "A") != 0 {
		t.Error("its addresses were looked up")
	}
}

func TestLoopbackWhereAllowed(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{
		AllowLoopback: true, Port: 2525,
		Own: route.OwnListeners([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1025")}),
	})
	if got := show(r.Route(t.Context(), "local.test", mail.Address{})); got != "10 lo.local.test [::1]:2525 127.0.0.1:2525" {
		t.Error(got)
	}
	r, _ = router(t, route.Options{
		AllowLoopback: true, Port: 1025,
		Own: route.OwnListeners([]netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1025")}),
	})
	if got := show(r.Route(t.Context(), "local.test", mail.Address{})); got != "550 5.4.6 loop" {
		t.Error(got)
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	r, s := router(t, route.Options{Rules: []route.Rule{
		{Domain: "plain.test", Host: "Smart.Test", Port: 587, TLS: route.Must, User: "u", Password: "p"},
		{Domain: "null.test", Host: "127.0.0.1", Port: 2424, Proto: route.LMTP},
		{Domain: "onlyus.test", Host: "[IPv6:2001:db8::7]", Proto: route.LMTP, TLS: route.Never},
		{Domain: "us.test", Host: "tricky.test"},
		{Domain: "alias.test", Host: "gone.nextmx.test"},
		{Domain: "mixed.test", Host: "0.0.0.0"},
		{Domain: "half.test", Host: "fail.half.test"},
		{Domain: "deadmx.test", Host: "nothing.test"},
		{Host: "[192.0.2.99]"},
	}})
	s.Fail("fail.half.test", "", dnstest.Fault{Rcode: 2})
	for domain, want := range map[mail.Domain]string{
		"plain.test":    "0 smart.test 192.0.2.40:587 smtp must u:p",
		"null.test":     "0 127.0.0.1 127.0.0.1:2424 lmtp may :",
		"onlyus.test":   "0 2001:db8::7 [2001:db8::7]:24 lmtp never :",
		"us.test":       "550 5.4.6 loop",
		"alias.test":    "550 5.4.4 not found",
		"mixed.test":    "550 5.4.4 not found",
		"half.test":     "451 4.4.3 unavailable",
		"deadmx.test":   "550 5.4.4 not found",
		"nxdomain.test": "0 192.0.2.99 192.0.2.99:25",
		"[192.0.2.1]":   "0 192.0.2.99 192.0.2.99:25",
	} {
		p, err := r.Route(t.Context(), domain, mail.Address{})
		if got := show(p, err); got != want || !p.Ruled {
			t.Errorf("%s:\n got %s\nwant %s", domain, got, want)
		}
		if j, err := json.Marshal(p); err != nil || strings.Contains(string(j), `"p"`) {
			t.Errorf("the password shows, or %v: %s", err, j)
		}
	}
}

func TestBadRules(t *testing.T) {
	t.Parallel()
	for _, rules := range [][]route.Rule{
		{{Host: ""}},
		{{Host: "a b"}},
		{{Host: "[192.0.2.1"}},
		{{Host: "x.test", Proto: "uucp"}},
		{{Host: "x.test", TLS: "maybe"}},
		{{Host: "x.test"}, {Host: "y.test"}},
	} {
		if _, err := route.New(route.Options{Rules: rules}); !mail.Is(err, mail.Invalid) {
			t.Errorf("%+v is taken: %v", rules, err)
		}
	}
}

// TestVia: an operator's host is looked up by its addresses alone, is spoken to as a rule to it says, and is never ourselves.
func TestVia(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{
		Rules: []route.Rule{
			{Domain: "other.test", Host: "[192.0.2.99]", Port: 587, TLS: route.Must, User: "u", Password: "p"},
			{Domain: "third.test", Host: "nomx.test", Port: 2424, Proto: route.LMTP},
		},
		Own: func(ap netip.AddrPort) bool { return ap == netip.MustParseAddrPort("192.0.2.10:2525") },
	})
	for via, want := range map[string]string{
		"nomx.test":                "nomx.test [192.0.2.10:25] smtp may ",
		"NoMX.test:2424":           "nomx.test [192.0.2.10:2424] lmtp may ",
		"192.0.2.99:587":           "192.0.2.99 [192.0.2.99:587] smtp must u",
		"192.0.2.99":               "192.0.2.99 [192.0.2.99:25] smtp may ",
		"[IPv6:2001:db8::7]":       "2001:db8::7 [[2001:db8::7]:25] smtp may ",
		"[2001:db8::7]:26":         "2001:db8::7 [[2001:db8::7]:26] smtp may ",
		"nomx.test:2525":           "loop",
		"plain.test":               "not found", // it has MXs, which are not asked for
		"gone.deadmx.test":         "not found",
		"two words":                "invalid",
		"nomx.test:0":              "invalid",
		"nomx.test:smtp":           "invalid",
		"":                         "invalid",
		"nomx.test:25:25":          "invalid",
		"[192.0.2.99":              "invalid",
		"nomx.test\r\nX-Evil: yes": "invalid",
	} {
		p, err := r.Via(t.Context(), "plain.test", mail.Address{}, via)
		got := mail.KindOf(err).String()
		if err == nil {
			h := p.Hosts[0]
			got = fmt.Sprint(h.Name, " ", h.Addrs, " ", h.Proto, " ", h.TLS, " ", h.User)
		}
		if got != want {
			t.Errorf("%q: %s, want %s (%v)", via, got, want, err)
		}
		full, err := route.CheckVia(via)
		if (want == "invalid") != (err != nil) {
			t.Errorf("%q: %s %v", via, full, err)
		}
		if again, _ := route.CheckVia(full); err == nil && again != full {
			t.Errorf("%q became %q", full, again)
		}
	}
}

// TestShuffle sees equal preferences change places and unequal ones stay.
func TestShuffle(t *testing.T) {
	t.Parallel()
	var z strings.Builder
	for i := range 4 {
		fmt.Fprintf(&z, "s.test MX 10 e%d.s.test\ns.test MX 20 w%d.s.test\n", i, i)
	}
	z.WriteString("*.s.test A 192.0.2.1\n")
	s := dnstest.Start(t, z.String())
	c, err := dns.New(dns.Options{Servers: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := route.New(route.Options{Resolver: c})
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]bool{}
	for range 100 {
		p, err := r.Route(t.Context(), "s.test", mail.Address{})
		if err != nil || len(p.Hosts) != 8 {
			t.Fatalf("%+v, %v", p, err)
		}
		for i, h := range p.Hosts {
			if (i < 4) != (h.Pref == 10) {
				t.Fatalf("%d at place %d", h.Pref, i)
			}
		}
		first[p.Hosts[0].Name] = true
	}
	if len(first) != 4 {
		t.Errorf("only %v came first", first)
	}
}

// TestManyMX bounds what a hostile zone makes us look up and try.
func TestManyMX(t *testing.T) {
	t.Parallel()
	var z strings.Builder
	for i := range 100 {
		fmt.Fprintf(&z, "many.test MX %d h%d.many.test\nh0.many.test A 192.0.2.%d\n", i, i, i+1)
	}
	z.WriteString("*.many.test A 192.0.2.1\n")
	s := dnstest.Start(t, z.String())
	c, err := dns.New(dns.Options{Servers: []string{s.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := route.New(route.Options{Resolver: c})
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Route(t.Context(), "many.test", mail.Address{})
	if err != nil || len(p.Hosts) != 16 || len(p.Hosts[0].Addrs) != 16 {
		t.Errorf("%d hosts, %v", len(p.Hosts), err)
	}
	if n := s.Asked("", "A"); n != 17 { // the first again over TCP
		t.Errorf("%d look-ups", n)
	}
}

func TestAuthentic(t *testing.T) {
	t.Parallel()
	r, s := router(t, route.Options{})
	s.Authentic("plain.test")
	p, err := r.Route(t.Context(), "plain.test", mail.Address{})
	if err != nil || !p.Authentic || !p.Hosts[0].Authentic {
		t.Errorf("%+v, %v", p, err)
	}
	if p, err = r.Route(t.Context(), "alias.test", mail.Address{}); err != nil || p.Authentic || !p.Hosts[0].Authentic {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestCanceled(t *testing.T) {
	t.Parallel()
	r, s := router(t, route.Options{})
	s.Fail("plain.test", "MX", dnstest.Fault{Drop: true})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Route(ctx, "plain.test", mail.Address{}); !mail.Is(err, mail.Canceled) || route.ReplyCode(err) != 451 {
		t.Error(err)
	}
}

func TestOwnListeners(t *testing.T) {
	t.Parallel()
	own := route.OwnListeners([]netip.AddrPort{
		netip.MustParseAddrPort("0.0.0.0:25"),
		netip.MustParseAddrPort("127.0.0.1:1025"),
		netip.MustParseAddrPort("[2001:db8::1]:587"),
	})
	for addr, want := range map[string]bool{
		"127.0.0.1:25": true, "127.0.0.9:25": true, "0.0.0.0:25": true, "[::ffff:127.0.0.1]:25": true, "[::1]:25": true,
		"192.0.2.1:25": false, "127.0.0.1:26": false,
		"127.0.0.1:1025": true, "0.0.0.0:1025": true, "127.0.0.2:1025": false,
		"[2001:db8::1]:587": true, "[2001:db8::2]:587": false,
	} {
		if got := own(netip.MustParseAddrPort(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
}

// TestExplanation is what "postel mx" shows.
func TestExplanation(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{})
	p, err := r.Route(t.Context(), "us.test", mail.Address{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "%s (%s)\n", s.Text, s.Clause)
	}
	want := `MX: 10 better.us.test, 20 mx.ours.test, 20 equal.us.test, 30 worse.us.test (RFC 5321 §5.1)
mx.ours.test is this server: hosts of preference 20 and above are dropped, so that mail does not go in a circle (RFC 5321 §5.1)
better.us.test has 192.0.2.30:25 ()
`
	if b.String() != want {
		t.Errorf("got\n%swant\n%s", b.String(), want)
	}
}

// TestLimits: the domains of one rule share its bounds, and a plan tells of them.
func TestLimits(t *testing.T) {
	t.Parallel()
	bounds := &route.Limits{PerMinute: 60, Sessions: 3, First: time.Minute, Max: time.Hour, Lifetime: 48 * time.Hour}
	r, _ := router(t, route.Options{Rules: []route.Rule{
		{Host: "[192.0.2.99]", Limits: bounds},
		{Domain: "free.test", Host: "[192.0.2.98]"},
	}})
	if r.Limits("a.test", mail.Address{}) != bounds || r.Limits("b.test", mail.Address{}) != bounds || r.Limits("free.test", mail.Address{}) != nil {
		t.Error("whose bounds are whose?")
	}
	p, err := r.Route(t.Context(), "a.test", mail.Address{})
	if err != nil || !strings.Contains(fmt.Sprint(p.Steps), "60 messages a minute, 3 sessions at once, tried again after 1m0s") {
		t.Error(err, p.Steps)
	}
}
