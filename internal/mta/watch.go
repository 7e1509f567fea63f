package mta

import (
	"cmp"
	"slices"

	"postel/internal/queue"
)

// The fates of a recipient in an attempt, as Options.Attempted is told.
const (
	FateDelivered = "delivered" // to an account here
	FateRelayed   = "relayed"   // to another host
	FateDeferred  = "deferred"  // it is tried again
	FateBounced   = "bounced"   // it is given up, reported or not
)

// count tells Options.Attempted what became of each recipient, and how long after it was accepted.
func (m *MTA) count(it *queue.Item, d decision) {
	if m.o.Attempted == nil {
		return
	}
	for _, o := range d.outs {
		fate := FateDeferred
		switch {
		case o.State == queue.Delivered && it.Local():
			fate = FateDelivered
		case o.State == queue.Delivered:
			fate = FateRelayed
		case o.State == queue.Failed:
			fate = FateBounced
		}
		m.o.Attempted(fate, max(0, m.o.Clock().Sub(began(it))))
	}
}

// Destination is what the scheduler has to do with one destination at the moment.
type Destination struct {
	Name     string
	Ready    int  // items that wait for a session
	Sessions int  // sessions at work
	Window   int  // sessions that it may have
	Dead     bool // nothing is tried, since its hosts failed or asked for less
}

// Destinations gives those with most to do, at most n.
func (m *MTA) Destinations(n int) []Destination {
	s, now := m.sched, m.o.Clock()
	s.mu.Lock()
	all := make([]Destination, 0, len(s.dests))
	for _, d := range s.dests {
		all = append(all, Destination{d.key, len(d.ready), d.busy, d.win.limit(), d.win.dead(now) || d.win.paused(now)})
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b Destination) int {
		return cmp.Or(cmp.Compare(b.Ready+b.Sessions, a.Ready+a.Sessions), cmp.Compare(a.Name, b.Name))
	})
	return all[:min(n, len(all))]
}
