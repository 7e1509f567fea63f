package lease

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"postel/internal/bus/local"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// place is a store and a clock that several nodes share.
type place struct {
	t  *testing.T
	kv kv.Store

	mu  sync.Mutex
	now time.Time
}

func newPlace(t *testing.T) *place {
	s, err := pebble.Open(pebble.Options{FS: vfs.NewMem(), Dir: "/kv", MemTableSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &place{
		t: t, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		kv: kvtest.Strict(s, kvtest.Options{Report: func(a ...any) { t.Error(a...) }}),
	}
}

func (p *place) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *place) join(name string) *Node {
	p.t.Helper()
	n, err := Join(p.t.Context(), Options{KV: p.kv, Clock: p.clock, Name: name})
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// live lets time pass while the nodes tick.
func (p *place) live(d time.Duration, nodes ...*Node) {
	p.t.Helper()
	for ; d > 0; d -= DefaultTTL / 3 {
		p.pass(DefaultTTL / 3)
		for _, n := range nodes {
			if err := n.Tick(p.t.Context()); err != nil {
				p.t.Fatal(err)
			}
		}
	}
}

func (p *place) take(n *Node, names ...string) []Lease {
	p.t.Helper()
	got, err := n.Take(p.t.Context(), len(names), names...)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}

// holds tells whether a transaction under the lease would commit.
func (p *place) holds(l Lease) bool {
	err := p.kv.Update(p.t.Context(), kv.Txn{Lock: []kv.Key{l.Lock()}}, func(tx kv.Tx) error { return l.Assert(tx) })
	if err != nil && !errors.Is(err, ErrLost) {
		p.t.Fatal(err)
	}
	return err == nil
}

func TestTakeAndGive(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a, b := p.join("a"), p.join("b")
	got := p.take(a, "x", "y")
	if len(got) != 2 || got[0].Epoch() == 0 || !a.Held(got[0]) || !p.holds(got[0]) {
		t.Fatalf("%+v", got)
	}
	if b.Held(got[0]) {
		t.Error("held by the other")
	}
	if other := p.take(b, "x", "y", "z"); len(other) != 1 || other[0].Name != "z" {
		t.Errorf("taken from a: %+v", other)
	}
	if err := a.Give(t.Context(), got...); err != nil {
		t.Fatal(err)
	}
	if p.holds(got[0]) {
		t.Error("holds what it gave back")
	}
	again := p.take(b, "x")
	if len(again) != 1 || !p.holds(again[0]) {
		t.Fatalf("%+v", again)
	}
	if err := a.Give(t.Context(), got...); err != nil || !p.holds(again[0]) {
		t.Error("an old lease was given back for its successor", err)
	}
	if err := b.Forget(t.Context(), again...); err != nil {
		t.Fatal(err)
	}
	if first := p.take(a, "x"); len(first) != 1 || !p.holds(first[0]) {
		t.Errorf("%+v", first)
	}
}

// TestKilled: what a node had that ended without a word is free after the time to live, not before, and it can commit
// nothing any more.
func TestKilled(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a, b := p.join("a"), p.join("b")
	mine := p.take(a, "x")[0]
	p.live(time.Minute, a, b)
	if !a.Held(mine) || len(b.Members()) != 2 {
		t.Fatal("a node that ticks lost its lease")
	}
	p.live(DefaultTTL, b) // a is dead
	if len(p.take(b, "x")) != 0 {
		t.Error("taken over too early")
	}
	if a.Held(mine) {
		t.Error("held beyond the time to live")
	}
	p.live(DefaultTTL, b)
	if m := b.Members(); len(m) != 1 || !m[0].Self || m[0].Name != "b" {
		t.Errorf("%+v", m)
	}
	if !p.holds(mine) {
		t.Error("nobody has taken it yet")
	}
	next := p.take(b, "x")
	if len(next) != 1 || next[0].Epoch() <= mine.Epoch() || !p.holds(next[0]) {
		t.Fatalf("%+v", next)
	}
	if p.holds(mine) {
		t.Error("a stale holder can commit")
	}
	// It was not dead, only slow: it comes back as another.
	old := a.ID()
	if _, err := a.Take(t.Context(), 1, "y"); !errors.Is(err, ErrLost) {
		t.Errorf("took while evicted: %v", err)
	}
	p.live(DefaultTTL/3, a, b)
	if a.ID() == old || a.Mine(mine) || len(p.take(a, "y")) != 1 {
		t.Error("it does not begin anew")
	}
}

// TestStoreAway: while the store answers nobody, nobody is dead.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a, b := p.join("a"), p.join("b")
	mine := p.take(a, "x")[0]
	p.live(DefaultTTL, a, b)
	p.pass(10 * DefaultTTL)
	if err := b.Tick(t.Context()); err != nil || len(b.Members()) != 2 {
		t.Fatal("evicted by a node that was deaf", err, b.Members())
	}
	p.live(DefaultTTL, a, b)
	if !p.holds(mine) || !a.Held(mine) {
		t.Error("lost")
	}
}

func TestLeave(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	a, b := p.join("a"), p.join("b")
	mine := p.take(a, "x")[0]
	if err := a.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a.Held(mine) || len(p.take(b, "x")) != 1 {
		t.Error("not free at once")
	}
	if err := a.Tick(t.Context()); !errors.Is(err, ErrLost) || !mail.Is(err, mail.Busy) {
		t.Errorf("a node that left ticks: %v", err)
	}
}

// TestRace has nodes take the same names at once: each has one holder.
func TestRace(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	var mu sync.Mutex
	holders := map[string]int{}
	var wg sync.WaitGroup
	for range 4 {
		n := p.join("n")
		wg.Go(func() {
			got, err := n.Take(context.Background(), 5, names...)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, l := range got {
				holders[l.Name]++
			}
		})
	}
	wg.Wait()
	for name, n := range holders {
		if n != 1 {
			t.Errorf("%s has %d holders", name, n)
		}
	}
	if len(holders) < 5 {
		t.Errorf("%d taken", len(holders))
	}
}

// TestHints: a node that leaves is noticed by others at once.
func TestHints(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	b := local.New()
	var nodes []*Node
	for range 2 {
		n, err := Join(t.Context(), Options{KV: p.kv, Bus: b})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	alone := make(chan struct{}, 100)
	nodes[1].Follow(func(_ context.Context, m []Member) {
		if len(m) == 1 {
			alone <- struct{}{}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { nodes[1].Run(ctx) })
	defer wg.Wait()
	defer cancel()
	time.Sleep(10 * time.Millisecond)
	if err := nodes[0].Leave(ctx); err != nil {
		t.Fatal(err)
	}
	select {
	case <-alone:
	case <-time.After(4 * time.Second):
		t.Error("not noticed")
	}
}

func FuzzRows(f *testing.F) {
	f.Add((&nodeRow{beat: 3, since: 1 << 40, name: "mx1"}).encode(), leaseRow{7, 9}.encode())
	f.Fuzz(func(t *testing.T, node, lease []byte) {
		if r, err := decodeNode(nodeKey(5), node); err == nil {
			back, err := decodeNode(nodeKey(5), r.encode())
			if err != nil || back != r {
				t.Errorf("%+v came back as %+v, %v", r, back, err)
			}
		}
		if r, err := decodeLease(lease); err == nil {
			if back, err := decodeLease(r.encode()); err != nil || back != r {
				t.Errorf("%+v came back as %+v, %v", r, back, err)
			}
		}
	})
}

// deaf is a store whose list of nodes cannot be read.
type deaf struct{ kv.Store }

func (deaf) View(context.Context, []kv.Key, func(kv.Reader) error) error {
	return errors.New("no answer")
}

// TestJoined: a node that was evicted and joins anew uses its new slot at once, also when the store does not answer the next
// question: its old one is free for others.
func TestJoined(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	told := -1
	n, err := Join(t.Context(), Options{KV: p.kv, Clock: p.clock, Joined: func(slot int) { told = slot }})
	if err != nil || told != n.Slot() {
		t.Fatal(told, err)
	}
	old := n.ID()
	p.live(3*DefaultTTL, p.join("other")) // takes it for dead
	n.o.KV, told = deaf{p.kv}, -1
	if err := n.Tick(t.Context()); err == nil || n.ID() == old || told != n.Slot() {
		t.Errorf("slot %d is used, %d is the node's (%v)", told, n.Slot(), err)
	}
}

// TestSlots: no two members have the same slot, also when their random numbers would, and after evictions.
func TestSlots(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	seen := map[int]bool{}
	var nodes []*Node
	for range 100 { // with random slots two of 512 would be the same with certainty, nearly
		n := p.join("n")
		if s := n.Slot(); seen[s] || s < 0 || s >= mail.Slots {
			t.Fatal("slot", s, "is taken")
		}
		seen[n.Slot()] = true
		nodes = append(nodes, n)
	}
	p.live(3*DefaultTTL, nodes[:10]...) // the others die
	clear(seen)
	for _, n := range append([]*Node{p.join("new")}, nodes[:10]...) {
		if seen[n.Slot()] {
			t.Error("slot", n.Slot(), "is taken")
		}
		seen[n.Slot()] = true
	}
	for _, c := range []struct{ random, want uint64 }{{0, 1<<63 + 1}, {mail.Slots - 1, 1<<63 + mail.Slots - 1}} {
		if id := freeNumber(c.random, []nodeRow{{id: 0}, {id: 512}}); id != c.want {
			t.Errorf("%#x", id)
		}
	}
	if id := freeNumber(511, []nodeRow{{id: 511}, {id: 0}, {id: 513}}); id != 1<<63+2 {
		t.Errorf("%#x", id)
	}
}
