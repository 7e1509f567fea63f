package mta

import (
	"time"

	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/route"
)

// lane is what goes by one route that has bounds of its own: the destinations whose mail takes it share them. Guarded by
// the scheduler's lock.
type lane struct {
	limits   *route.Limits
	sessions int       // workers
	next     time.Time // when the next message may go, as the rate wants it
	idle     int       // of them, those that wait for an item
	line     line      // destinations that wait for one of its sessions to end
}

// resumeEvery is how often at most destinations are looked at that wait for their time; a lane saves up for a second, so
// that it loses nothing by that.
const (
	resumeEvery = 100 * time.Millisecond
	laneBurst   = time.Second
)

// laneOf gives the lane of an item; nil when it goes by no route that is bounded. Under the lock.
func (s *scheduler) laneOf(it *queue.Item) *lane {
	limits := s.m.limits(it)
	if limits == nil {
		return nil
	}
	l := s.lanes[limits]
	if l == nil {
		l = &lane{limits: limits}
		s.lanes[limits] = l
	}
	return l
}

// limits gives the bounds of an item's route; nil is none.
func (m *MTA) limits(it *queue.Item) *route.Limits {
	if it.Local() {
		return nil
	}
	return m.o.Router.Limits(mail.Domain(it.Destination), it.From)
}

// bounds gives those of the lane's route; nil is none.
func (l *lane) bounds() *route.Limits {
	if l == nil {
		return nil
	}
	return l.limits
}

// concurrency gives the bounds on sessions to one destination of the lane.
func (l *lane) concurrency(c Concurrency) Concurrency {
	if l != nil && l.limits.Sessions > 0 {
		c.Most = l.limits.Sessions
		c.Start = min(c.Start, c.Most)
	}
	return c
}

// full tells whether the lane has all the sessions that it may have.
func (l *lane) full() bool {
	return l != nil && l.limits.Sessions > 0 && l.sessions >= l.limits.Sessions
}

// starved tells whether a destination waits for one of its sessions to end.
func (l *lane) starved() bool { return l != nil && !l.line.empty() }

// count counts workers.
func (l *lane) count(n int) {
	if l != nil {
		l.sessions += n
	}
}

// take counts n messages that go now, one after the other, or tells when the first may go.
func (l *lane) take(now time.Time, n int) (wait time.Time, ok bool) {
	if l == nil || l.limits.PerMinute <= 0 {
		return now, true
	}
	if l.next.After(now) {
		return l.next, false
	}
	if saved := now.Add(-laneBurst); l.next.Before(saved) {
		l.next = saved
	}
	l.next = l.next.Add(time.Duration(n) * time.Minute / time.Duration(l.limits.PerMinute))
	return now, true
}

// mayGo tells whether a message to a destination may go now; if not, it is looked at again at its time. One that is only
// put off, because the destination is dead, costs nothing. Under the lock.
func (s *scheduler) mayGo(d *destination) bool {
	now := s.m.o.Clock()
	if d.win.dead(now) {
		return true
	}
	at, ok := d.win.resume, false
	if !d.win.paused(now) {
		at, ok = d.lane.take(now, messages(d.ready[0]))
	}
	if !ok {
		s.resumeAt(max(at.Sub(now), resumeEvery))
	}
	return ok
}

// messages is how many an item is for its host: with VERP each recipient gets one.
func messages(it *queue.Item) (n int) {
	if !it.VERP {
		return 1
	}
	for i := range it.Recipients {
		if it.Recipients[i].State == queue.Waiting {
			n++
		}
	}
	return max(n, 1)
}

// resumeAt has destinations looked at again after a time. Under the lock.
func (s *scheduler) resumeAt(d time.Duration) {
	at := time.Now().Add(d)
	if !s.resumes.IsZero() && !at.Before(s.resumes) {
		return
	}
	s.resumes = at
	if s.resume == nil {
		s.resume = time.AfterFunc(d, s.startAll)
		return
	}
	s.resume.Reset(d)
}

// startAll begins what may begin now.
func (s *scheduler) startAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resumes = time.Time{}
	for _, d := range s.dests {
		s.start(d)
	}
}

// schedule says when an item's attempts follow each other: as the queue has it, or its route, and shorter for the null
// sender's.
func (m *MTA) schedule(it *queue.Item) Schedule {
	s := m.o.Schedule.by(m.limits(it))
	if it.From.IsNull() {
		s.GiveUp = min(s.GiveUp, s.GiveUpNull)
	}
	return s
}

// by gives the schedule of mail that goes by a route with these bounds.
func (s Schedule) by(l *route.Limits) Schedule {
	if l == nil {
		return s
	}
	for _, f := range []struct {
		of *time.Duration
		to time.Duration
	}{{&s.First, l.First}, {&s.Max, l.Max}, {&s.GiveUp, l.Lifetime}} {
		if f.to > 0 {
			*f.of = f.to
		}
	}
	s.Max = max(s.Max, s.First)
	return s
}
