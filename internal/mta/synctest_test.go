package mta

import (
	"context"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/kv/kvtest"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// bubble runs fn with an MTA in a bubble of synctest, whose clock jumps.
func bubble(t *testing.T, edit func(*Options), fn func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, vfs.NewMem(), edit)
		f.initAccounts(alice)
		stop := f.start()
		fn(t, f)
		stop()
	})
}

// lean is bubble over rows in memory alone, whose days are short.
func lean(t *testing.T, edit func(*Options), fn func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFixtureOver(t, kvtest.Memory(), edit)
		f.initAccounts(alice)
		stop := f.start()
		fn(t, f)
		stop()
	})
}

// pass lets d go by in a bubble, and all that is due then come to rest: what it wrote may be read.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// short is a schedule over a quarter of a day (background work of the engine makes a bubble's days long).
func short(o *Options) { o.Schedule = Schedule{GiveUp: 6 * time.Hour, Max: time.Hour} }

// TestGiveUp: a host that never answers is tried on the schedule and given up when the time is over.
func TestGiveUp(t *testing.T) {
	t.Parallel()
	bubble(t, short, func(t *testing.T, f *fixture) {
		start := time.Now()
		var at []time.Duration
		f.world.refuse = func(string) *mail.Result {
			at = append(at, time.Since(start))
			r := reply(mail.ScopeHost, 451, "mx.remote.test: connection refused")
			return &r
		}
		f.mustAccept("alice@postel.test", "a@remote.test")
		pass(6*time.Hour - time.Minute)
		if len(f.mailbox(alice, "INBOX")) != 0 || len(f.items()) != 1 {
			t.Error("given up too early")
		}
		pass(2 * time.Minute)
		if got := f.mailbox(alice, "INBOX"); len(got) != 1 || !strings.Contains(got[0], "Status: 4.4.7") || len(f.items()) != 0 {
			t.Errorf("%q", got)
		}
		want := []time.Duration{0, 5 * time.Minute, 15 * time.Minute, 35 * time.Minute, 75 * time.Minute}
		for i, w := range want {
			if at[i].Round(time.Second) != w {
				t.Errorf("attempt %d after %v, want %v", i+1, at[i], w)
			}
		}
		if len(at) < 9 || len(at) > 11 {
			t.Error(len(at), "attempts")
		}
	})
}

// TestDeadDestination: a destination that does not answer costs few connections however much waits for it, and is
// found again when it is back.
func TestDeadDestination(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		connections, back := 0, false
		f.world.refuse = func(string) *mail.Result {
			connections++
			r := reply(mail.ScopeHost, 451, "refused")
			if back {
				return nil
			}
			return &r
		}
		for range 100 {
			f.mustAccept("x@postel.test", "a@remote.test")
		}
		pass(time.Hour)
		if connections > 60 {
			t.Error(connections, "connections in an hour")
		}
		f.world.mu.Lock()
		back = true
		f.world.mu.Unlock()
		pass(3 * time.Hour)
		if n := len(f.items()); n != 0 {
			t.Error(n, "items left")
		}
	})
}

// TestDelayNotice: who asked for it is told once, with the time until when it is tried; nobody else.
func TestDelayNotice(t *testing.T) {
	t.Parallel()
	bubble(t, short, func(t *testing.T, f *fixture) {
		f.world.refuse = func(string) *mail.Result {
			r := reply(mail.ScopeHost, 451, "refused")
			return &r
		}
		e := envelope("alice@postel.test", "asked@remote.test", "not@remote.test")
		e.Recipients[0].Notify = mail.NotifyDelay
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		pass(5 * time.Hour)
		got := f.mailbox(alice, "INBOX")
		if len(got) != 1 || !strings.Contains(got[0], "Action: delayed") || !strings.Contains(got[0], "Will-Retry-Until:") ||
			!strings.Contains(got[0], "asked@remote.test") || strings.Contains(got[0], "not@remote.test") {
			t.Errorf("%q", got)
		}
		pass(2 * time.Hour)
		got = f.mailbox(alice, "INBOX")
		if len(got) != 2 || strings.Contains(got[1], "asked@remote.test") || !strings.Contains(got[1], "Action: failed") {
			t.Errorf("%q", got)
		}
	})
}

