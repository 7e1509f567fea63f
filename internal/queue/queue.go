package queue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"postel/internal/blob"
	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/lease"
	"postel/internal/mail"
)

// Options are what a Queue needs.
type Options struct {
	KV    kv.Store
	Blobs Blobs
	Bus   bus.Bus          // told of what an operator makes due; may be nil
	Clock func() time.Time // nil is time.Now
	Keep  time.Duration    // how long it is known how items ended; 0 is 7 days
	// Node is set when other nodes work on the same queue: then only items of partitions that it holds are worked on
	// here, and Balance is called at each of its ticks. nil: all partitions are this process's.
	Node *lease.Node
}

// Blobs is what the queue needs of *blob.Store.
type Blobs interface {
	// Unlink drops the owner's link, under the locks of both; the last takes the body with it.
	Unlink(tx kv.Tx, id mail.ID, o blob.Owner) error
}

// Queue is the queue of one process. Safe for concurrent use.
type Queue struct {
	kv    kv.Store
	blobs Blobs
	bus   bus.Bus
	clock func() time.Time
	keep  time.Duration
	wake  chan struct{}

	mu     sync.Mutex
	last   uint64           // the newest number given
	leases map[uint64]*work // by number
	load   [partitions]int  // leases a partition
	busy   map[uint32]*held // by the hash of the destination
	behind [partitions]map[uint32]backlog
	floor  [partitions]uint64 // see floor.go
	whole  time.Time          // of the last search of everything
	follow func(Deed, *Item)
	kicked []string      // destinations
	parts  *partitionSet // nil in a queue of one process
}

// New makes a Queue over rows that may exist already.
func New(o Options) *Queue {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Keep <= 0 {
		o.Keep = 7 * 24 * time.Hour
	}
	q := &Queue{
		kv: o.KV, blobs: o.Blobs, bus: o.Bus, clock: o.Clock, keep: o.Keep, wake: make(chan struct{}, 1),
		leases: map[uint64]*work{}, busy: map[uint32]*held{},
	}
	if o.Node != nil {
		q.parts = &partitionSet{node: o.Node}
	}
	return q
}

// NewID makes an id for an item. Numbers rise within a process and begin at random within each millisecond.
func (q *Queue) NewID(destination string) ID {
	ms := millis(q.clock())
	var r [4]byte
	_, _ = rand.Read(r[:])                                // never fails (crypto/rand)
	random := uint64(binary.BigEndian.Uint32(r[:]) >> 11) // 21 bits: the upper half stays free for counting
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last = max(q.last+1, ms<<22|random)
	return ID{Partition: partition(destination), Number: q.last}
}

func partition(destination string) uint16 { return uint16(kv.Hash32(destination) % partitions) }

// Add writes a new item, whose ID came from NewID, in a transaction that holds the item's lock. link adds the
// blob's link for the item; the first link of a new body writes the body too. Kind TooMany or TooLarge when the
// item is beyond its limits.
func (q *Queue) Add(tx kv.Tx, it *Item, link func(tx kv.Tx, o blob.Owner)) error {
	switch {
	case len(it.Recipients) == 0 || len(it.Recipients) > MaxRecipients:
		return mail.E("queue.add", mail.TooMany, "a queue item has 1 to %d recipients", MaxRecipients)
	case len(it.Prefix) > MaxPrefix:
		return mail.E("queue.add", mail.TooLarge, "the trace fields are too long")
	case it.ID.Partition != partition(it.Destination):
		return mail.E("queue.add", mail.Internal, "the item's id is of another destination")
	}
	link(tx, it.ID.Owner())
	tx.Set(it.ID.key(kv.QueueItems), it.encode())
	for n := range it.Recipients {
		tx.Set(it.ID.rcptKey(n), it.Recipients[n].encode())
	}
	if due, ok := it.Due(); ok {
		q.setDue(tx, it, due)
	}
	tx.Set(it.ID.domainKey(it.Destination), nil)
	return nil
}

// errGone says that an item does not exist.
func errGone(op string) error { return mail.E(op, mail.NotFound, "no such queue item") }

// read gives an item as it is in a transaction or snapshot that holds its lock; Kind NotFound.
func read(r kv.Reader, id ID) (*Item, error) {
	v, err := r.Get(id.key(kv.QueueItems))
	if mail.Is(err, mail.NotFound) {
		return nil, errGone("queue.read")
	}
	if err != nil {
		return nil, err
	}
	it, err := decodeItem(id, v)
	if err != nil {
		return nil, err
	}
	return it, it.readRecipients(r)
}

func (it *Item) readRecipients(r kv.Reader) error {
	keys := make([]kv.Key, len(it.Recipients))
	for n := range keys {
		keys[n] = it.ID.rcptKey(n)
	}
	vs, err := r.GetMulti(keys)
	if err != nil {
		return err
	}
	for n, v := range vs {
		if v == nil {
			return mail.E("queue.read", mail.Internal, "recipient %d of %s has no row", n, it.ID)
		}
		if err := it.Recipients[n].decode(it.ID, v); err != nil {
			return err
		}
	}
	return nil
}

// Show gives one item; Kind NotFound when it has ended or never was.
func (q *Queue) Show(ctx context.Context, id ID) (*Item, error) {
	items, err := q.fetch(ctx, []ID{id})
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, errGone("queue.show")
	}
	return items[0], nil
}

// fetch gives those of the items that exist, durable ones only, in order.
func (q *Queue) fetch(ctx context.Context, ids []ID) ([]*Item, error) {
	const step = 64
	var out []*Item
	for part := range slices.Chunk(ids, step) {
		locks := make([]kv.Key, len(part))
		for i, id := range part {
			locks[i] = id.Lock()
		}
		err := q.kv.View(ctx, locks, func(r kv.Reader) error {
			for _, id := range part {
				it, err := read(r, id)
				if mail.Is(err, mail.NotFound) {
					continue
				}
				if err != nil {
					return err
				}
				out = append(out, it)
			}
			return nil
		})
		if err != nil {
			return nil, mail.Wrap("queue.fetch", err)
		}
	}
	return out, nil
}
