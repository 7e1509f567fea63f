package mta

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/vfs"
)

func TestRelay(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.start()
	msg := f.mustAccept("x@postel.test", "Carol@remote.test", "dave@remote.test", "eve@other.test")
	until(t, "all is sent", func() bool { return len(f.items()) == 0 })
	got := f.world.deliveries()
	slices.SortFunc(got, func(a, b delivered) int { return strings.Compare(a.rcpt, b.rcpt) })
	body := "Received: by test\r\n" + sample
	want := []delivered{
		{"mx.remote.test", "Carol@remote.test", "x@postel.test", body},
		{"mx.remote.test", "dave@remote.test", "x@postel.test", body},
		{"mx.other.test", "eve@other.test", "x@postel.test", body},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if f.world.sent != 2 {
		t.Error(f.world.sent, "transactions")
	}
	until(t, "the events", func() bool {
		ev := f.events(msg.ID())
		return slices.Contains(ev, "relayed Carol@remote.test") && slices.Contains(ev, "relayed eve@other.test")
	})
	if f.queue.Leased() != 0 {
		t.Error("leases left")
	}
	f.verify()
}

// TestSessionReuse: many messages to one destination go over few sessions, never more at once than allowed.
func TestSessionReuse(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) { o.Concurrency = Concurrency{Start: 2, Most: 4, Window: 40} })
	f.start()
	const n = 300
	for i := range n {
		f.mustAccept("x@postel.test", fmt.Sprintf("u%d@remote.test", i))
	}
	until(t, "all is sent", func() bool { return len(f.items()) == 0 })
	seen := map[string]bool{}
	for _, d := range f.world.deliveries() {
		if seen[d.rcpt] {
			t.Error(d.rcpt, "twice")
		}
		seen[d.rcpt] = true
	}
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if len(seen) != n || f.world.opened > n/4 || f.world.most > 4 {
		t.Errorf("%d delivered over %d sessions, %d at once", len(seen), f.world.opened, f.world.most)
	}
}

// TestStartFindsWork: what was queued before Run, in more destinations than sessions, is delivered.
func TestStartFindsWork(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) { o.Concurrency = Concurrency{All: 3, Window: 8} })
	for i := range 60 {
		f.mustAccept("x@postel.test", fmt.Sprintf("u@d%d.test", i))
	}
	f.start()
	until(t, "all is sent", func() bool { return len(f.items()) == 0 })
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	if len(f.world.got) != 60 || f.world.most > 3 {
		t.Errorf("%d delivered, %d sessions at once", len(f.world.got), f.world.most)
	}
}

func TestNextHost(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.Router = fakeRouter{hosts: map[mail.Domain][]string{"remote.test": {"a", "b", "c", "d"}}}
	})
	f.world.refuse = func(host string) *mail.Result {
		r := reply(mail.ScopeHost, 451, "refused")
		if host == "a" {
			return &r
		}
		return nil
	}
	f.world.reply = func(host string, _ mail.Envelope, rcpt mail.Address) mail.Result {
		switch {
		case host == "b":
			return reply(mail.ScopeSession, 421, "going down")
		case rcpt.Local == "no":
			return reply(mail.ScopeRecipient, 550, "unknown")
		}
		return reply(mail.ScopeMessage, 250, "ok")
	}
	f.initAccounts(alice)
	f.start()
	f.mustAccept("alice@postel.test", "yes@remote.test", "no@remote.test")
	until(t, "it is settled", func() bool { return len(f.items()) == 0 })
	if got := f.world.deliveries(); len(got) != 1 || got[0].host != "c" {
		t.Errorf("%q", got)
	}
	if got := f.mailbox(alice, "INBOX"); len(got) != 1 || !strings.Contains(got[0], "550 5.0.0 unknown") ||
		strings.Contains(got[0], "yes@remote.test") {
		t.Errorf("%q", got)
	}
}

