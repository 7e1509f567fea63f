package mta

import (
	"context"
	"fmt"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/bus"
	"postel/internal/bus/local"
	"postel/internal/lease"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/vfs"
)

// nodes are several MTAs over one store; they share the world and the directory.
type nodes struct {
	*fixture
	bus bus.Bus
}

// peer is one of them; die makes it say nothing any more.
type peer struct {
	*fixture
	node *lease.Node
	die  func()
}

func newNodes(t *testing.T) *nodes { return &nodes{newFixture(t, vfs.NewMem(), nil), local.New()} }

func (s *nodes) join(ttl time.Duration) *peer {
	s.t.Helper()
	f := *s.fixture
	n, err := lease.Join(s.t.Context(), lease.Options{KV: f.kv, TTL: ttl, Bus: s.bus})
	if err != nil {
		s.t.Fatal(err)
	}
	f.blobs = blob.New(blob.Options{KV: f.kv})
	f.store = store.New(store.Options{KV: f.kv, Blobs: f.blobs, Bus: s.bus, Shared: true})
	f.queue = queue.New(queue.Options{KV: f.kv, Blobs: f.blobs, Bus: s.bus, Node: n})
	n.Follow(func(ctx context.Context, m []lease.Member) { _ = f.queue.Balance(ctx, len(m)) })
	f.MTA = New(Options{
		Hostname: "mail.postel.test", KV: f.kv, Store: f.store, Blobs: f.blobs, Queue: f.queue, Directory: f.dir,
		Router: fakeRouter{}, Bus: s.bus,
	})
	f.MTA.open = f.world.openLink
	if err := n.Tick(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	p := &peer{fixture: &f, node: n, die: func() { cancel(); <-done }}
	s.t.Cleanup(func() { p.die(); _ = f.store.Close() })
	return p
}

// TestNodesDeliverOnce: mail that either node takes is sent once, by the node that has its partition.
func TestNodesDeliverOnce(t *testing.T) {
	t.Parallel()
	s := newNodes(t)
	s.initAccounts(alice)
	a, b := s.join(time.Second), s.join(time.Second)
	until(t, "the nodes share", func() bool { return a.queue.Partitions() == 32 && b.queue.Partitions() == 32 })
	a.start()
	b.start()
	const each = 100
	for i := range each {
		a.mustAccept("x@postel.test", fmt.Sprintf("u%d@a%d.test", i, i))
		b.mustAccept("x@postel.test", fmt.Sprintf("u%d@b%d.test", i, i), "alice@postel.test")
	}
	until(t, "all is sent", func() bool { return len(s.items()) == 0 })
	seen := map[string]int{}
	for _, d := range s.world.deliveries() {
		seen[d.rcpt]++
	}
	for rcpt, n := range seen {
		if n != 1 {
			t.Errorf("%s %d times", rcpt, n)
		}
	}
	if len(seen) != 2*each || len(s.mailbox(alice, "INBOX")) != each {
		t.Errorf("%d sent, %d filed", len(seen), len(s.mailbox(alice, "INBOX")))
	}
	s.verify()
}

// TestNodeDies: what a node had that says nothing any more is sent by the other; whatever the first had under way it
// cannot record.
func TestNodeDies(t *testing.T) {
	t.Parallel()
	s := newNodes(t)
	const ttl = 500 * time.Millisecond
	a := s.join(ttl)
	hold := make(chan struct{})
	s.world.hold = hold
	a.start()
	const n = 60
	for i := range n {
		a.mustAccept("x@postel.test", fmt.Sprintf("u@d%d.test", i))
	}
	until(t, "the first node has begun", func() bool { return s.world.count() >= 20 })
	a.die() // it hangs, but for its sessions
	s.world.mu.Lock()
	s.world.hold = nil
	s.world.mu.Unlock()
	b := s.join(ttl)
	b.start()
	until(t, "the other has done all", func() bool { return len(s.items()) == 0 })
	if sent := s.world.deliveries(); len(sent) != n {
		t.Errorf("%d sent", len(sent))
	}
	close(hold) // the first node's servers answer after all
	until(t, "the first has given up", func() bool { return a.queue.Leased() == 0 })
	s.verify()
}

func (w *world) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened
}

// TestStaleNodeRecordsNothing: an attempt that ends after its partition was taken over leaves the item to the other.
func TestStaleNodeRecordsNothing(t *testing.T) {
	t.Parallel()
	s := newNodes(t)
	const ttl = 400 * time.Millisecond
	a := s.join(ttl)
	hold := make(chan struct{})
	s.world.hold = hold
	a.start()
	a.mustAccept("x@postel.test", "u@d.test")
	until(t, "the first node has begun", func() bool { return s.world.count() == 1 })
	a.die()
	b := s.join(ttl)
	until(t, "the other has taken over", func() bool { return b.queue.Partitions() == 64 })
	close(hold)
	until(t, "the first has given up", func() bool { return a.queue.Leased() == 0 })
	items := s.items()
	if len(items) != 1 || items[0].Recipients[0].Attempts != 0 {
		t.Errorf("recorded by a node that was taken for dead: %+v", items)
	}
	b.start()
	until(t, "the other has sent it", func() bool { return len(s.items()) == 0 })
	s.verify()
}