// TestReportLater: when the directory is down the verdict waits, and the report is made when it is up again, once.
func TestReportLater(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.world.reply = func(string, mail.Envelope, mail.Address) mail.Result {
			f.dir.fail(true)
			return reply(mail.ScopeRecipient, 550, "no")
		}
		f.mustAccept("alice@postel.test", "a@remote.test")
		pass(time.Minute)
		if i := f.items(); len(i) != 1 || !i[0].Recipients[0].Last.Permanent() {
			t.Error("the verdict is lost")
		}
		f.dir.fail(false)
		pass(10 * time.Minute)
		if got := f.mailbox(alice, "INBOX"); len(got) != 1 || len(f.items()) != 0 || f.world.sent != 1 {
			t.Errorf("%q, sent %d times", got, f.world.sent)
		}
	})
}

// TestLocalTemporary: a recipient that cannot be resolved at the moment is taken with the others and delivered later.
func TestLocalTemporary(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.world.refuse = func(string) *mail.Result { return nil }
		msg := f.message(sample)
		b, err := f.plan(context.Background(), Incoming{Envelope: envelope("x@far.test", "b@remote.test"), Message: msg})
		if err != nil {
			t.Fatal(err)
		}
		b.bounce(mail.Recipient{Address: address("alice@postel.test")}, mail.E("dir", mail.Unavailable, "down"))
		f.dir.fail(true)
		if err := f.commit(context.Background(), b, nil); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		if i := f.items(); len(i) != 1 || len(f.mailbox(alice, "INBOX")) != 0 {
			t.Error(len(i), "items")
		}
		f.dir.fail(false)
		pass(10 * time.Minute)
		if len(f.items()) != 0 || len(f.mailbox(alice, "INBOX")) != 1 {
			t.Error("not delivered")
		}
	})
}

var update = flag.Bool("update", false, "rewrite the golden files")

// TestReportGolden compares whole reports with what was reviewed.
func TestReportGolden(t *testing.T) {
	t.Parallel()
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.world.reply = func(_ string, _ mail.Envelope, rcpt mail.Address) mail.Result {
			r := reply(mail.ScopeRecipient, 550, "no mailbox by that name, see https://remote.test/help")
			r.Enhanced = mail.Enhanced{5, 1, 1}
			return r
		}
		e := envelope("alice@postel.test", "no@remote.test", "no@null.test", "half@postel.test")
		e.Recipients[0].Original, e.EnvelopeID = "rfc822;Nobody@old.test", "QQ1"
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		e.Return = "HDRS"
		e.Recipients = e.Recipients[:1]
		if _, _, err := f.accept(e); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		var all []string
		for _, m := range f.mailbox(alice, "INBOX") {
			if strings.Contains(m, "multipart/report") {
				all = append(all, neutral(m))
			}
		}
		if len(all) != 4 {
			t.Error(len(all), "reports")
		}
		compareGolden(t, "testdata/reports.txt", all)
	})
}

// neutral replaces ids and boundaries.
func neutral(m string) string {
	m = regexp.MustCompile(`<[0-9a-v]{16}@`).ReplaceAllString(m, "<ID@")
	if b := regexp.MustCompile(`boundary="([^"]+)"`).FindStringSubmatch(m); b != nil {
		m = strings.ReplaceAll(m, b[1], "BOUNDARY")
	}
	return strings.ReplaceAll(m, "\r\n", "\n")
}

// compareGolden compares texts, whose order does not matter, with a file.
func compareGolden(t *testing.T, name string, texts []string) {
	t.Helper()
	const cut = "\n==========\n"
	if *update {
		if err := os.WriteFile(name, []byte(strings.Join(texts, cut)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{}
	for w := range strings.SplitSeq(string(b), cut) {
		want[w]++
	}
	for _, m := range texts {
		if want[m]--; want[m] < 0 {
			t.Errorf("not in %s:\n%s", name, m)
		}
	}
}
