package tlspolicy

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
	"postel/internal/tlspolicy/mtasts"
)

// policies are those of MTA-STS that domains have.
type policies struct {
	of    map[mail.Domain]mtasts.Policy
	asked []mail.Domain
}

func (p *policies) Policy(_ context.Context, d mail.Domain) mtasts.Found {
	p.asked = append(p.asked, d)
	policy, ok := p.of[d]
	if !ok {
		return mtasts.Found{Why: "no record"}
	}
	return mtasts.Found{Entry: mtasts.Entry{Policy: policy}, Valid: true, Why: "kept"}
}

// world is a Keeper with its own clock.
type world struct {
	*Keeper
	now      time.Time
	dns      *dnstest.Server
	policies *policies
	memory   Volatile
}

func start(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Now(), policies: &policies{of: map[mail.Domain]mtasts.Policy{}}}
	sum := strings.Repeat("00", 32)
	w.dns = dnstest.Start(t, `
mx.dane.test A 192.0.2.1
_25._tcp.mx.dane.test TLSA 3 1 1 `+sum+`
mx.useless.test A 192.0.2.1
_25._tcp.mx.useless.test TLSA 1 1 1 `+sum+`
mx.broken.test A 192.0.2.1
mx.bare.test A 192.0.2.1
mx.plain.test A 192.0.2.1
`)
	w.dns.Authentic("dane.test", "useless.test", "broken.test", "bare.test")
	w.dns.Fail("_25._tcp.mx.broken.test", "TLSA", dnstest.Fault{Rcode: 2})
	r, err := dns.New(dns.Options{Servers: []string{w.dns.Addr}, Rounds: 1, CacheBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	w.Keeper = New(Options{Resolver: r, Policies: w.policies, Memory: &w.memory, Clock: func() time.Time { return w.now }})
	return w
}

// decide gives a decision in a few words.
func (w *world) decide(t *testing.T, d mail.Domain, authentic bool, host string) string {
	t.Helper()
	return show(w.Destination(t.Context(), d, "", authentic).Host(t.Context(), host))
}

func show(dec Decision) string {
	s := dec.Level.String()
	if dec.Refused != nil {
		s = "refused " + dec.Refused.Code.String()
	}
	for _, f := range []struct {
		on   bool
		name string
	}{{dec.Testing, "testing"}, {dec.Vouched, "vouched"}, {dec.ClearAfterFailure(), "fallback"}} {
		if f.on {
			s += " " + f.name
		}
	}
	return s
}

// TestDecision: TLSA records before MTA-STS before what is offered.
func TestDecision(t *testing.T) {
	t.Parallel()
	const none, testing, enforce = mtasts.None, mtasts.Testing, mtasts.Enforce
	for _, c := range []struct {
		domain    mail.Domain
		authentic bool
		mode      mtasts.Mode
		mx        string
		want      string
		clause    string
	}{
		{"plain.test", false, "", "", "may", "RFC 7435 §3"},
		{"plain.test", true, "", "", "may vouched", "RFC 7672 §2.2.2"},
		{"dane.test", true, "", "", "tlsa vouched", "RFC 7672 §2.2"},
		{"dane.test", false, "", "", "may", "RFC 7672 §2.2.1"},
		{"useless.test", true, "", "", "encrypted vouched", "RFC 7672 §2.2"},
		{"broken.test", true, "", "", "refused 4.4.3 vouched", "RFC 7672 §2.1.2"},
		{"bare.test", true, "", "", "may vouched", "RFC 7435 §3"},
		{"plain.test", false, none, "", "may", "RFC 8461 §5"},
		{"plain.test", false, testing, "mx.plain.test", "may testing vouched", "RFC 8461 §5"},
		{"plain.test", false, testing, "other.test", "may", "RFC 8461 §5"},
		{"plain.test", false, enforce, "*.plain.test", "webpki vouched", "RFC 8461 §5"},
		{"plain.test", false, enforce, "other.test", "refused 4.7.0", "RFC 8461 §5"},
		{"bare.test", true, enforce, "mx.bare.test", "webpki vouched", "RFC 8461 §5"},
		{"dane.test", true, enforce, "other.test", "tlsa vouched", "RFC 7672 §2.2"}, // RFC 8461 §2
		{"useless.test", true, enforce, "mx.useless.test", "webpki vouched", "RFC 8461 §5"},
		{"useless.test", true, testing, "mx.useless.test", "encrypted testing vouched", "RFC 8461 §5"},
		{"broken.test", true, enforce, "mx.broken.test", "refused 4.4.3 vouched", "RFC 7672 §2.1.2"},
		{"[192.0.2.1]", false, "", "", "may", "RFC 7435 §3"},
	} {
		w := start(t)
		if c.mode != "" {
			w.policies.of[c.domain] = mtasts.Policy{Mode: c.mode, MX: []string{c.mx}, MaxAge: time.Hour}
		}
		dec := w.Destination(t.Context(), c.domain, "", c.authentic).Host(t.Context(), "mx."+string(c.domain))
		if got := show(dec); got != c.want {
			t.Errorf("%s %t %s %s: %s, want %s", c.domain, c.authentic, c.mode, c.mx, got, c.want)
		}
		if !strings.Contains(fmt.Sprint(dec.Steps), c.clause) {
			t.Errorf("%s: %v without %s", c.domain, dec.Steps, c.clause)
		}
	}
}

// TestNames: of which names one must be in the certificate (RFC 7672 §3.2.2).
func TestNames(t *testing.T) {
	t.Parallel()
	w := start(t)
	dec := w.Destination(t.Context(), "alias.test", "dane.test", true).Host(t.Context(), "mx.dane.test")
	if got := strings.Join(dec.Names, " "); got != "mx.dane.test alias.test dane.test" {
		t.Error(got)
	}
}

// TestClearLater: TLS that fails is done without at the next attempt at the earliest, and so is TLS that is not offered
// any more; when it works again it is wanted again.
func TestClearLater(t *testing.T) {
	t.Parallel()
	w := start(t)
	const d, host = "plain.test", "mx.plain.test"
	step := func(name, want string, demands bool, o Outcome) {
		t.Helper()
		dec := w.Destination(t.Context(), d, "", false).Host(t.Context(), host)
		if _, yes := dec.Demands(); show(dec) != want || yes != demands {
			t.Fatalf("%s: %s, demands %t", name, show(dec), yes)
		}
		w.Learn(t.Context(), dec, o)
	}
	step("a stranger in clear", "may", false, InClear)
	if r, _ := w.memory.Load(t.Context(), d); !r.Empty() {
		t.Errorf("remembered: %+v", r)
	}
	step("its TLS fails", "may", false, Broke)
	step("the next attempt", "may fallback", false, InClear)
	w.now = w.now.Add(6 * 24 * time.Hour)
	step("still", "may fallback", false, InClear)
	w.now = w.now.Add(6 * 24 * time.Hour)
	step("it works", "may fallback", false, Secured)
	step("from now on", "may", true, Secured)
	step("not offered any more", "may", true, Broke)
	step("the next attempt", "may fallback", false, InClear)
	w.now = w.now.Add(8 * 24 * time.Hour)
	step("long ago", "may", false, Secured)
	w.now = w.now.Add(31 * 24 * time.Hour)
	step("very long ago", "may", false, InClear)
}

// TestDowngrade: a domain whose host TLSA records verified is not sent to without DNSSEC, for two days; that DNSSEC
// proves that there are no records any more is no downgrade.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	w := start(t)
	dec := w.Destination(t.Context(), "dane.test", "", true).Host(t.Context(), "mx.dane.test")
	w.Learn(t.Context(), dec, Secured)
	if got := w.decide(t, "dane.test", false, "mx.evil.test"); got != "refused 4.7.5" {
		t.Error(got)
	}
	if got := w.decide(t, "dane.test", true, "mx.bare.test"); got != "may vouched" {
		t.Error(got)
	}
	w.now = w.now.Add(49 * time.Hour)
	if got := w.decide(t, "dane.test", false, "mx.evil.test"); got != "may" {
		t.Error(got)
	}
}

