package store

import (
	"slices"
	"sync"
	"time"

	"postel/internal/bus"
	"postel/internal/mail"
)

// registry knows the mailboxes that sessions of this process look at, and listens to the bus for them when other
// processes write to the same rows.
type registry struct {
	mu       sync.RWMutex
	boxes    map[boxID]*shared
	accounts map[mail.AccountID]*listener

	// Mailboxes that nobody looks at any more, the one that was left last at the end: clients close one and open it
	// again. They stay for idleTime, and no more than idleEntries of them; commits go on raising their targets.
	idle    []*shared
	entries int // of their snapshots
	closed  bool
}

// Bounds of what is kept without a session: 64 MiB of entries.
const (
	idleTime    = 30 * time.Second
	idleEntries = 64 << 20 / 36
	idleBoxes   = 10_000
)

type boxID struct {
	a mail.AccountID
	m MailboxID
}

// listener is an account whose notices are listened to.
type listener struct {
	views int
	stop  chan struct{}
}

// pollEvery bounds what a lost notice of another process costs who waits without asking, as in IDLE.
const pollEvery = 20 * time.Second

// hold gives the view its mailbox.
func (g *registry) hold(s *Store, a mail.AccountID, m MailboxID, v *View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := boxID{a, m}
	h := g.boxes[id]
	if h == nil {
		h = &shared{s: s, a: a, m: m, views: make(map[*View]struct{}, 1)}
		if g.boxes == nil {
			g.boxes = make(map[boxID]*shared)
		}
		g.boxes[id] = h
	}
	g.wake(h)
	h.mu.Lock()
	h.views[v] = struct{}{}
	h.mu.Unlock()
	v.h = h
	if s.o.Shared {
		g.listen(s, a)
	}
}

// wake takes a mailbox out of those that are idle, with g.mu held.
func (g *registry) wake(h *shared) {
	if h.leave == nil {
		return
	}
	h.leave.Stop()
	h.leave = nil
	g.entries -= h.kept
	g.idle = slices.DeleteFunc(g.idle, func(x *shared) bool { return x == h })
}

// rest keeps a mailbox that nobody looks at for a while, with g.mu held, at the cost of those that rest for longer.
func (g *registry) rest(h *shared) {
	p := h.snap.Load()
	if g.closed || p == nil || p.n > idleEntries {
		delete(g.boxes, boxID{h.a, h.m})
		return
	}
	h.kept = p.n
	g.idle = append(g.idle, h)
	g.entries += h.kept
	h.leave = time.AfterFunc(idleTime, func() { g.forget(h) })
	for g.entries > idleEntries || len(g.idle) > idleBoxes {
		g.drop(g.idle[0])
	}
}

// forget drops a mailbox unless somebody looks at it again.
func (g *registry) forget(h *shared) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h.leave != nil {
		g.drop(h)
	}
}

// drop drops an idle mailbox, with g.mu held.
func (g *registry) drop(h *shared) {
	g.wake(h)
	delete(g.boxes, boxID{h.a, h.m})
}

// close drops all that nobody looks at; from now on nothing is kept.
func (g *registry) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for len(g.idle) > 0 {
		g.drop(g.idle[0])
	}
}

// release takes the view away.
func (g *registry) release(h *shared, v *View) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h.mu.Lock()
	delete(h.views, v)
	left := len(h.views)
	if left == 0 {
		h.recent = 0
	}
	h.mu.Unlock()
	if left == 0 {
		g.rest(h)
	}
	if l := g.accounts[h.a]; l != nil {
		if l.views--; l.views == 0 {
			close(l.stop)
			delete(g.accounts, h.a)
		}
	}
}

// raise tells of a durable change of one mailbox.
func (g *registry) raise(a mail.AccountID, m MailboxID, seq ModSeq) {
	g.mu.RLock()
	h := g.boxes[boxID{a, m}]
	g.mu.RUnlock()
	if h != nil {
		h.raise(seq)
	}
}

// raiseAll tells of a durable change somewhere in an account.
func (g *registry) raiseAll(a mail.AccountID, seq ModSeq) {
	var all []*shared
	g.mu.RLock()
	for id, h := range g.boxes {
		if id.a == a {
			all = append(all, h)
		}
	}
	g.mu.RUnlock()
	for _, h := range all {
		h.raise(seq)
	}
}

// listen begins to listen for an account, with g.mu held.
func (g *registry) listen(s *Store, a mail.AccountID) {
	if l := g.accounts[a]; l != nil {
		l.views++
		return
	}
	l := &listener{views: 1, stop: make(chan struct{})}
	if g.accounts == nil {
		g.accounts = make(map[mail.AccountID]*listener)
	}
	g.accounts[a] = l
	notices, unsubscribe := (<-chan uint64)(nil), func() {}
	if s.o.Bus != nil {
		notices, unsubscribe = s.o.Bus.Subscribe(bus.OfAccount(a))
	}
	s.jobs.Go(func() {
		defer unsubscribe()
		poll := time.NewTicker(s.poll)
		defer poll.Stop()
		for {
			select {
			case seq := <-notices:
				g.raiseAll(a, ModSeq(seq))
			case <-poll.C:
				if seq, err := s.modSeq(s.ctx, a); err == nil {
					g.raiseAll(a, seq)
				}
			case <-l.stop:
				return
			case <-s.ctx.Done():
				return
			}
		}
	})
}
