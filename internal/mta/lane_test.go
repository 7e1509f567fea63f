package mta

import (
	"fmt"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/route"
)

// by has all mail but that for free.test take a route with bounds.
func by(l route.Limits) func(*Options) {
	return func(o *Options) { o.Router = fakeRouter{limits: &l} }
}

// relayedTo counts what hosts took, those of free.test apart.
func relayedTo(f *fixture) (bound, free int) {
	for _, d := range f.world.deliveries() {
		if d.host == "mx.free.test" {
			free++
		} else {
			bound++
		}
	}
	return bound, free
}

// TestRouteRate: no more messages a minute take a route than it allows, whatever number of domains they are for; none is
// tried in vain for it, and mail that goes another way does not wait.
func TestRouteRate(t *testing.T) {
	t.Parallel()
	bubble(t, by(route.Limits{PerMinute: 60}), func(t *testing.T, f *fixture) {
		for i := range 300 {
			f.mustAccept("x@postel.test", fmt.Sprintf("a@d%d.test", i%7))
		}
		f.mustAccept("x@postel.test", "a@free.test")
		pass(time.Second / 2)
		if _, free := relayedTo(f); free != 1 {
			t.Error("mail that goes another way waits")
		}
		for minute := 1; minute <= 5; minute++ {
			pass(time.Minute)
			if n, _ := relayedTo(f); n < minute*60-2 || n > minute*60+2 {
				t.Errorf("%d messages after %d minutes", n, minute)
			}
		}
		pass(5 * time.Second)
		f.world.mu.Lock()
		defer f.world.mu.Unlock()
		if n := len(f.items()); n != 0 || f.world.sent != 301 {
			t.Errorf("%d items are left, %d messages were sent", n, f.world.sent)
		}
	})
}

// TestRouteRateVERP: where each recipient gets a message of its own, each counts.
func TestRouteRateVERP(t *testing.T) {
	t.Parallel()
	bubble(t, by(route.Limits{PerMinute: 60}), func(t *testing.T, f *fixture) {
		for i := range 30 {
			var to []string
			for n := range 10 {
				to = append(to, fmt.Sprintf("u%d@d%d.test", n, i%7))
			}
			msg := f.message(sample)
			if _, err := f.Accept(t.Context(), Incoming{Envelope: envelope("x@postel.test", to...), Message: msg, Bulk: true, VERP: true}); err != nil {
				t.Fatal(err)
			}
			msg.Discard()
		}
		for minute := 1; minute <= 4; minute++ {
			pass(time.Minute)
			if n, _ := relayedTo(f); n < minute*60-12 || n > minute*60+12 {
				t.Errorf("%d messages after %d minutes", n, minute)
			}
		}
	})
}

// TestRouteSessions: the domains of a route share its sessions, also when one of them has a long backlog.
func TestRouteSessions(t *testing.T) {
	t.Parallel()
	bubble(t, by(route.Limits{Sessions: 3}), func(t *testing.T, f *fixture) {
		var most int
		slow := func(string, mail.Envelope, mail.Address) mail.Result {
			most = max(most, f.world.open)
			return reply(mail.ScopeMessage, 250, "taken")
		}
		f.world.reply = slow
		f.world.pace = func(string) time.Duration { return 200 * time.Millisecond }
		for range 200 {
			f.mustAccept("x@postel.test", "a@long.test")
		}
		pass(time.Second)
		f.mustAccept("x@postel.test", "a@short.test")
		pass(5 * time.Second)
		if got := counts(f.world.deliveries()); got["a@short.test"] != 1 || got["a@long.test"] == 200 {
			t.Errorf("after 5 s: %v", got)
		}
		pass(time.Minute)
		f.world.mu.Lock()
		defer f.world.mu.Unlock()
		if most != 3 || len(f.items()) != 0 {
			t.Errorf("%d sessions at once, %d items left", most, len(f.items()))
		}
	})
}

// TestRouteSchedule: a route has its own times.
func TestRouteSchedule(t *testing.T) {
	t.Parallel()
	limits := route.Limits{First: time.Minute, Max: 2 * time.Minute, Lifetime: 6 * time.Minute}
	bubble(t, by(limits), func(t *testing.T, f *fixture) {
		start := time.Now()
		at := map[string][]time.Duration{}
		f.world.refuse = func(host string) *mail.Result {
			at[host] = append(at[host], time.Since(start).Round(time.Second))
			r := reply(mail.ScopeHost, 451, host+": connection refused")
			return &r
		}
		f.mustAccept("alice@postel.test", "a@bound.test", "a@free.test")
		pass(7 * time.Minute)
		want := []time.Duration{0, time.Minute, 3 * time.Minute, 5 * time.Minute, 6 * time.Minute}
		if fmt.Sprint(at["mx.bound.test"]) != fmt.Sprint(want) {
			t.Errorf("by the route: %v, want %v", at["mx.bound.test"], want)
		}
		if fmt.Sprint(at["mx.free.test"]) != fmt.Sprint([]time.Duration{0, 5 * time.Minute}) {
			t.Errorf("the other: %v", at["mx.free.test"])
		}
		if got := f.mailbox(alice, "INBOX"); len(got) != 1 {
			t.Errorf("%d reports", len(got))
		}
	})
}

// TestNullSenderExpires: a report is tried for two days, other mail for five (RFC 5321 §4.5.4.1); nobody hears of the
// report's end (§6.1).
func TestNullSenderExpires(t *testing.T) {
	t.Parallel()
	lean(t, nil, func(t *testing.T, f *fixture) {
		f.world.refuse = func(host string) *mail.Result {
			r := reply(mail.ScopeHost, 451, host+": connection refused")
			return &r
		}
		null := f.mustAccept("", "a@one.test")
		f.mustAccept("alice@postel.test", "a@two.test")
		for _, c := range []struct {
			wait           time.Duration
			items, reports int
		}{
			{48*time.Hour - time.Minute, 2, 0},
			{2 * time.Minute, 1, 0},
			{72*time.Hour - 2*time.Minute, 1, 0},
			{2 * time.Minute, 0, 1},
		} {
			pass(c.wait)
			if n, r := len(f.items()), len(f.mailbox(alice, "INBOX")); n != c.items || r != c.reports {
				t.Errorf("%d items and %d reports, want %d and %d", n, r, c.items, c.reports)
			}
		}
		if ev := f.events(null.ID()); len(ev) < 2 || ev[len(ev)-1] != "dropped a@one.test" {
			t.Errorf("%q", ev)
		}
	})
}
