package route_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/route"
)

func from(s string) mail.Address {
	a, _ := mail.ParseAddress(s)
	return a
}

func sources(s string) (out []netip.Addr) {
	for w := range strings.FieldsSeq(s) {
		out = append(out, netip.MustParseAddr(w))
	}
	return out
}

// TestSenders: what a rule says of the domain counts more than what it says of the sender, the address more than its
// domain; the null sender has rules for everybody only.
func TestSenders(t *testing.T) {
	t.Parallel()
	rules := []route.Rule{
		{Domain: "a.test", Sender: "Boss@Ours.test", Host: "192.0.2.1"},
		{Domain: "a.test", Sender: "ours.test", Host: "192.0.2.2"},
		{Domain: "a.test", Host: "192.0.2.3"},
		{Sender: "boss@ours.test", Host: "192.0.2.4"},
		{Sender: "ours.test", Host: "192.0.2.5"},
		{Host: "192.0.2.6"},
	}
	r, _ := router(t, route.Options{Rules: rules})
	for _, c := range []struct {
		to           mail.Domain
		from, want   string
		parted       string
		withoutBoss  string // when the first rule is gone
		withoutATest string // when the first three are
	}{
		{"a.test", "boss@ours.test", "192.0.2.1", "boss@ours.test", "192.0.2.2", "192.0.2.4"},
		{"a.test", "BOSS@OURS.TEST", "192.0.2.1", "boss@ours.test", "192.0.2.2", "192.0.2.4"},
		{"a.test", "clerk@ours.test", "192.0.2.2", "ours.test", "192.0.2.2", "192.0.2.5"},
		{"a.test", "x@sub.ours.test", "192.0.2.3", "", "192.0.2.3", "192.0.2.6"},
		{"a.test", "", "192.0.2.3", "", "192.0.2.3", "192.0.2.6"},
		{"b.test", "boss@ours.test", "192.0.2.4", "boss@ours.test", "192.0.2.4", "192.0.2.4"},
		{"b.test", "clerk@ours.test", "192.0.2.5", "ours.test", "192.0.2.5", "192.0.2.5"},
		{"b.test", "x@y.test", "192.0.2.6", "", "192.0.2.6", "192.0.2.6"},
		{"b.test", "", "192.0.2.6", "", "192.0.2.6", "192.0.2.6"},
	} {
		for skip, want := range map[int]string{0: c.want, 1: c.withoutBoss, 3: c.withoutATest} {
			some, _ := router(t, route.Options{Rules: rules[skip:]})
			if p, err := some.Route(t.Context(), c.to, from(c.from)); err != nil || p.Hosts[0].Name != want {
				t.Errorf("%s to %s without %d: %+v %v, want %s", c.from, c.to, skip, p.Hosts, err, want)
			}
		}
		if got := r.Apart(c.to, from(c.from)); got != c.parted {
			t.Errorf("%s to %s is apart as %q, want %q", c.from, c.to, got, c.parted)
		}
	}
}

// TestSources: a route's connections come from its source, and go to addresses of its family alone; where there are none
// the mail waits for the operator. A route without a host leaves it to DNS.
func TestSources(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{Rules: []route.Rule{
		{Domain: "plain.test", Source: sources("198.51.100.1")},
		{Domain: "null.test", Source: sources("198.51.100.1")},
		{Domain: "nextmx.test", Source: sources("198.51.100.1 2001:db8:1::1"), TLS: route.Must},
		{Domain: "v4only.test", Source: sources("2001:db8:1::1")},
		{Domain: "[192.0.2.1]", Source: sources("2001:db8:1::1")},
		{Domain: "six.test", Host: "192.0.2.7", Source: sources("2001:db8:1::1")},
		{Sender: "news.test", Source: sources("198.51.100.9")},
		{Domain: "smart.test", Host: "smart.test", Source: sources("198.51.100.1")},
	}})
	for _, c := range []struct{ to, from, want string }{
		{"plain.test", "", "a.plain.test may [192.0.2.1:25 192.0.2.2:25] [198.51.100.1] b.plain.test may [192.0.2.3:25] [198.51.100.1]"},
		{"plain.test", "x@news.test", "a.plain.test may [192.0.2.1:25 192.0.2.2:25] [198.51.100.1] b.plain.test may [192.0.2.3:25] [198.51.100.1]"},
		{"nomx.test", "x@news.test", "nomx.test may [192.0.2.10:25] [198.51.100.9]"},
		{"nomx.test", "x@other.test", "nomx.test may [192.0.2.10:25] []"},
		{"null.test", "", "5.1.10"},
		{"nextmx.test", "", "a.plain.test must [[2001:db8::1]:25 192.0.2.1:25 192.0.2.2:25] [198.51.100.1 2001:db8:1::1]"},
		{"v4only.test", "", "4.4.4"},
		{"[192.0.2.1]", "", "4.4.4"},
		{"six.test", "", "4.4.4"},
		{"smart.test", "", "smart.test may [192.0.2.40:25] [198.51.100.1]"},
	} {
		p, err := r.Route(t.Context(), mail.Domain(c.to), from(c.from))
		var got []string
		for _, h := range p.Hosts {
			got = append(got, fmt.Sprint(h.Name, " ", h.TLS, " ", h.Addrs, " ", h.Source))
		}
		if err != nil {
			_, code, _ := strings.Cut(show(p, err), " ")
			got = []string{strings.Fields(code)[0]}
		}
		if text := strings.Join(got, " "); text != c.want {
			t.Errorf("%s from %s:\n got %s\nwant %s", c.to, c.from, text, c.want)
		}
		if byDNS := c.to != "six.test" && c.to != "smart.test"; p.Ruled == byDNS {
			t.Errorf("%s: the word is with a rule: %v", c.to, p.Ruled)
		}
	}
}

