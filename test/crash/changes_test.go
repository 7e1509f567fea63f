package crash

import (
	"math/rand/v2"
	"time"
)

// view is a mailbox as a session knows it: what lies at next or above, others have seen before it.
type view struct {
	box  place
	next uint32
}

// pick gives up to n places of a mailbox whose messages nobody is changing, at random.
func (l *ledger) pick(v view, n int, fits func(*spot) bool) []place {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []place
	for p, s := range l.spots {
		if p.box() == v.box && p.uid < v.next && s.id != report && !s.leaving && !s.gone && s.change == 0 && fits(s) {
			all = append(all, p)
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

func any_(*spot) bool { return true }

// flagging says that a STORE is begun.
func (l *ledger) flagging(ps []place, flagged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		l.changes++
		s := l.spots[p]
		s.flagged, s.change, s.shown = flagged, l.changes, false
	}
}

// flagged says that it was answered.
func (l *ledger) flagged(ps []place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	for _, p := range ps {
		l.spots[p].change = 0
	}
	l.total.flags += len(ps)
}

// leaving says that EXPUNGE (purge) or MOVE is begun.
func (l *ledger) leaving(ps []place, purge bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		s := l.spots[p]
		s.leaving, s.purge = true, purge
		if purge {
			l.bounds(owner{p.user, s.id}, groupOf(p.mailbox)).min--
		}
	}
}

// left says that it was answered.
func (l *ledger) left(ps []place, purge bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	for _, p := range ps {
		l.goneFrom(p)
	}
	if purge {
		l.total.expunged += len(ps)
	} else {
		l.total.moved += len(ps)
	}
}

// goneFrom says that a place is empty from now on; l.mu is held.
func (l *ledger) goneFrom(p place) {
	s := l.spots[p]
	if s.gone {
		return
	}
	s.gone, s.since = true, time.Now()
	if s.purge {
		l.bounds(owner{p.user, s.id}, groupOf(p.mailbox)).max--
	}
}

// copying says that copies are begun, done that they were answered, at the places to.
func (l *ledger) copying(ps []place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range ps {
		l.bounds(owner{p.user, l.spots[p].id}, copies).max++
	}
}

func (l *ledger) copied(ps []place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	for _, p := range ps {
		l.bounds(owner{p.user, l.spots[p].id}, copies).min++
	}
	l.total.copied += len(ps)
}

// arrived says where messages came to lie by MOVE or COPY, as COPYUID tells.
func (l *ledger) arrived(from, to []place) {
	l.mu.Lock()
	src := make([]spot, len(from))
	for i, p := range from {
		src[i] = *l.spots[p]
	}
	l.mu.Unlock()
	for i, p := range to {
		l.shown(p, src[i].id, src[i].flagged)
	}
}

// pending is a change that is begun and not answered.
type pending struct {
	p       place
	change  int // 0: it leaves
	flagged bool
}

// pendings gives the changes of a mailbox that are begun, for a reader that looks whether they are shown already and
// that knows what is there below next.
func (l *ledger) pendings(box place, next uint32) (all []pending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, s := range l.spots {
		if p.box() == box && p.uid < next && (s.leaving && !s.gone || s.change != 0 && !s.shown) && len(all) < 20 {
			all = append(all, pending{p, s.change, s.flagged})
		}
	}
	return all
}

// looked says what a reader saw of a change that had begun before it asked: if it saw the change, no crash may take
// it back.
func (l *ledger) looked(x pending, there, flagged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dark {
		return
	}
	s := l.spots[x.p]
	switch {
	case s.leaving && !there:
		s.seen = s.seen || !s.gone
		l.goneFrom(x.p)
	case x.change != 0 && s.change == x.change && there && flagged == x.flagged:
		s.shown = true
	}
}
