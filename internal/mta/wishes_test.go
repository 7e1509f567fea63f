package mta

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

func (f *fixture) down() {
	f.world.mu.Lock()
	defer f.world.mu.Unlock()
	f.world.refuse = func(string) *mail.Result {
		r := reply(mail.ScopeHost, 451, "refused")
		return &r
	}
}

// TestReturnByDeadline: what could not be delivered by the time that its sender set goes back at that time, 5.4.7 (RFC
// 2852 §4.1), and other mail is tried on.
func TestReturnByDeadline(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.down()
		e := envelope("alice@postel.test", "a@remote.test")
		e.By = mail.DeliverBy{Deadline: time.Now().Add(8 * time.Minute), Return: true}
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		f.mustAccept("alice@postel.test", "b@remote.test")
		pass(8*time.Minute - time.Second)
		if len(f.mailbox(alice, "INBOX")) != 0 || len(f.items()) != 2 {
			t.Error("too early")
		}
		pass(2 * time.Second)
		if in := f.mailbox(alice, "INBOX"); len(in) != 1 || !strings.Contains(in[0], "Status: 5.4.7") || !strings.Contains(in[0], "a@remote.test") || len(f.items()) != 1 {
			t.Errorf("%q", in)
		}
	})
}

// TestNotifyByDeadline: with by-mode N the sender is told of the delay at the deadline, once, and the message goes on;
// a host without DELIVERBY that takes it will not tell, so we do (RFC 2852 §4.1).
func TestNotifyByDeadline(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.down()
		e := envelope("alice@postel.test", "a@remote.test", "b@remote.test")
		e.By = mail.DeliverBy{Deadline: time.Now().Add(8 * time.Minute)}
		e.Recipients[1].Notify = mail.NotifyNever
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		pass(8*time.Minute + time.Second)
		if in := f.mailbox(alice, "INBOX"); len(in) != 1 || !slices.Equal(reported(in[0]), []string{"delayed a@remote.test"}) {
			t.Errorf("%q", in)
		}
		f.world.mu.Lock()
		f.world.refuse = nil
		f.world.mu.Unlock()
		pass(time.Hour)
		if in := f.mailbox(alice, "INBOX"); len(in) != 2 || !slices.Equal(reported(in[1]), []string{"relayed a@remote.test"}) || len(f.items()) != 0 {
			t.Errorf("%q", in)
		}
	})
}

// TestTrace: with T each server that relays tells (RFC 2852 §4.2).
func TestTrace(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.world.extensions = "DSN DELIVERBY"
		e := envelope("alice@postel.test", "a@remote.test")
		e.By = mail.DeliverBy{Deadline: time.Now().Add(time.Hour), Trace: true}
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if in := f.mailbox(alice, "INBOX"); len(in) != 1 || !slices.Equal(reported(in[0]), []string{"relayed a@remote.test"}) {
			t.Errorf("%q", in)
		}
	})
}

// TestFutureRelease: a message that is to go later waits, for mailboxes here as for others, and its time begins when it
// is released (RFC 4865 §4.1).
func TestFutureRelease(t *testing.T) {
	t.Parallel()
	bubble(t, func(o *Options) { o.Schedule = Schedule{GiveUp: time.Hour, Max: time.Hour} }, func(t *testing.T, f *fixture) {
		f.down()
		e := envelope("alice@postel.test", "alice@postel.test", "a@remote.test")
		e.Hold = time.Now().Add(2 * time.Hour)
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		pass(2*time.Hour - time.Second)
		items := f.items()
		if len(items) != 2 || items[0].Recipients[0].Attempts+items[1].Recipients[0].Attempts != 0 || len(f.mailbox(alice, "INBOX")) != 0 {
			t.Error("too early")
		}
		pass(time.Minute)
		if len(f.mailbox(alice, "INBOX")) != 1 || len(f.items()) != 1 {
			t.Error("not delivered at its time")
		}
		pass(57 * time.Minute)
		if len(f.items()) != 1 {
			t.Error("given up too early")
		}
		pass(4 * time.Minute)
		if in := f.mailbox(alice, "INBOX"); len(in) != 2 || !strings.Contains(in[1], "Status: 4.4.7") {
			t.Errorf("%q", in)
		}
	})
}

// TestUrgentFirst: of what waits for a destination, urgent mail goes first (RFC 6710 §5).
func TestUrgentFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), func(o *Options) { o.Concurrency.Most, o.Concurrency.Start = 1, 1 })
	f.world.hold = make(chan struct{})
	f.start()
	f.mustAccept("x@postel.test", "first@remote.test")
	until(t, "the session is open", func() bool { f.world.mu.Lock(); defer f.world.mu.Unlock(); return f.world.open == 1 })
	for i, p := range []int8{0, -9, 3, 9, 0} {
		e := envelope("x@postel.test", fmt.Sprintf("u%d@remote.test", i))
		e.Priority = p
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
	}
	close(f.world.hold)
	until(t, "all are sent", func() bool { return len(f.world.deliveries()) == 6 })
	var got []string
	for _, d := range f.world.deliveries() {
		got = append(got, strings.TrimSuffix(d.rcpt, "@remote.test"))
	}
	if want := []string{"first", "u3", "u2", "u0", "u4", "u1"}; !slices.Equal(got, want) {
		t.Error(got)
	}
}

// TestLimits: what a host told of its limits is obeyed (RFC 9422 §4), and recipients that it had no room for go in
// another transaction at once (RFC 5321 §4.5.3.1.10).
func TestLimits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		limits map[string]int
		room   int // recipients of a transaction before 452
		want   []int
		opened int
	}{
		{name: "none", want: []int{7}, opened: 1},
		{name: "RCPTMAX", limits: map[string]int{"RCPTMAX": 3}, want: []int{3, 3, 1}, opened: 1},
		{name: "MAILMAX", limits: map[string]int{"RCPTMAX": 3, "MAILMAX": 2}, want: []int{3, 3, 1}, opened: 2},
		{name: "one by one", limits: map[string]int{"RCPTMAX": 1, "MAILMAX": 1}, want: []int{1, 1, 1, 1, 1, 1, 1}, opened: 7},
		{name: "452", room: 3, want: []int{7, 4, 1}, opened: 1},
		{name: "both", limits: map[string]int{"RCPTMAX": 5}, room: 3, want: []int{5, 4, 1}, opened: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem(), nil)
			f.world.limits = c.limits
			f.world.reply = func(_ string, e mail.Envelope, rcpt mail.Address) mail.Result {
				at := slices.IndexFunc(e.Recipients, func(r mail.Recipient) bool { return r.Address == rcpt })
				if c.room > 0 && at >= c.room {
					return mail.Result{Scope: mail.ScopeRecipient, Code: 452, Enhanced: mail.Enhanced{4, 5, 3}, Text: "too many"}
				}
				return reply(mail.ScopeMessage, 250, "ok")
			}
			f.start()
			var to []string
			for i := range 7 {
				to = append(to, fmt.Sprintf("u%d@remote.test", i))
			}
			f.mustAccept("x@postel.test", to...)
			until(t, "all is sent", func() bool { return len(f.items()) == 0 })
			f.world.mu.Lock()
			defer f.world.mu.Unlock()
			if !slices.Equal(f.world.transactions, c.want) || len(f.world.got) != 7 || f.world.opened != c.opened {
				t.Error(f.world.transactions, len(f.world.got), f.world.opened)
			}
		})
	}
}
