package postgres

import (
	"hash/fnv"
	"slices"
	"sync"
	"time"

	"postel/internal/kv"
)

// slots is how many lock rows there can be. Part of the format: nodes of one database must agree.
const slots = 1 << 18

// slotsOf gives the slots of locks, in order, each once.
func slotsOf(locks []kv.Key) []int32 {
	if len(locks) == 0 {
		return nil
	}
	out := make([]int32, len(locks))
	for i, k := range locks {
		h := fnv.New64a()
		_, _ = h.Write(k)
		sum := h.Sum64() // FNV's low bits alone spread badly over names that differ in one octet
		out[i] = int32((sum ^ sum>>32) % slots)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// A further group begins beside those that run when so many wait, or the first has waited so long.
const (
	ripeMembers = 64
	ripeAge     = 5 * time.Millisecond
)

// line is where transactions wait for a group. A slot that a running group holds keeps those back that need it, and
// those behind them that share a slot with them, so that nobody is overtaken for ever.
type line struct {
	mu     sync.Mutex
	wake   *sync.Cond
	group  int // members at most
	queue  []*member
	held   map[int32]struct{}
	busy   int  // groups that run
	timed  bool // a timer wakes the workers
	closed bool
}

func (l *line) init(group int) {
	l.wake, l.group, l.held = sync.NewCond(&l.mu), group, make(map[int32]struct{})
}

func (l *line) add(m *member) {
	l.mu.Lock()
	m.since = time.Now()
	l.queue = append(l.queue, m)
	l.mu.Unlock()
	l.wake.Signal()
}

// leave takes a member out again; false when a group has taken it.
func (l *line) leave(m *member) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := slices.Index(l.queue, m)
	if at < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, at, at+1)
	l.wake.Broadcast() // for those behind it
	return true
}

// next waits for a group that can run; nil once the line is closed.
func (l *line) next() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.ripe() {
			if group := l.pick(); len(group) > 0 {
				l.busy++
				return group
			}
		}
		if l.closed && len(l.queue) == 0 {
			return nil
		}
		l.wake.Wait()
	}
}

// ripe tells whether to make a group now. While others run it pays to wait for more members: a large group costs the
// database little more than a small one.
func (l *line) ripe() bool {
	if len(l.queue) == 0 {
		return false
	}
	if l.busy == 0 || len(l.queue) >= ripeMembers || l.closed {
		return true
	}
	age := time.Since(l.queue[0].since)
	if age >= ripeAge {
		return true
	}
	if !l.timed {
		l.timed = true
		time.AfterFunc(ripeAge-age, func() {
			l.mu.Lock()
			l.timed = false
			l.mu.Unlock()
			l.wake.Broadcast()
		})
	}
	return false
}

// pick takes all that can run from the queue and marks their slots as held. The caller holds mu.
func (l *line) pick() []*member {
	var group, rest []*member
	mine, barred := make(map[int32]struct{}), make(map[int32]struct{})
	for i, m := range l.queue {
		if len(group) == l.group {
			rest = append(rest, l.queue[i:]...)
			break
		}
		if anyIn(m.slots, l.held) || anyIn(m.slots, barred) {
			mark(m.slots, barred)
			rest = append(rest, m)
			continue
		}
		mark(m.slots, mine)
		group = append(group, m)
	}
	for s := range mine {
		l.held[s] = struct{}{}
	}
	l.queue = rest
	return group
}

func anyIn(slots []int32, in map[int32]struct{}) bool {
	return slices.ContainsFunc(slots, func(s int32) bool { _, ok := in[s]; return ok })
}

func mark(slots []int32, in map[int32]struct{}) {
	for _, s := range slots {
		in[s] = struct{}{}
	}
}

// free gives slots back.
func (l *line) free(slots []int32) {
	l.mu.Lock()
	for _, s := range slots {
		delete(l.held, s)
	}
	l.busy--
	l.mu.Unlock()
	l.wake.Broadcast()
}

func (l *line) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.wake.Broadcast()
}