// TestBounces: who is told what.
func TestBounces(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		from   string
		notify mail.Notify
		to     string
		code   int
		want   []string // events at the end, without filing and queueing of the message
		report bool
	}{
		{
			name: "report", from: "alice@postel.test", to: "no@remote.test", code: 550, report: true,
			want: []string{"reported alice@postel.test", "bounced no@remote.test"},
		},
		{name: "null sender", to: "no@remote.test", code: 550, want: []string{"dropped no@remote.test"}},
		{
			name: "never", from: "alice@postel.test", notify: mail.NotifyNever, to: "no@remote.test", code: 550,
			want: []string{"dropped no@remote.test"},
		},
		{name: "double", from: "nobody@postel.test", to: "no@remote.test", code: 550, want: []string{"dropped no@remote.test"}},
		{
			name: "null mx", from: "alice@postel.test", to: "no@null.test", report: true,
			want: []string{"reported alice@postel.test", "bounced no@null.test"},
		},
		{
			name: "never takes mail", from: "alice@postel.test", to: "no@remote.test", code: 521, report: true,
			want: []string{"reported alice@postel.test", "bounced no@remote.test"},
		},
		{
			name: "half an alias", from: "alice@postel.test", to: "half@postel.test", report: true,
			want: []string{"reported alice@postel.test", "bounced nobody@postel.test"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem(), nil)
			f.world.reply = func(string, mail.Envelope, mail.Address) mail.Result {
				return reply(map[bool]mail.Scope{true: mail.ScopeHost, false: mail.ScopeRecipient}[c.code == 521], c.code, "refused")
			}
			f.initAccounts(alice)
			f.start()
			e := envelope(c.from, c.to)
			e.Recipients[0].Notify = c.notify
			msg, _, err := f.accept(e)
			if err != nil {
				t.Fatal(err)
			}
			last := c.want[len(c.want)-1]
			until(t, last, func() bool { return slices.Contains(f.events(msg.ID()), last) })
			if len(f.items()) != 0 {
				t.Error("items left")
			}
			var got []string
			for _, ev := range f.events(msg.ID()) {
				if !strings.HasPrefix(ev, "filed") && !strings.HasPrefix(ev, "queued") {
					got = append(got, ev)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Error(got)
			}
			reports := 0
			for _, m := range f.mailbox(alice, "INBOX") {
				if strings.Contains(m, "multipart/report") {
					reports++
					if !strings.HasPrefix(m, "Return-Path: <>\r\n") {
						t.Error("a report with a sender")
					}
				}
			}
			if reports != map[bool]int{true: 1}[c.report] {
				t.Error(reports, "reports")
			}
			f.verify()
		})
	}
}

// TestReportOfRemoteSender: the report to a sender elsewhere goes through the queue.
func TestReportOfRemoteSender(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.world.reply = func(_ string, e mail.Envelope, rcpt mail.Address) mail.Result {
		if rcpt.Local == "no" {
			return reply(mail.ScopeRecipient, 550, "unknown")
		}
		return reply(mail.ScopeMessage, 250, "ok")
	}
	f.start()
	f.mustAccept("sender@far.test", "no@remote.test")
	until(t, "the report is sent", func() bool { return len(f.world.deliveries()) == 1 && len(f.items()) == 0 })
	got := f.world.deliveries()[0]
	if got.rcpt != "sender@far.test" || got.from != "" || !strings.Contains(got.body, "Final-Recipient: rfc822; no@remote.test") {
		t.Errorf("%q", got)
	}
}

func TestOperatorsHand(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	down := true
	f.world.refuse = func(string) *mail.Result {
		r := reply(mail.ScopeHost, 451, "connection refused")
		if down {
			return &r
		}
		return nil
	}
	f.start()
	for i := range 12 { // enough for the destination to be taken for dead
		f.mustAccept("x@postel.test", fmt.Sprintf("u%d@remote.test", i))
	}
	until(t, "all were tried", func() bool {
		return !slices.ContainsFunc(f.items(), func(it *queue.Item) bool { return it.Recipients[0].Attempts == 0 })
	})
	items := f.items()
	if err := f.queue.Hold(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.queue.Drop(t.Context(), items[1].ID); err != nil {
		t.Fatal(err)
	}
	f.world.mu.Lock()
	down = false
	f.world.mu.Unlock()
	if n, err := f.queue.Kick(t.Context(), "remote.test"); n != 10 || err != nil {
		t.Fatal(n, err)
	}
	until(t, "the kicked ones are sent", func() bool { return len(f.items()) == 1 })
	if err := f.queue.Release(t.Context(), items[0].ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the released one is sent", func() bool { return len(f.items()) == 0 })
	held, dropped := f.events(items[0].Blob), f.events(items[1].Blob)
	if !slices.Contains(held, "held "+items[0].Recipients[0].Address.String()) ||
		!slices.Contains(held, "released "+items[0].Recipients[0].Address.String()) ||
		!slices.Contains(dropped, "dropped "+items[1].Recipients[0].Address.String()) {
		t.Error(held, dropped)
	}
	if n := len(f.world.deliveries()); n != 11 {
		t.Error(n, "delivered")
	}
}

// TestStop: what is under way may finish, what waits stays, nothing hangs.
func TestStop(t *testing.T) {
	t.Parallel()
	for _, finish := range []bool{true, false} {
		f := newFixture(t, vfs.NewMem(), func(o *Options) {
			o.Concurrency.Most = 2
			o.Timeouts.Stop = map[bool]time.Duration{true: 5 * time.Second, false: 20 * time.Millisecond}[finish]
		})
		f.world.hold = make(chan struct{})
		stop := f.start()
		for i := range 10 {
			f.mustAccept("x@postel.test", fmt.Sprintf("u%d@remote.test", i))
		}
		until(t, "two sessions are open", func() bool { f.world.mu.Lock(); defer f.world.mu.Unlock(); return f.world.open == 2 })
		go func() {
			for stopping := false; !stopping; time.Sleep(time.Millisecond) {
				f.sched.mu.Lock()
				stopping = f.sched.stopping
				f.sched.mu.Unlock()
			}
			if finish {
				close(f.world.hold)
			}
		}()
		stop()
		want := map[bool]int{true: 8, false: 10}[finish]
		if n := len(f.items()); n != want || f.world.open != 0 {
			t.Errorf("%d items and %d sessions left", n, f.world.open)
		}
		f.verify()
	}
}

// TestManyDestinations: more destinations than sessions, while mail keeps coming: none is forgotten.
func TestManyDestinations(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.Concurrency = Concurrency{All: 4, Window: 50}
		o.Timeouts.Idle = time.Millisecond
	})
	f.start()
	const n = 600
	for i := range n {
		f.mustAccept("x@postel.test", fmt.Sprintf("u%d@d%d.test", i, i%37))
	}
	until(t, "all is sent", func() bool { return len(f.items()) == 0 })
	if got := len(f.world.deliveries()); got != n {
		t.Error(got, "delivered")
	}
	until(t, "all sessions end", func() bool { f.world.mu.Lock(); defer f.world.mu.Unlock(); return f.world.open == 0 })
	f.sched.mu.Lock()
	defer f.sched.mu.Unlock()
	if len(f.sched.dests) != 0 || f.sched.workers != 0 {
		t.Errorf("%d destinations and %d workers left", len(f.sched.dests), f.sched.workers)
	}
}

