// Package rate counts how often somebody did something lately, and says when it is too often: connections, messages,
// recipients, failed logins of a network, or what one user sends. Counts live in memory, within bounds, and end with the
// process; they are of one node. It does not know what it counts, nor what follows from too much.
//
// Each key has an allowance that fills up evenly: so many at once, and as many again in each span (GCRA: one time a key).
package rate

import (
	"net/netip"
	"sync"
	"time"
)

// Rate is N in each Per. The zero value is no limit.
type Rate struct {
	N   int
	Per time.Duration
}

// Limited tells whether there is a limit at all.
func (r Rate) Limited() bool { return r.N > 0 && r.Per > 0 }

// Times gives a rate n times as high.
func (r Rate) Times(n int) Rate { return Rate{r.N * n, r.Per} }

// Counter counts by key. The zero value has no limit. Safe for concurrent use.
type Counter[K comparable] struct {
	rate  Rate
	clock func() time.Time

	mu   sync.Mutex
	full map[K]time.Time // when the key's allowance is whole again; keys whose it is are not in it
}

// maxKeys bounds the memory of a counter to some 10 MB. Beyond, keys are forgotten: nobody is refused for it.
const maxKeys = 100_000

// New makes a Counter; a nil clock is time.Now.
func New[K comparable](r Rate, clock func() time.Time) *Counter[K] {
	if clock == nil {
		clock = time.Now
	}
	return &Counter[K]{rate: r, clock: clock, full: map[K]time.Time{}}
}

// Take counts n for a key, or tells that it would be too many: then nothing is counted.
func (c *Counter[K]) Take(key K, n int) bool { return c.take(key, n, true) }

// Over tells whether the key has nothing left.
func (c *Counter[K]) Over(key K) bool { return !c.take(key, 1, false) }

func (c *Counter[K]) take(key K, n int, count bool) bool {
	if c == nil || !c.rate.Limited() || n <= 0 {
		return true
	}
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	full := c.full[key]
	if full.Before(now) {
		full = now
	}
	full = full.Add(time.Duration(n) * c.rate.Per / time.Duration(c.rate.N))
	if full.Sub(now) > c.rate.Per {
		return false
	}
	if count {
		c.room(now)
		c.full[key] = full
	}
	return true
}

// room forgets keys when there are too many: those whose allowance is whole, and if that does not help any.
func (c *Counter[K]) room(now time.Time) {
	if len(c.full) < maxKeys {
		return
	}
	for k, full := range c.full {
		if !full.After(now) {
			delete(c.full, k)
		}
	}
	for k := range c.full {
		if len(c.full) < maxKeys*3/4 {
			return
		}
		delete(c.full, k)
	}
}

// Networks counts by address: each by itself and with its neighbours, who together may have wide times as much. An IPv4
// address counts as itself and in its /24, an IPv6 address as its /64, which is what one customer has, and in its /48.
type Networks struct {
	narrow, wide *Counter[netip.Prefix]
}

// neighbours is how many times as much as one address a network may have.
const neighbours = 4

// NewNetworks makes a Networks whose r is the rate of one address.
func NewNetworks(r Rate, clock func() time.Time) *Networks {
	return &Networks{New[netip.Prefix](r, clock), New[netip.Prefix](r.Times(neighbours), clock)}
}

// Take counts n for an address, or tells that it would be too many. Nobody limits the machine
// itself: loopback addresses, and none at all, always pass.
func (c *Networks) Take(a netip.Addr, n int) bool {
	if c == nil || !a.IsValid() || a.IsLoopback() {
		return true
	}
	narrow, wide := networks(a)
	return c.wide.take(wide, n, false) && c.narrow.Take(narrow, n) && c.wide.Take(wide, n)
}

// Over tells whether the address or its network has nothing left.
func (c *Networks) Over(a netip.Addr) bool {
	if c == nil || !a.IsValid() || a.IsLoopback() {
		return false
	}
	narrow, wide := networks(a)
	return c.narrow.Over(narrow) || c.wide.Over(wide)
}

func networks(a netip.Addr) (narrow, wide netip.Prefix) {
	a = a.Unmap().WithZone("")
	if a.Is4() {
		wide, _ = a.Prefix(24)
		return netip.PrefixFrom(a, 32), wide
	}
	narrow, _ = a.Prefix(64)
	wide, _ = a.Prefix(48)
	return narrow, wide
}
