package mta

import (
	"context"
	"sync"
	"time"

	"postel/internal/bus"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/route"
)

const (
	pollEvery  = time.Minute     // the scheduler looks by itself, whatever it is told
	pollShared = 5 * time.Second // the same, where a node that added an item may have told in vain
	cleanEvery = time.Hour
)

// scheduler keeps a bounded window of items in work and gives them to workers by destination.
type scheduler struct {
	m       *MTA
	wake    chan struct{}
	commits chan struct{} // one place for each result being recorded
	work    context.Context
	every   time.Duration  // pollEvery but in tests
	running sync.WaitGroup // workers and commits

	mu       sync.Mutex
	dests    map[string]*destination
	lanes    map[*route.Limits]*lane
	resume   *time.Timer // starts what waits for its time
	resumes  time.Time   // when; zero: not
	workers  int
	idle     int  // of them, those that wait for an item
	line     line // destinations that wait for a worker that All does not allow
	started  bool
	stopping bool
	more     bool      // due items were left in the queue for lack of room
	filled   int       // leases when they were left
	nextDue  time.Time // of items outside the window; zero: none known

	collecting map[mail.Domain]bool // a customer takes their mail
}

func newScheduler(m *MTA) *scheduler {
	return &scheduler{
		m: m, every: pollEvery, wake: make(chan struct{}, 1), commits: make(chan struct{}, m.o.Concurrency.Commits),
		dests: map[string]*destination{}, lanes: map[*route.Limits]*lane{}, collecting: map[mail.Domain]bool{},
	}
}

// reserve leases items that are about to be committed, as far as the window has room for them.
func (s *scheduler) reserve(items []*queue.Item) []bool {
	if len(items) == 0 {
		return nil
	}
	now, window := s.m.o.Clock(), s.m.o.Concurrency.Window
	leased := make([]bool, len(items))
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started || s.stopping {
		return leased
	}
	for i, it := range items {
		if due, ok := it.Due(); ok && !due.After(now) && s.m.o.Queue.Leased() < window {
			leased[i] = s.m.o.Queue.Lease(it, window)
		}
	}
	return leased
}

// unreserve gives back what reserve leased.
func (s *scheduler) unreserve(items []*queue.Item, leased []bool) {
	for i, it := range items {
		if leased[i] {
			s.m.o.Queue.Return(it)
		}
	}
}

// offer takes new items into the window, those that were leased for it, and remembers that others are in the queue;
// false when there are some that nobody here would deliver.
func (s *scheduler) offer(items []*queue.Item, leased []bool) bool {
	now := s.m.o.Clock()
	s.mu.Lock()
	defer s.mu.Unlock()
	ours := s.started && !s.stopping
	for i, it := range items {
		due, ok := it.Due()
		switch {
		case !ok:
		case !leased[i] && !s.m.o.Queue.Owns(it):
			ours = false
		case leased[i] && s.stopping:
			s.m.o.Queue.Return(it)
		case leased[i]:
			s.push(it)
		case due.After(now):
			s.note(due)
		default:
			s.m.o.Queue.Left(it)
			s.leftMore()
		}
	}
	return ours
}

// leftMore remembers that due items are in the queue. Under the lock.
func (s *scheduler) leftMore() {
	if !s.more {
		s.more, s.filled = true, s.m.o.Queue.Leased()
		s.poke()
	}
}

// note remembers that an item outside the window is due at a time. Under the lock.
func (s *scheduler) note(due time.Time) {
	if s.nextDue.IsZero() || due.Before(s.nextDue) {
		s.nextDue = due
		s.poke()
	}
}

func (s *scheduler) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run is Run.
func (s *scheduler) run(ctx context.Context) error {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var hints <-chan uint64
	if s.m.o.Bus != nil {
		c, end := s.m.o.Bus.Subscribe(bus.Topic{Kind: bus.Queue})
		defer end()
		hints = c
	}
	s.mu.Lock()
	s.work, s.started = work, true
	s.mu.Unlock()
	s.loop(ctx, hints)
	s.stop()
	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	timer := time.AfterFunc(s.m.o.Timeouts.Stop, cancel) // sessions end with their context
	<-done
	timer.Stop()
	return nil
}

