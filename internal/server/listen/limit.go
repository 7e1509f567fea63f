package listen

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// Limits bound the number of connections open at once. Zero is no limit.
type Limits struct {
	Total      int // of all listeners that share the Limiter
	PerAddress int // not authenticated, of one address (of one user for a unix socket); neighbours have 4 times as many
	PerUser    int // authenticated as one user from one address
}

// Limiter counts open connections. Several Servers may share one. Safe for concurrent use; nil limits nothing.
type Limiter struct {
	limits  Limits
	crowded atomic.Bool
	awake   atomic.Bool // see prompt

	mu    sync.Mutex
	total int
	count map[source]int
	wide  map[netip.Prefix]int // not authenticated, of the neighbours of an address: its /24 or /48
}

// neighbours is how many times as many connections a network may have as one address.
const neighbours = 4

// source is what connections are counted by.
type source struct {
	net  netip.Prefix
	uid  uint32 // of a unix socket's peer; net is then not valid
	user string // "" while not authenticated
	// proxied is a balancer whose header is still to come: all of them together, without a limit of their own.
	proxied bool
}

// NewLimiter makes a Limiter.
func NewLimiter(l Limits) *Limiter {
	return &Limiter{limits: l, count: map[source]int{}, wide: map[netip.Prefix]int{}}
}

// enter counts a new connection, or tells that there is no room for it.
func (l *Limiter) enter(s source) bool {
	if l == nil {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if over(l.total, l.limits.Total) || !s.proxied && l.tooMany(s) {
		return false
	}
	l.total++
	l.gauge()
	l.add(s, 1)
	return true
}

// move counts a connection as the user's, or as another client's, from now on, or tells that they have too many.
func (l *Limiter) move(from, to source) bool {
	if l == nil || from == to {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case to.user != "" && over(l.count[to], l.limits.PerUser):
		return false
	case to.user == "" && from.net != to.net && l.tooMany(to): // it became another's; who logs out keeps the connection
		return false
	}
	l.add(from, -1)
	l.add(to, 1)
	return true
}

func (l *Limiter) leave(s source) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	l.gauge()
	l.add(s, -1)
}

// gauge notes whether nearly all room is taken.
func (l *Limiter) gauge() { l.crowded.Store(l.limits.Total > 0 && l.total*5 >= l.limits.Total*4) }

// tooMany tells whether a source that is nobody in particular, or its neighbours, have as many as they may.
func (l *Limiter) tooMany(s source) bool {
	return over(l.count[s], l.limits.PerAddress) || s.net.IsValid() && over(l.wide[wider(s.net)], neighbours*l.limits.PerAddress)
}

func (l *Limiter) add(s source, n int) {
	add(l.count, s, n)
	if s.user == "" && s.net.IsValid() {
		add(l.wide, wider(s.net), n)
	}
}

func add[K comparable](m map[K]int, k K, n int) {
	if m[k] += n; m[k] <= 0 {
		delete(m, k)
	}
}

func over(have, limit int) bool { return limit > 0 && have >= limit }

// network gives the prefix by which an address is counted: itself, or the /64 of an IPv6 address, which is what
// one customer has.
func network(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.WithZone("").Prefix(bits)
	return p
}

// wider gives the network of an address' neighbours.
func wider(p netip.Prefix) netip.Prefix {
	bits := 48
	if p.Addr().Is4() {
		bits = 24
	}
	w, _ := p.Addr().Prefix(bits)
	return w
}
