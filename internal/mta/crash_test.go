package mta

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// TestCrash takes the power away while messages are accepted, filed and relayed, and lets what is left be delivered:
// every recipient of an accepted message gets it, those here exactly once, those elsewhere once, or twice when it had
// been sent before the crash.
func TestCrash(t *testing.T) {
	t.Parallel()
	for i := range 9 {
		t.Run(fmt.Sprint(i), func(t *testing.T) { // one after the other: each has goroutines enough
			crashOnce(t, uint64(i), []int{0, 50, 100}[i%3])
		})
	}
}

func crashOnce(t *testing.T, seed uint64, keep int) {
	fs := vfs.NewCrashable()
	f := newFixture(t, fs, nil)
	f.initAccounts(alice, bob)
	stop := f.start()
	var mu sync.Mutex
	acked := map[string]bool{}
	ctx, cancel := context.WithCancel(t.Context())
	var producers sync.WaitGroup
	for w := range 4 {
		producers.Go(func() { produce(ctx, f, w, &mu, acked) })
	}
	until(t, "the first is sent", func() bool { return len(f.world.deliveries()) > 0 })
	time.Sleep(time.Duration(seed*4) * time.Millisecond)
	mu.Lock()
	f.world.mu.Lock()
	known := maps.Clone(acked)
	before := counts(f.world.got)
	after := fs.Crash(keep, seed)
	f.world.mu.Unlock()
	mu.Unlock()
	cancel()
	producers.Wait()
	stop()

	g := newFixture(t, after, nil)
	g.verify()
	g.start()
	until(t, "the queue is empty", func() bool { return len(g.items()) == 0 })
	g.verify()
	for _, a := range []mail.AccountID{alice, bob} {
		problems, err := g.store.Check(t.Context(), a)
		if err != nil || len(problems) > 0 {
			t.Error(problems, err)
		}
	}
	compareCrash(t, g, known, before)
}

// produce sends messages, each to both accounts, to an alias and to two servers, and notes those that were accepted.
func produce(ctx context.Context, f *fixture, w int, mu *sync.Mutex, acked map[string]bool) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%dn%d", w, i)
		in := f.store.Incoming(ctx)
		_, _ = fmt.Fprintf(in, "Subject: %s\r\n\r\n%s\r\n", name, strings.Repeat("x", i%50*100))
		msg, err := in.Seal()
		if err != nil {
			in.Discard()
			return
		}
		e := envelope("", "alice@postel.test", "bob@postel.test", name+"@one.test", name+"@two.test", name+"-b@two.test")
		_, err = f.Accept(ctx, Incoming{Envelope: e, Message: msg})
		msg.Discard()
		if err == nil {
			mu.Lock()
			acked[name] = true
			mu.Unlock()
		}
	}
}

func counts(got []delivered) map[string]int {
	n := map[string]int{}
	for _, d := range got {
		n[d.rcpt]++
	}
	return n
}

func compareCrash(t *testing.T, g *fixture, known map[string]bool, before map[string]int) {
	t.Helper()
	t.Logf("%d accepted, %d sent before the crash, %d behind it", len(known), len(before), len(g.world.deliveries()))
	again := counts(g.world.deliveries())
	for name := range known {
		for _, rcpt := range []string{name + "@one.test", name + "@two.test", name + "-b@two.test"} {
			switch b, a := before[rcpt], again[rcpt]; {
			case b+a == 0:
				t.Error(rcpt, "never got it")
			case b > 1 || a > 1:
				t.Errorf("%s got it %d times before and %d times behind the crash", rcpt, b, a)
			}
		}
	}
	for _, a := range []mail.AccountID{alice, bob} {
		have := map[string]int{}
		for _, m := range g.mailbox(a, "INBOX") {
			_, subject, _ := strings.Cut(m, "Subject: ")
			name, _, _ := strings.Cut(subject, "\r\n")
			have[name]++
		}
		for name := range known {
			if have[name] != 1 {
				t.Errorf("account %d has %s %d times", a, name, have[name])
			}
		}
		for name, n := range have {
			if n > 1 {
				t.Errorf("account %d has %s %d times", a, name, n)
			}
		}
	}
}