// loop fills the window until ctx ends.
func (s *scheduler) loop(ctx context.Context, hints <-chan uint64) {
	clean := time.NewTicker(cleanEvery)
	defer clean.Stop()
	scan := true
	for {
		s.revive() // before anything is tried
		timer := time.NewTimer(s.fill(ctx, scan))
		scan = true
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-s.wake:
			scan = false // unless there is more or something is due
		case <-hints:
		case <-s.m.o.Queue.Wake():
		case <-clean.C:
			s.sweep()
			if _, err := s.m.o.Queue.Clean(ctx); err != nil {
				s.m.o.Log.Warn("cleaning the queue failed", "err", err)
			}
		case <-timer.C:
		}
		timer.Stop()
	}
}

// fill takes what is due into the window where there is room, and gives the time until it has to look again.
func (s *scheduler) fill(ctx context.Context, scan bool) time.Duration {
	q, window := s.m.o.Queue, s.m.o.Concurrency.Window
	now := s.m.o.Clock()
	s.mu.Lock()
	scan = scan || s.more || !s.nextDue.IsZero() && !s.nextDue.After(now)
	s.mu.Unlock()
	room := window - q.Leased()
	if scan && room <= 0 {
		s.mu.Lock()
		s.more, s.filled = true, window
		s.mu.Unlock()
	}
	if scan && room > 0 {
		if err := s.search(ctx, now, room); err != nil {
			if ctx.Err() == nil {
				s.m.o.Log.Error("reading the queue failed", "err", err)
			}
			return time.Second
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.more: // completions wake us; this is for what they miss
		return time.Second
	case s.nextDue.IsZero():
		return s.poll()
	}
	return min(max(s.nextDue.Sub(now), time.Millisecond), s.poll())
}

func (s *scheduler) poll() time.Duration {
	if s.m.o.Queue.Shared() {
		return pollShared
	}
	return s.every
}

// search leases what is due and learns when the next is.
func (s *scheduler) search(ctx context.Context, now time.Time, room int) error {
	q := s.m.o.Queue
	s.mu.Lock()
	s.more, s.nextDue = false, time.Time{} // whatever comes from now on is noted again
	s.mu.Unlock()
	filled := q.Leased()
	items, err := q.Due(ctx, now, room, s.m.o.Concurrency.Window)
	filled = max(filled, q.Leased())
	s.mu.Lock()
	for _, it := range items {
		s.push(it)
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	due, ok, err := q.Next(ctx)
	if err != nil || !ok {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !due.After(now) {
		s.more, s.filled = true, filled
		if filled > 0 && q.Leased() <= filled/2 { // much was done meanwhile
			s.poke()
		}
	}
	if s.nextDue.IsZero() || due.Before(s.nextDue) {
		s.nextDue = due
	}
	return nil
}

// revive forgets what is held against destinations that an operator, or their own server, asked to be tried.
func (s *scheduler) revive() {
	for _, name := range s.m.o.Queue.Kicked() {
		s.mu.Lock()
		for _, d := range s.dests {
			if d.name == name {
				d.win.revive()
				s.start(d)
				s.forget(d)
			}
		}
		s.mu.Unlock()
	}
}

// sweep forgets destinations that failed or were dead and that have no work now.
func (s *scheduler) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.dests {
		d.win.failures, d.win.pause = 0, 0
		s.forget(d)
	}
}

// returned gives the lease back of an item with which nothing was done; next is when it is due, zero when that is not
// known.
func (s *scheduler) returned(it *queue.Item, next time.Time) {
	s.m.o.Queue.Return(it)
	s.left(next)
}

// left is for when an item is out of the window; next is when it is due again, zero when it is not.
func (s *scheduler) left(next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !next.IsZero() {
		s.note(next)
	}
	if s.more && s.m.o.Queue.Leased() <= s.filled/2 {
		s.poke()
	}
}

// giveBack ends work on an item that could not be begun: it is gone, or the store does not answer.
func (s *scheduler) giveBack(it *queue.Item, err error) {
	if !mail.Is(err, mail.NotFound) {
		s.m.o.Log.Error("reading a queue item failed", "queue", queueName(it), "err", err)
	}
	s.returned(it, time.Time{})
}

// stop takes no more items and ends idle workers.
func (s *scheduler) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	if s.resume != nil {
		s.resume.Stop()
	}
	for _, d := range s.dests {
		for _, it := range d.ready {
			s.m.o.Queue.Return(it)
		}
		d.ready = nil
		for len(d.idle) > 0 {
			close(s.rouse(d, len(d.idle)-1).items)
		}
	}
}
