package lease

import (
	"context"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Lease is what a node holds, as long as the row says so. The zero value is none.
type Lease struct {
	Name  string
	node  uint64
	epoch uint64
}

// Epoch is raised each time the lease is taken.
func (l Lease) Epoch() uint64 { return l.epoch }

// IsZero tells that it is none.
func (l Lease) IsZero() bool { return l.node == 0 }

// Lock is what a transaction that asserts the lease must hold.
func (l Lease) Lock() kv.Key { return kv.LockLease(l.Name) }

// Assert fails with ErrLost when the lease is another's, in a transaction that holds its Lock.
func (l Lease) Assert(r kv.Reader) error {
	v, err := r.Get(kv.LockLease(l.Name))
	if mail.Is(err, mail.NotFound) {
		return ErrLost
	}
	if err != nil {
		return err
	}
	row, err := decodeLease(v)
	if err == nil && (row.node != l.node || row.epoch != l.epoch || l.node == 0) {
		return ErrLost
	}
	return err
}

// Held tells that no other node can have taken the lease by now. Ask before work that cannot be undone.
func (n *Node) Held(l Lease) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.node == n.id && l.node != 0 && n.o.Clock().Before(n.until)
}

// Mine tells that the lease was taken under the membership that stands.
func (n *Node) Mine(l Lease) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return l.node == n.id && l.node != 0
}

// Take takes those of the leases that are free, most at most, in one transaction, and gives them. Names have 1 to 255
// octets. What this node holds already counts as free and is taken anew, with a new epoch: the caller knows what it has,
// but for a Take or Give whose outcome it never learnt. ErrLost when this node is no member any more.
func (n *Node) Take(ctx context.Context, most int, names ...string) ([]Lease, error) {
	free, err := n.free(ctx, names)
	if err != nil {
		return nil, mail.Wrap("lease.take", err)
	}
	if free = free[:min(len(free), max(most, 0))]; len(free) == 0 {
		return nil, nil
	}
	var taken []Lease
	id, left := n.self()
	if left {
		return nil, ErrLost
	}
	t := kv.Txn{Frees: true, Lock: append(lockNodes(), leaseKeys(free)...), Read: append(leaseKeys(free), nodeKey(id))}
	err = n.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		taken = taken[:0]
		if _, err := readNode(tx, id); err != nil {
			if mail.Is(err, mail.NotFound) {
				return ErrLost
			}
			return err
		}
		rows, err := freeOf(tx, id, free)
		for name, row := range rows {
			l := Lease{Name: name, node: id, epoch: n.above(row.epoch)}
			tx.Set(kv.LockLease(name), leaseRow{node: id, epoch: l.epoch}.encode())
			taken = append(taken, l)
		}
		return err
	})
	if err != nil {
		return nil, mail.Wrap("lease.take", err)
	}
	return taken, nil
}

func leaseKeys(names []string) []kv.Key {
	keys := make([]kv.Key, len(names))
	for i, name := range names {
		keys[i] = kv.LockLease(name)
	}
	return keys
}

// free gives those of the names that nobody alive holds.
func (n *Node) free(ctx context.Context, names []string) (free []string, err error) {
	for _, name := range names {
		if name == "" || len(name) > maxName {
			return nil, mail.E("lease.take", mail.Internal, "a lease's name has 1 to %d octets", maxName)
		}
	}
	id, _ := n.self()
	err = n.o.KV.View(ctx, append(lockNodes(), leaseKeys(names)...), func(r kv.Reader) error {
		free = free[:0]
		rows, err := freeOf(r, id, names)
		for _, name := range names {
			if _, ok := rows[name]; ok {
				free = append(free, name)
			}
		}
		return err
	})
	return free, err
}

// freeOf gives the rows of the leases that the node self may take.
func freeOf(r kv.Reader, self uint64, names []string) (map[string]leaseRow, error) {
	values, err := r.GetMulti(leaseKeys(names))
	if err != nil {
		return nil, err
	}
	free, member := map[string]leaseRow{}, map[uint64]bool{self: false}
	for i, v := range values {
		if v == nil {
			free[names[i]] = leaseRow{}
			continue
		}
		row, err := decodeLease(v)
		if err != nil {
			return nil, err
		}
		alive, known := member[row.node]
		if !known && row.node != 0 {
			_, err := readNode(r, row.node)
			if alive = err == nil; err != nil && !mail.Is(err, mail.NotFound) {
				return nil, err
			}
			member[row.node] = alive
		}
		if !alive {
			free[names[i]] = row
		}
	}
	return free, nil
}

// Give gives leases back, so that they are free at once; those that are another's by now stay as they are. The epochs
// are remembered.
func (n *Node) Give(ctx context.Context, leases ...Lease) error {
	return n.end(ctx, leases, func(tx kv.Tx, l Lease) {
		tx.Set(l.Lock(), leaseRow{epoch: l.epoch}.encode())
	})
}

// Forget is Give for leases that come and go: nothing is left of them, and the next holder's epoch may be a lower one.
// While the store does not answer they stay held; each tick then tries again.
func (n *Node) Forget(ctx context.Context, leases ...Lease) error {
	err := n.end(ctx, leases, func(tx kv.Tx, l Lease) { tx.Delete(l.Lock()) })
	if err != nil {
		n.mu.Lock()
		n.owed = append(n.owed, leases...)
		n.mu.Unlock()
	}
	return err
}

// pay forgets what could not be forgotten before.
func (n *Node) pay(ctx context.Context) {
	n.mu.Lock()
	owed := n.owed
	n.owed = nil
	n.mu.Unlock()
	for _, l := range owed {
		_ = n.Forget(ctx, l) // owed again when it fails
	}
}

// above gives an epoch higher than that of the row, and than any this process had.
func (n *Node) above(epoch uint64) uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.epoch = max(n.epoch, epoch) + 1
	return n.epoch
}

func (n *Node) end(ctx context.Context, leases []Lease, fn func(kv.Tx, Lease)) error {
	if len(leases) == 0 {
		return nil
	}
	var t kv.Txn
	for _, l := range leases {
		t.Lock = append(t.Lock, l.Lock())
	}
	t.Read = t.Lock
	err := n.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		for _, l := range leases {
			switch err := l.Assert(tx); {
			case err == nil:
				fn(tx, l)
			case !mail.Is(err, mail.Busy):
				return err
			}
		}
		return nil
	})
	n.tell()
	return mail.Wrap("lease.give", err)
}
