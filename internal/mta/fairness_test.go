package mta

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// crowd is a world in which some destinations take long, and it is noted when the others' mail is first tried.
type crowd struct {
	*fixture
	mu    sync.Mutex
	first map[string]time.Time // by host
	tries int                  // connections to hosts that hang
}

// crowded runs fn in a bubble.
func crowded(t *testing.T, fn func(t *testing.T, c *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{fixture: newFixture(t, vfs.NewMem(), nil), first: map[string]time.Time{}}
		c.initAccounts(alice)
		c.MTA.open = c.connect
		c.world.pace = func(host string) time.Duration {
			if strings.HasPrefix(host, "mx.slow") {
				return 10 * time.Second
			}
			return 0
		}
		fn(t, c)
	})
}

// connect is the MTA's: connections to mx.dead… time out.
func (c *crowd) connect(ctx context.Context, t target, addr netip.AddrPort) (link, *refusal) {
	c.mu.Lock()
	if _, known := c.first[t.Name]; !known {
		c.first[t.Name] = time.Now()
	}
	c.mu.Unlock()
	if strings.HasPrefix(t.Name, "mx.dead") {
		c.mu.Lock()
		c.tries++
		c.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(30 * time.Second):
		}
		r := reply(mail.ScopeHost, 451, "connection timed out")
		r.Host = t.Name
		return nil, &refusal{Result: r}
	}
	return c.world.openLink(ctx, t, addr)
}

// flood has n messages accepted for a domain.
func (c *crowd) flood(domain string, n int) {
	for range n {
		c.mustAccept("x@far.test", "a@"+domain)
	}
}

// prompt checks that mail for a domain of which nothing is known is tried within 5 s.
func (c *crowd) prompt(domain string) {
	c.t.Helper()
	began := time.Now()
	c.mustAccept("x@far.test", "a@"+domain)
	pass(5 * time.Second)
	c.tried(domain, began)
}

func (c *crowd) tried(domain string, began time.Time) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, known := c.first["mx."+domain]; !known || at.Sub(began) > 5*time.Second {
		c.t.Errorf("the mail for %s is not tried within 5 s: %v", domain, at.Sub(began))
	}
}

// TestFairness: 10,000 messages for one domain, whether it is dead, slow, or met at the start, do not delay the first attempt
// at mail for others by more than 5 s; nor do many dead domains.
func TestFairness(t *testing.T) {
	t.Parallel()
	const backlog = 10_000
	t.Run("dead", func(t *testing.T) {
		t.Parallel()
		crowded(t, func(_ *testing.T, c *crowd) {
			defer c.start()()
			c.flood("dead.test", backlog)
			for i := range 40 {
				c.prompt(fmt.Sprintf("d%d.test", i))
				time.Sleep(20 * time.Second)
			}
			if c.tries > 60 {
				c.t.Errorf("%d connections to a dead host", c.tries)
			}
		})
	})
	t.Run("slow", func(t *testing.T) {
		t.Parallel()
		crowded(t, func(_ *testing.T, c *crowd) {
			defer c.start()()
			c.flood("slow.test", backlog)
			for i := range 20 {
				c.prompt(fmt.Sprintf("d%d.test", i))
			}
			pass(backlog / 20 * 10 * time.Second)
			pass(time.Minute)
			if n := len(c.items()); n > 0 {
				c.t.Errorf("the slow one has 20 sessions at most, and could have taken all; %d are left", n)
			}
		})
	})
	t.Run("start", func(t *testing.T) {
		t.Parallel()
		crowded(t, func(_ *testing.T, c *crowd) {
			c.flood("dead.test", backlog)
			time.Sleep(time.Minute) // all that follows is due behind it
			for i := range 100 {    // some of them in its partition
				c.flood(fmt.Sprintf("d%d.test", i), 1)
			}
			time.Sleep(time.Minute)
			began := time.Now()
			defer c.start()()
			pass(5 * time.Second)
			for i := range 100 {
				c.tried(fmt.Sprintf("d%d.test", i), began)
			}
		})
	})
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		crowded(t, func(_ *testing.T, c *crowd) {
			defer c.start()()
			for i := range 100 {
				c.flood(fmt.Sprintf("dead%d.test", i), backlog/100)
			}
			for i := range 20 {
				c.prompt(fmt.Sprintf("d%d.test", i))
			}
		})
	})
}

// TestProbe: a destination that failed as a whole is tried with one message at a time, and grows again once it answers.
func TestProbe(t *testing.T) {
	t.Parallel()
	lean(t, nil, func(t *testing.T, f *fixture) {
		var mu sync.Mutex
		tries, open, most, back := 0, 0, 0, false
		f.MTA.open = func(ctx context.Context, h target, a netip.AddrPort) (link, *refusal) {
			mu.Lock()
			tries++
			open++
			most = max(most, open)
			up := back
			mu.Unlock()
			time.Sleep(10 * time.Second)
			mu.Lock()
			open--
			mu.Unlock()
			if up {
				return f.world.openLink(ctx, h, a)
			}
			r := reply(mail.ScopeHost, 451, "refused")
			return nil, &refusal{Result: r}
		}
		f.world.pace = func(string) time.Duration { return time.Second }
		for range 500 {
			f.mustAccept("x@far.test", "a@remote.test")
		}
		pass(30 * time.Second)
		mu.Lock()
		if tries != 5 || most != 5 {
			t.Errorf("%d tries, %d at once, before it is taken for dead; want 5", tries, most)
		}
		tries, most = 0, 0
		mu.Unlock()
		pass(40 * time.Minute)
		mu.Lock()
		if most != 1 || tries < 2 || tries > 15 {
			t.Errorf("%d tries, %d at once, while it is dead", tries, most)
		}
		back = true
		mu.Unlock()
		pass(5 * time.Hour)
		f.world.mu.Lock()
		defer f.world.mu.Unlock()
		if f.world.most != 20 || len(f.items()) != 0 {
			t.Errorf("%d sessions at most once it is back, want 20; %d items left", f.world.most, len(f.items()))
		}
	})
}