// TestPanic: a bug in a delivery costs that item its turn until a restart, and nobody else anything.
func TestPanic(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.world.reply = func(_ string, _ mail.Envelope, rcpt mail.Address) mail.Result {
		if rcpt.Local == "bug" {
			panic("a bug")
		}
		return reply(mail.ScopeMessage, 250, "ok")
	}
	f.start()
	f.mustAccept("x@postel.test", "bug@remote.test")
	f.mustAccept("x@postel.test", "fine@remote.test")
	until(t, "the other is sent", func() bool { return len(f.world.deliveries()) == 1 })
	until(t, "its lease is back", func() bool { return f.queue.Leased() == 1 })
	if items := f.items(); len(items) != 1 || items[0].Recipients[0].Attempts != 0 {
		t.Error(len(items))
	}
}

// TestInterrupted: what was under way when Run had to end is no attempt, and is due at once.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) { o.Timeouts.Stop = time.Millisecond })
	f.world.hold = make(chan struct{})
	stop := f.start()
	f.mustAccept("x@postel.test", "a@remote.test")
	until(t, "a session is open", func() bool { f.world.mu.Lock(); defer f.world.mu.Unlock(); return f.world.open == 1 })
	stop()
	items := f.items()
	if due, ok := items[0].Due(); !ok || due.After(time.Now()) || items[0].Recipients[0].Attempts != 0 || f.queue.Leased() != 0 {
		t.Error(due, items[0].Recipients[0].Attempts)
	}
}

// TestRerouted: what an operator sends by another host goes there, though the hosts of its destination are down or its
// customer would take it by ATRN; the rest stays, and no session with one host serves the other.
func TestRerouted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.OnDemand = func(_ context.Context, d mail.Domain) (bool, error) { return d == "customer.test", nil }
	})
	f.world.refuse = func(host string) *mail.Result {
		if host != "mx.remote.test" {
			return nil
		}
		r := reply(mail.ScopeHost, 451, "connection refused")
		return &r
	}
	f.start()
	for i := range 8 {
		f.mustAccept("x@postel.test", fmt.Sprintf("u%d@remote.test", i))
	}
	f.mustAccept("x@postel.test", "c@customer.test")
	until(t, "all were tried", func() bool {
		return !slices.ContainsFunc(f.items(), func(it *queue.Item) bool {
			return it.Destination == "remote.test" && it.Recipients[0].Attempts == 0
		})
	})
	var want []string
	var rerouted *queue.Item
	for i, it := range f.items() {
		if i%2 == 1 && it.Destination == "remote.test" {
			continue
		}
		if err := f.queue.Reroute(t.Context(), it.ID, "192.0.2.77:2525"); err != nil {
			t.Fatal(err)
		}
		rerouted = it
		want = append(want, it.Recipients[0].Address.String())
	}
	until(t, "the rerouted are sent", func() bool { return len(f.items()) == 9-len(want) })
	if it := rerouted; !slices.Contains(f.events(it.Blob), "rerouted "+it.Recipients[0].Address.String()) {
		t.Errorf("%q", f.events(it.Blob))
	}
	var got []string
	for _, d := range f.world.deliveries() {
		if d.host != "via.192.0.2.77:2525" {
			t.Errorf("%v", d)
		}
		got = append(got, d.rcpt)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q were sent, want %q", got, want)
	}
	f.verify()
}