// TestSockets: a route may lead into a socket, but not into our own, and so may the way that an operator sets.
func TestSockets(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{OwnSockets: []string{"/run/ours.sock"}, Rules: []route.Rule{
		{Domain: "box.test", Host: "unix:/run/./lmtp", Proto: route.LMTP},
		{Domain: "loop.test", Host: "unix:/run/ours.sock"},
	}})
	for _, via := range []string{"", "unix:/run/lmtp", "unix:/run/other"} {
		p, err := r.Route(t.Context(), "box.test", mail.Address{})
		if via != "" {
			p, err = r.Via(t.Context(), "box.test", mail.Address{}, via)
		}
		h := p.Hosts[0]
		if want := strings.TrimPrefix(via, "unix:"); err != nil || want != "" && h.Socket != want || h.Proto != route.LMTP || h.TLS != route.Never || len(h.Addrs) > 0 || h.Name != "localhost" {
			t.Errorf("%s: %+v %v", via, h, err)
		}
	}
	if p, err := r.Route(t.Context(), "loop.test", mail.Address{}); !mail.Is(err, mail.Loop) {
		t.Errorf("%+v %v", p, err)
	}
	if via, err := route.CheckVia("unix:/run//lmtp"); via != "unix:/run/lmtp" || err != nil {
		t.Error(via, err)
	}
	for _, via := range []string{"unix:run/lmtp", "unix:", "unix:/" + strings.Repeat("x", 107), "unix:/a\x00b"} {
		if _, err := route.CheckVia(via); !mail.Is(err, mail.Invalid) {
			t.Errorf("%q is taken", via)
		}
	}
}

func TestMoreBadRules(t *testing.T) {
	t.Parallel()
	for _, rule := range []route.Rule{
		{Domain: "x.test", User: "u"},
		{Domain: "x.test", Port: 26},
		{Domain: "x.test", Proto: route.LMTP},
		{Sender: "a b", Host: "x.test"},
		{Sender: "a@b@c", Host: "x.test"},
		{Host: "x.test", Source: sources("192.0.2.1 192.0.2.2")},
		{Host: "x.test", Source: sources("0.0.0.0")},
		{Host: "x.test", Source: sources("::ffff:192.0.2.1")},
		{Host: "unix:/x", Source: sources("192.0.2.1")},
		{Host: "unix:/x", TLS: route.Must},
	} {
		if _, err := route.New(route.Options{Rules: []route.Rule{rule}}); !mail.Is(err, mail.Invalid) {
			t.Errorf("%+v is taken: %v", rule, err)
		}
	}
}

// TestSetRules: rules change while mail goes; what the configuration says stays and comes first, bounds that do not change
// stay the same.
func TestSetRules(t *testing.T) {
	t.Parallel()
	r, _ := router(t, route.Options{Rules: []route.Rule{{Domain: "a.test", Host: "192.0.2.1"}}})
	name := func(d mail.Domain) string {
		p, err := r.Route(t.Context(), d, mail.Address{})
		if err != nil {
			return err.Error()
		}
		return p.Hosts[0].Name
	}
	set := func(rules ...route.Rule) {
		t.Helper()
		if err := r.SetRules(rules); err != nil {
			t.Fatal(err)
		}
	}
	bounds := func() *route.Limits { return &route.Limits{Sessions: 2, First: time.Minute} }
	set(route.Rule{Domain: "a.test", Host: "192.0.2.9"}, route.Rule{Domain: "b.test", Host: "192.0.2.2", Limits: bounds()})
	if name("a.test") != "192.0.2.1" || name("b.test") != "192.0.2.2" {
		t.Error(name("a.test"), name("b.test"))
	}
	first := r.Limits("b.test", mail.Address{})
	set(route.Rule{Domain: "b.test", Host: "192.0.2.3", Limits: bounds()})
	if name("b.test") != "192.0.2.3" || r.Limits("b.test", mail.Address{}) != first {
		t.Error(name("b.test"))
	}
	if err := r.SetRules([]route.Rule{{Domain: "b.test", Host: "a b"}}); !mail.Is(err, mail.Invalid) || name("b.test") != "192.0.2.3" {
		t.Error(err, name("b.test"))
	}
	set()
	if name("a.test") != "192.0.2.1" || strings.HasPrefix(name("b.test"), "192") {
		t.Error(name("a.test"), name("b.test"))
	}
}