// TestVerifiedIsNotDoneWithout: where verification is a must, no failure leads to clear.
func TestVerifiedIsNotDoneWithout(t *testing.T) {
	t.Parallel()
	w := start(t)
	w.policies.of["plain.test"] = mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.plain.test"}, MaxAge: time.Hour}
	for domain, authentic := range map[mail.Domain]bool{"plain.test": false, "dane.test": true, "useless.test": true} {
		for range 3 {
			dec := w.Destination(t.Context(), domain, "", authentic).Host(t.Context(), "mx."+string(domain))
			if _, yes := dec.Demands(); !yes || dec.ClearAfterFailure() {
				t.Errorf("%s: %s", domain, show(dec))
			}
			w.Learn(t.Context(), dec, Broke)
		}
	}
}

// TestTend forgets what does not count any more, and renews what is about to lapse where there was mail lately.
func TestTend(t *testing.T) {
	t.Parallel()
	w := start(t)
	_ = w.memory.Change(t.Context(), "old.test", false, func(r *Remembered) {
		r.DANE = w.now.Add(-keepDANE - 1)
		r.STS = mtasts.Entry{ID: "1", Fetched: w.now.Add(-2 * time.Hour), Policy: mtasts.Policy{MaxAge: time.Hour}}
		r.host("mx.old.test", func(s *Seen) { s.Encrypted = w.now.Add(-keepSeen - 1) })
	})
	_ = w.memory.Change(t.Context(), "new.test", false, func(r *Remembered) {
		r.STS = mtasts.Entry{ID: "1", Fetched: w.now, Policy: mtasts.Policy{MaxAge: time.Hour}}
		for i := range 40 {
			r.host(fmt.Sprintf("mx%d.new.test", i), func(s *Seen) { s.Encrypted = w.now.Add(-time.Duration(50-i) * time.Hour) })
		}
	})
	for d, at := range map[mail.Domain]time.Time{"lapses.test": w.now.Add(-time.Hour), "idle.test": w.now.Add(-keepSeen - 1)} {
		_ = w.memory.Change(t.Context(), d, false, func(r *Remembered) {
			r.STS = mtasts.Entry{ID: "1", Fetched: w.now.Add(-99 * time.Hour), Policy: mtasts.Policy{MaxAge: 100 * time.Hour}}
			r.host("mx", func(s *Seen) { s.Encrypted = at })
		})
	}
	if err := w.Tend(t.Context()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.policies.asked)
	if got := fmt.Sprint(w.policies.asked); got != "[lapses.test new.test]" {
		t.Errorf("renewed: %s", got)
	}
	if r, _ := w.memory.Load(t.Context(), "old.test"); !r.Empty() {
		t.Errorf("%+v", r)
	}
	r, _ := w.memory.Load(t.Context(), "new.test")
	if _, first := r.Hosts["mx0.new.test"]; r.STS.ID != "1" || len(r.Hosts) != maxRemembered || first {
		t.Errorf("%+v", r)
	}
}

