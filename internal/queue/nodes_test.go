package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"postel/internal/lease"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// site is a queue that several nodes share.
type site struct {
	*fixture
	t *testing.T
}

// peer is the queue as one node sees it.
type peer struct {
	*fixture
	node *lease.Node
}

func (s *site) join() *peer {
	s.t.Helper()
	n, err := lease.Join(s.t.Context(), lease.Options{KV: s.kv, Clock: s.clock})
	if err != nil {
		s.t.Fatal(err)
	}
	f := &fixture{kv: s.kv, now: s.clock()}
	f.Queue = New(Options{KV: s.kv, Clock: s.clock, Blobs: links{}, Node: n})
	n.Follow(func(ctx context.Context, m []lease.Member) {
		if err := f.Balance(ctx, len(m)); err != nil {
			s.t.Error(err)
		}
	})
	return &peer{f, n}
}

// live lets time pass while the nodes tick.
func (s *site) live(d time.Duration, peers ...*peer) {
	s.t.Helper()
	for ; d >= 0; d -= 5 * time.Second {
		for _, p := range peers {
			if err := p.node.Tick(s.t.Context()); err != nil {
				s.t.Fatal(err)
			}
		}
		if d > 0 {
			s.pass(5 * time.Second)
		}
	}
}

func (s *site) due(p *peer, n int) []*Item {
	s.t.Helper()
	items, err := p.Due(s.t.Context(), s.clock(), n, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	return items
}

func (s *site) done(p *peer, it *Item) error {
	_, err := p.Done(s.t.Context(), it, []Outcome{{N: 0, State: Delivered, Result: result(250, "ok")}})
	p.Return(it)
	return err
}

func newSite(t *testing.T) *site { return &site{newFixture(t, vfs.NewMem()), t} }

// fill adds an item for each of n destinations from outside the nodes.
func (s *site) fill(n int) {
	s.t.Helper()
	for i := range n {
		s.add(s.t, s.item(fmt.Sprintf("d%d.test", i), "bob"))
	}
}

// TestNodesShare: nodes divide the partitions evenly, and each item is handed out by one of them.
func TestNodesShare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(200)
	a := s.join()
	s.live(0, a)
	if a.Partitions() != 64 {
		t.Fatalf("a node alone has %d", a.Partitions())
	}
	b, c := s.join(), s.join()
	s.live(15*time.Second, a, b, c)
	for _, p := range []*peer{a, b, c} {
		if n := p.Partitions(); n < 20 || n > 22 {
			t.Errorf("a node of three has %d", n)
		}
	}
	seen := map[ID]bool{}
	for _, p := range []*peer{a, b, c} {
		for _, it := range s.due(p, 1000) {
			if seen[it.ID] {
				t.Error("handed out twice")
			}
			seen[it.ID] = true
			if err := s.done(p, it); err != nil {
				t.Error(err)
			}
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d handed out", len(seen))
	}
	if err := b.node.Leave(t.Context()); err != nil { // a graceful stop
		t.Fatal(err)
	}
	s.live(0, a, c)
	if a.Partitions() != 32 || c.Partitions() != 32 {
		t.Errorf("%d and %d after one left", a.Partitions(), c.Partitions())
	}
	s.verify(t)
}

// TestBusyPartitionStays: a partition is given up only when what was begun in it is recorded.
func TestBusyPartitionStays(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.fill(200)
	a := s.join()
	s.live(0, a)
	working := s.due(a, 1000)
	b := s.join()
	s.live(20*time.Second, a, b)
	if len(working) != 200 || len(s.due(b, 1000)) != 0 {
		t.Error("another node works on them too")
	}
	for _, it := range working {
		if err := s.done(a, it); err != nil {
			t.Fatal(err)
		}
	}
	s.live(5*time.Second, a, b)
	if a.Partitions() != 32 || b.Partitions() != 32 {
		t.Errorf("%d and %d", a.Partitions(), b.Partitions())
	}
	s.verify(t)
}

// TestTakeOver: what a dead node had is tried by another after the time to live, and the dead one records nothing.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.join(), s.join()
	s.live(15*time.Second, a, b)
	s.fill(100)
	mine := s.due(a, 1000)
	for _, it := range s.due(b, 1000) {
		if err := s.done(b, it); err != nil {
			t.Fatal(err)
		}
	}
	if len(mine) < 20 {
		t.Fatalf("%d items", len(mine))
	}
	s.live(10*time.Second, b)
	if len(s.due(b, 1000)) != 0 {
		t.Error("taken over too early")
	}
	s.live(10*time.Second, b)
	if _, err := a.Fresh(t.Context(), mine[0]); !mail.Is(err, mail.NotFound) {
		t.Errorf("a stale node may begin: %v", err)
	}
	theirs := s.due(b, 1000)
	if len(theirs) != len(mine) {
		t.Errorf("%d of %d taken over", len(theirs), len(mine))
	}
	if err := s.done(a, mine[0]); !errors.Is(err, ErrLost) {
		t.Errorf("a stale node recorded: %v", err)
	}
	for _, it := range theirs {
		if err := s.done(b, it); err != nil {
			t.Error(err)
		}
	}
	s.live(15*time.Second, a, b) // it was only slow
	if a.Partitions() != 32 || b.Partitions() != 32 {
		t.Errorf("%d and %d", a.Partitions(), b.Partitions())
	}
	s.verify(t)
}

// TestOperateAnywhere: what an operator does at one node counts at that which has the item.
func TestOperateAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a, b := s.join(), s.join()
	s.live(15*time.Second, a, b)
	s.fill(40)
	mine := s.due(a, 1000)
	if len(mine) < 3 {
		t.Fatal("too few")
	}
	ctx := t.Context()
	if err := b.Hold(ctx, mine[0].ID); err != nil {
		t.Fatal(err)
	}
	if it, err := a.Fresh(ctx, mine[0]); err != nil || it.Recipients[0].State != Held {
		t.Error("held elsewhere, and tried", err)
	}
	if _, err := b.Drop(ctx, mine[1].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fresh(ctx, mine[1]); !mail.Is(err, mail.NotFound) {
		t.Errorf("dropped elsewhere, and tried: %v", err)
	}
	if err := s.done(a, mine[1]); !mail.Is(err, mail.NotFound) {
		t.Errorf("%v", err)
	}
	if err := s.done(a, mine[2]); err != nil {
		t.Error(err)
	}
	a.Return(mine[0])
	if err := b.Release(ctx, mine[0].ID); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Kick(ctx, mine[0].Destination); err != nil || n != 1 {
		t.Error(n, err)
	}
	if again := s.due(a, 1000); len(again) != 1 || again[0].ID != mine[0].ID {
		t.Errorf("%d due after the release", len(again))
	}
	s.verify(t)
}
