package mta

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/route"
)

// addrRouter sends everything to hosts with these addresses, one host a line of them.
type addrRouter struct {
	fakeRouter
	hosts []string
}

func (r addrRouter) Route(_ context.Context, d mail.Domain, _ mail.Address) (route.Plan, error) {
	p := route.Plan{Domain: d}
	for i, addrs := range r.hosts {
		h := route.Host{Name: string(rune('a' + i)), Proto: route.SMTP, TLS: route.May}
		for a := range strings.FieldsSeq(addrs) {
			h.Addrs = append(h.Addrs, netip.AddrPortFrom(netip.MustParseAddr(a), 25))
		}
		p.Hosts = append(p.Hosts, h)
	}
	return p, nil
}

// visits notes the addresses that are connected to; those that ok does not like refuse.
type visits struct {
	f  *fixture
	ok func(addr string) bool
	mu sync.Mutex
	at []string
}

func (v *visits) open(ctx context.Context, h target, addr netip.AddrPort) (link, *refusal) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.at = append(v.at, addr.Addr().String())
	if !v.ok(addr.Addr().String()) {
		return nil, &refusal{Result: mail.Result{Scope: mail.ScopeHost, Host: h.Name, Code: 554, Text: "go away"}}
	}
	return v.f.world.openLink(ctx, h, addr)
}

// take gives what was visited since it was last asked.
func (v *visits) take() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	defer func() { v.at = nil }()
	return strings.Join(v.at, " ")
}

// TestFamilies: five addresses an attempt at most, both families among them where there are both; the next attempt
// begins with the family that was not refused.
func TestFamilies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		hosts         []string
		ok            []string // addresses that take mail
		first, second string   // what is visited at two attempts; no second where the first delivers
	}{
		{
			"six alone in front",
			[]string{"2001:db8::1 2001:db8::2 2001:db8::3", "2001:db8::4 2001:db8::5 2001:db8::6", "192.0.2.1 192.0.2.2"},
			nil,
			"2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4 192.0.2.1", "2001:db8::1 2001:db8::2 2001:db8::3 2001:db8::4 192.0.2.1",
		},
		{
			"four alone in front",
			[]string{"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6", "2001:db8::1"},
			[]string{"2001:db8::1"},
			"192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 2001:db8::1", "",
		},
		{"one family", []string{"192.0.2.1 192.0.2.2 192.0.2.3", "192.0.2.4 192.0.2.5 192.0.2.6"}, nil, "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5", "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5"},
		{"the other first", []string{"2001:db8::1 192.0.2.1 2001:db8::2"}, nil, "2001:db8::1 192.0.2.1 2001:db8::2", "192.0.2.1 2001:db8::1 2001:db8::2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			bubble(t, func(o *Options) { o.Router = addrRouter{hosts: c.hosts} }, func(t *testing.T, f *fixture) {
				v := &visits{f: f, ok: func(a string) bool { return slices.Contains(c.ok, a) }}
				f.MTA.open = v.open
				f.mustAccept("alice@postel.test", "a@remote.test")
				pass(time.Second)
				if got := v.take(); got != c.first {
					t.Errorf("first: %s", got)
				}
				pass(6 * time.Minute)
				if got := v.take(); got != c.second {
					t.Errorf("second: %s", got)
				}
			})
		})
	}
}

// TestWorkingFamilyStays: a host that refuses one family is spoken to by the other from then on, for other mail too.
func TestWorkingFamilyStays(t *testing.T) {
	t.Parallel()
	bubble(t, func(o *Options) {
		o.Router = addrRouter{hosts: []string{"2001:db8::1 192.0.2.1"}}
		o.Timeouts.Idle = time.Millisecond // no session serves two messages
	}, func(t *testing.T, f *fixture) {
		v := &visits{f: f, ok: func(a string) bool { return a == "192.0.2.1" }}
		f.MTA.open = v.open
		for _, want := range []string{"2001:db8::1 192.0.2.1", "192.0.2.1", "192.0.2.1"} {
			f.mustAccept("alice@postel.test", "a@remote.test")
			pass(time.Second)
			if got := v.take(); got != want {
				t.Errorf("visited %s, want %s", got, want)
			}
		}
	})
}
