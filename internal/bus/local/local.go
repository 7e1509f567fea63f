// Package local is the bus of one process: a table of subscribers. It has no goroutine and keeps nothing for topics
// that nobody listens to.
package local

import (
	"sync"

	"postel/internal/bus"
)

// Bus is a bus.Bus. The zero value is ready.
type Bus struct {
	mu   sync.Mutex
	subs map[bus.Topic]map[*subscriber]struct{}
}

var _ bus.Bus = (*Bus)(nil)

// New gives a bus without subscribers.
func New() *Bus { return new(Bus) }

// subscriber is one subscription; its channel is only used under Bus.mu by the sending side.
type subscriber struct {
	c chan uint64 // holds the newest number not taken
}

// Publish implements bus.Bus. A number that waits and is not older stays.
func (b *Bus) Publish(t bus.Topic, number uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs[t] {
		s.offer(number)
	}
}

// offer puts the number in place of an older one. Nobody else sends, so there is room after taking.
func (s *subscriber) offer(number uint64) {
	select {
	case waiting := <-s.c:
		number = max(number, waiting)
	default:
	}
	s.c <- number
}

// Subscribe implements bus.Bus. Ending a subscription again does nothing.
func (b *Bus) Subscribe(t bus.Topic) (<-chan uint64, func()) {
	s := &subscriber{c: make(chan uint64, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[bus.Topic]map[*subscriber]struct{})
	}
	if b.subs[t] == nil {
		b.subs[t] = make(map[*subscriber]struct{})
	}
	b.subs[t][s] = struct{}{}
	return s.c, sync.OnceFunc(func() { b.end(t, s) })
}

func (b *Bus) end(t bus.Topic, s *subscriber) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.subs[t], s)
	if len(b.subs[t]) == 0 {
		delete(b.subs, t)
	}
	close(s.c)
}
