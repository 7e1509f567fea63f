package mta

import (
	"runtime/debug"
	"slices"
	"time"

	"postel/internal/mail"
	"postel/internal/queue"
)

// destination is what is known of one destination while it has work. Guarded by the scheduler's lock.
type destination struct {
	name   string // as items have it
	key    string // among all: the name, and what parts its mail from other mail for it
	ready  []*queue.Item
	idle   []*worker // with an open session, waiting for an item
	busy   int       // workers with an item
	win    window
	lane   *lane       // the route that it shares with others; nil when that has no bounds
	waits  bool        // it is in a line
	reason mail.Result // why it is dead
}

// worker serves one destination with one session at a time.
type worker struct {
	s     *scheduler
	d     *destination
	items chan *queue.Item // filled by who takes the worker out of d.idle; closed when Run ends
	link  link             // an open session; nil when there is none
	at    place            // where it leads
	sent  int              // messages over it
	since time.Time        // when it was opened
	lax   bool             // it is for one message, whose author does without what the domain demands of TLS

	began time.Time // when its turn began: others may wait for it to end

	routed uint64 // MTA.routed when it was opened

	via     string // the session is by a host that an operator set, as the items have it
	strict  bool   // it is as REQUIRETLS wants it: a name that is vouched for, and a certificate that verifies
	handed  int    // messages to a customer who takes them by ATRN
	private bool   // that session is under TLS
}

// push gives an item to a waiting worker or puts it in line, and starts a worker where that is allowed. Under the
// lock.
func (s *scheduler) push(it *queue.Item) {
	key := s.m.destKey(it)
	d := s.dests[key]
	if d == nil {
		d = &destination{name: it.Destination, key: key, lane: s.laneOf(it)}
		d.win = newWindow(d.lane.concurrency(s.m.o.Concurrency))
		s.dests[key] = d
	}
	at := len(d.ready)
	for at > 0 && d.ready[at-1].Priority < it.Priority { // urgent ones first (RFC 6710 §5)
		at--
	}
	d.ready = slices.Insert(d.ready, at, it)
	s.start(d)
}

// destKey gives the name under which the destination of an item is known: mail that its sender's route sends another way is
// a destination of its own, with its sessions, its window and its failures.
func (m *MTA) destKey(it *queue.Item) string {
	if it.Local() {
		return it.Destination
	}
	if apart := m.o.Router.Apart(mail.Domain(it.Destination), it.From); apart != "" {
		return it.Destination + " from " + apart
	}
	return it.Destination
}

// start gives what is ready to workers that wait, and begins others. Under the lock.
func (s *scheduler) start(d *destination) {
	for len(d.ready) > 0 && d.busy < s.limit(d) && !s.stopping {
		n := len(d.idle)
		switch {
		case n > 0:
		case s.workers >= s.m.o.Concurrency.All:
			s.line.add(d)
			s.dismissIdle(nil)
			return
		case d.lane.full():
			d.lane.line.add(d)
			s.dismissIdle(d.lane)
			return
		}
		if !s.mayGo(d) {
			return
		}
		d.busy++
		it := d.pop()
		if n > 0 {
			s.rouse(d, n-1).items <- it
			continue
		}
		w := &worker{s: s, d: d, items: make(chan *queue.Item, 1), began: s.m.o.Clock()}
		s.workers++
		d.lane.count(1)
		s.running.Go(func() { w.run(it) })
	}
}

// limit is the number of sessions that a destination may have now: where half of all are taken, one of which nothing good
// is known gets a single one, so that dead ones do not take the rest while their connections time out. Under the lock.
func (s *scheduler) limit(d *destination) int {
	if !d.win.proven && s.workers >= s.m.o.Concurrency.All/2 {
		return 1
	}
	return d.win.limit()
}

// turn is how long a worker goes on while destinations wait that have none.
const turn = 2 * time.Second

// givesWay tells whether a worker ends before its destination's mail does, because others wait for a session and it has had
// its turn or its destination more than its share. Under the lock.
func (s *scheduler) givesWay(w *worker) bool {
	l := w.d.lane
	all := 0
	switch {
	case !s.line.empty():
		all = s.m.o.Concurrency.All
	case l.starved():
		all = l.limits.Sessions
	default:
		return false
	}
	return w.d.busy > max(1, all/max(1, len(s.dests))) || s.m.o.Clock().Sub(w.began) >= turn
}

// pop takes the first that is ready.
func (d *destination) pop() *queue.Item {
	it := d.ready[0]
	d.ready[0] = nil
	d.ready = d.ready[1:]
	return it
}

// dismissIdle ends a waiting worker of any destination, or of any in a lane, so that another can begin when it has left.
// Under the lock.
func (s *scheduler) dismissIdle(l *lane) {
	if s.idle == 0 || l != nil && l.idle == 0 {
		return
	}
	for _, d := range s.dests {
		if n := len(d.idle); n > 0 && (l == nil || d.lane == l) {
			close(s.rouse(d, n-1).items)
			return
		}
	}
}

// rest has a worker wait for an item. Under the lock.
func (s *scheduler) rest(w *worker) {
	w.d.idle = append(w.d.idle, w)
	s.countIdle(w.d, 1)
}