// TestRow: what is kept is read again, and nothing else is.
func TestRow(t *testing.T) {
	t.Parallel()
	now := time.Now().UTC().Truncate(time.Second)
	r := Remembered{
		STS:   mtasts.Entry{ID: "1", Fetched: now, Policy: mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"*.a.test"}, MaxAge: time.Hour}},
		DANE:  now,
		Hosts: map[string]Seen{"mx.a.test": {Encrypted: now}, "mx.b.test": {Failed: now}},
	}
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Decode(b); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%+v, %v: %s", got, err, b)
	}
	for _, bad := range []string{"", "{}", `{"v":2}`, "[]"} {
		if _, err := Decode([]byte(bad)); !mail.Is(err, mail.Invalid) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func BenchmarkDecision(b *testing.B) {
	s := dnstest.Start(b, "mx.dane.test A 192.0.2.1\n_25._tcp.mx.dane.test TLSA 3 1 1 "+strings.Repeat("00", 32)+"\n")
	s.Authentic("dane.test")
	r, err := dns.New(dns.Options{Servers: []string{s.Addr}})
	if err != nil {
		b.Fatal(err)
	}
	k := New(Options{Resolver: r, Policies: &policies{}, Memory: new(Volatile)})
	b.ReportAllocs()
	for b.Loop() {
		dec := k.Destination(b.Context(), "dane.test", "", true).Host(b.Context(), "mx.dane.test")
		if dec.Level != TLSA {
			b.Fatal(dec.Level)
		}
		k.Learn(b.Context(), dec, Secured)
	}
}
