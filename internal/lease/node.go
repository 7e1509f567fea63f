package lease

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/mail"
)

// DefaultTTL is how long a node that says nothing is taken for alive.
const DefaultTTL = 15 * time.Second

// maxName bounds the name of a node, and that of a lease.
const maxName = 255

// Options are what a Node is made from. KV is needed.
type Options struct {
	KV    kv.Store
	Bus   bus.Bus          // tells other nodes at once of what became free; may be nil
	TTL   time.Duration    // the same on all nodes; 0 is DefaultTTL
	Name  string           // shown to people: the host's name
	Clock func() time.Time // nil is time.Now; only differences count
	Log   *slog.Logger     // nil is none
	// Joined is told the slot (see Node.Slot) at each joining, at once: the one before may be another's already. May be nil.
	Joined func(slot int)
}

// ErrLost says that a lease, or the membership under which it was held, is another's now; its Kind is Busy. Nothing
// was written.
var ErrLost error = &mail.Error{Op: "lease", Kind: mail.Busy, Text: "another server has taken this over"}

// Node is this process among those that share the store. Safe for concurrent use.
type Node struct {
	o Options

	ticking sync.Mutex // one Tick at a time

	mu      sync.Mutex
	id      uint64
	left    bool
	until   time.Time // the membership is certain until then
	seen    map[uint64]sighting
	looked  time.Time // of the last look at all beats
	members []Member
	epoch   uint64  // the highest given by this process: none repeats
	owed    []Lease // to be forgotten, once the store answers
	follow  []func(context.Context, []Member)
}

// sighting is the newest beat that was seen of another node, and when it was seen first.
type sighting struct {
	beat uint64
	at   time.Time
}

// Member is a node that is alive.
type Member struct {
	ID    uint64
	Name  string
	Since time.Time // when it became a member, by its own clock
	Self  bool
}

// Join makes this process a member.
func Join(ctx context.Context, o Options) (*Node, error) {
	if o.TTL <= 0 {
		o.TTL = DefaultTTL
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Name = o.Name[:min(len(o.Name), maxName)]
	n := &Node{o: o, seen: map[uint64]sighting{}}
	if err := n.join(ctx); err != nil {
		return nil, mail.Wrap("lease.join", err)
	}
	return n, mail.Wrap("lease.join", n.look(ctx))
}

// join writes a new row; what was held under an older one counts no more. Of the node's number the slot is one that no
// other member has.
func (n *Node) join(ctx context.Context) error {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	random, id, start := binary.BigEndian.Uint64(b[:]), uint64(0), n.o.Clock()
	row := nodeRow{beat: 1, since: uint64(max(start.UnixMilli(), 0)), name: n.o.Name}
	err := n.o.KV.Update(ctx, kv.Txn{Frees: true, Lock: lockNodes()}, func(tx kv.Tx) error {
		rows, err := scanNodes(tx)
		if err != nil {
			return err
		}
		id = freeNumber(random, rows)
		tx.Set(nodeKey(id), row.encode())
		return nil
	})
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.id, n.until = id, start.Add(n.o.TTL)
	n.mu.Unlock()
	if n.o.Joined != nil {
		n.o.Joined(slotOf(id))
	}
	return nil
}

// Follow has fn called after each tick, with the members there are then. Call it before Run.
func (n *Node) Follow(fn func(context.Context, []Member)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.follow = append(n.follow, fn)
}

// Run keeps the membership until ctx ends; Leave then gives it up.
func (n *Node) Run(ctx context.Context) {
	every := n.o.TTL / 3
	var hints <-chan uint64
	if n.o.Bus != nil {
		c, end := n.o.Bus.Subscribe(topic)
		defer end()
		hints = c
	}
	timer := time.NewTicker(every)
	defer timer.Stop()
	for failing := false; ; {
		tick, cancel := context.WithTimeout(ctx, every)
		err := n.Tick(tick)
		cancel()
		if err != nil && !failing && ctx.Err() == nil { // once for a database that is away
			n.o.Log.Warn("the list of nodes cannot be kept", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-hints:
		case <-timer.C:
		}
	}
}

var topic = bus.Topic{Kind: bus.Nodes}

// tell wakes other nodes.
func (n *Node) tell() {
	if n.o.Bus != nil {
		n.o.Bus.Publish(topic, 1)
	}
}

// Tick raises the beat, evicts who is dead, and calls those who follow. Run does it from time to time.
func (n *Node) Tick(ctx context.Context) error {
	n.ticking.Lock()
	defer n.ticking.Unlock()
	if err := n.beat(ctx); err != nil {
		return mail.Wrap("lease.beat", err)
	}
	if err := n.look(ctx); err != nil {
		return mail.Wrap("lease.look", err)
	}
	n.pay(ctx)
	n.mu.Lock()
	members, follow := n.members, n.follow
	n.mu.Unlock()
	for _, fn := range follow {
		fn(ctx, members)
	}
	return nil
}

// beat raises the counter; a node without a row was evicted and joins anew.
func (n *Node) beat(ctx context.Context) error {
	id, left := n.self()
	if left {
		return ErrLost
	}
	start, gone := n.o.Clock(), false
	err := n.o.KV.Update(ctx, kv.Txn{Frees: true, Lock: lockNodes(), Read: []kv.Key{nodeKey(id)}}, func(tx kv.Tx) error {
		gone = false
		row, err := readNode(tx, id)
		if mail.Is(err, mail.NotFound) {
			gone = true
			return nil
		}
		if err != nil {
			return err
		}
		row.beat++
		tx.Set(nodeKey(id), row.encode())
		return nil
	})
	if err != nil {
		return err
	}
	if gone {
		n.o.Log.Warn("other nodes took this one for dead; it begins anew", "node", NameOf(id))
		return n.join(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.until = start.Add(n.o.TTL)
	return nil
}

func (n *Node) self() (id uint64, left bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.id, n.left
}

// ID is the number of this node, another one after it was evicted.
func (n *Node) ID() uint64 {
	id, _ := n.self()
	return id
}

// Slot is a number below mail.Slots that no other member has at the time. It changes with the ID.
func (n *Node) Slot() int { return slotOf(n.ID()) }

func slotOf(id uint64) int { return int(id % mail.Slots) }

// freeNumber makes of random a number, not 0, whose slot none of rows has, as long as there is such a slot.
func freeNumber(random uint64, rows []nodeRow) uint64 {
	taken := make(map[int]bool, len(rows))
	for _, r := range rows {
		taken[slotOf(r.id)] = true
	}
	id := random | 1<<63
	for range mail.Slots {
		if !taken[slotOf(id)] {
			break
		}
		id = id&^(mail.Slots-1) | (id+1)%mail.Slots
	}
	return id
}

// NameOf shows a node's number to people.
func NameOf(id uint64) string { return fmt.Sprintf("n-%016x", id) }

// Leave ends the membership: all that this node held is free at once. What it guards must have ended.
func (n *Node) Leave(ctx context.Context) error {
	n.ticking.Lock()
	defer n.ticking.Unlock()
	n.mu.Lock()
	id := n.id
	n.left, n.until = true, time.Time{}
	n.mu.Unlock()
	err := n.o.KV.Update(ctx, kv.Txn{Frees: true, Lock: lockNodes()}, func(tx kv.Tx) error {
		tx.Delete(nodeKey(id))
		return nil
	})
	n.tell()
	return mail.Wrap("lease.leave", err)
}