// rouse takes the waiting worker i of a destination out. Under the lock.
func (s *scheduler) rouse(d *destination, i int) *worker {
	w := d.idle[i]
	d.idle = slices.Delete(d.idle, i, i+1)
	s.countIdle(d, -1)
	return w
}

func (s *scheduler) countIdle(d *destination, n int) {
	s.idle += n
	if d.lane != nil {
		d.lane.idle += n
	}
}

// next gives the worker's next item; nil ends the worker. A worker with an open session waits for one a while.
func (w *worker) next() *queue.Item {
	s, d := w.s, w.d
	s.mu.Lock()
	room := d.busy <= d.win.limit() && !s.givesWay(w)
	if len(d.ready) > 0 && room && !s.stopping && s.mayGo(d) {
		it := d.pop()
		s.mu.Unlock()
		return it
	}
	d.busy--
	if w.link == nil || len(d.ready) > 0 && !room || s.stopping || !s.line.empty() || d.lane.starved() {
		s.mu.Unlock()
		return nil
	}
	s.rest(w)
	s.mu.Unlock()
	return w.wait()
}

// wait is next for a worker that is idle.
func (w *worker) wait() *queue.Item {
	timer := time.NewTimer(w.s.m.o.Timeouts.Idle)
	defer timer.Stop()
	select {
	case it := <-w.items: // nil when closed
		return it
	case <-timer.C:
	}
	s, d := w.s, w.d
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(d.idle, w); i >= 0 {
		s.rouse(d, i)
		return nil
	}
	return <-w.items // taken out in the same moment: the item is there, or the channel closed
}

// leave counts a worker out, whose session is closed, and lets others begin.
func (s *scheduler) leave(d *destination) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.workers--
	d.lane.count(-1)
	s.serveLines(d.lane)
	s.start(d) // behind those who waited longer
	s.forget(d)
}

// forget drops what is known of a destination without work, unless it failed lately: one whose mail comes piece by piece
// would else be found out anew by each. Under the lock.
func (s *scheduler) forget(d *destination) {
	if s.dests[d.key] != d { // forgotten before, and met again since
		return
	}
	if len(d.ready) == 0 && len(d.idle) == 0 && d.busy == 0 && d.win.failures == 0 && d.win.pause == 0 && !d.win.dead(s.m.o.Clock()) {
		delete(s.dests, d.key)
	}
}

// run serves items until there are none.
func (w *worker) run(it *queue.Item) {
	for ; it != nil; it = w.next() {
		w.s.guard(it, func() { w.serve(it) }, func() { w.drop(false) })
	}
	w.drop(w.s.work.Err() == nil)
	w.s.leave(w.d)
}

// guard runs work on an item. A panic is a bug: it is logged, and the item stays leased, so that it is not sent again
// and again, until a restart.
func (s *scheduler) guard(it *queue.Item, work, failed func()) {
	defer func() {
		if r := recover(); r != nil {
			s.m.o.Log.Error("a delivery panicked", "queue", queueName(it), "panic", r, "stack", string(debug.Stack()))
			failed()
		}
	}()
	work()
}

// serve makes one attempt.
func (w *worker) serve(leased *queue.Item) {
	s := w.s
	it, err := s.m.o.Queue.Fresh(s.work, leased)
	if err != nil {
		s.giveBack(leased, err)
		return
	}
	todo, a := s.m.begin(it, s.m.o.Clock())
	switch reason, dead := s.suspended(w.d); {
	case len(todo) == 0:
	case it.Local():
		s.async(it, func() { s.finishLocal(it, todo, a) })
		return
	case it.Via != "": // whatever is known of the hosts of its destination
		w.attempt(it, todo, &a)
	case s.parkedAgain(it, todo, &a):
	case dead:
		a.all(it, todo, reason)
	default:
		w.attempt(it, todo, &a)
		s.learn(w.d, a)
	}
	s.async(it, func() { s.finish(it, a) })
}

// async records results while the worker goes on; it waits when too many are being recorded.
func (s *scheduler) async(it *queue.Item, record func()) {
	s.commits <- struct{}{}
	s.running.Go(func() {
		s.guard(it, record, func() {})
		<-s.commits
	})
}

// suspended gives the result for an item of a destination that is dead at the moment.
func (s *scheduler) suspended(d *destination) (mail.Result, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return d.reason, d.win.dead(s.m.o.Clock())
}

// learn draws conclusions from an attempt for the destination's window.
func (s *scheduler) learn(d *destination, a attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	schedule := s.m.o.Schedule.by(d.lane.bounds())
	switch {
	case a.slowed():
		d.win.slow(s.m.o.Clock(), deadFirst(schedule), schedule.First)
		d.reason = a.reason
	case a.host == hostAnswered:
		d.win.succeeded()
		s.start(d)
	case a.host == hostFailed:
		d.win.failed(s.m.o.Clock(), deadFirst(schedule), schedule.First)
		d.reason = a.reason
	}
}

// deadFirst is how long a destination is dead at first.
func deadFirst(sch Schedule) time.Duration { return min(time.Minute, sch.First) }
