package lease

import (
	"context"
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// maxMembers bounds what is read of the list of nodes.
const maxMembers = 1000

// Members gives the nodes that were alive at the last tick, in the order of their numbers.
func (n *Node) Members() []Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.members)
}

// Beats gives the beats of all nodes of a store, for who is none of them: that of a node which is alive rises within a
// time to live.
func Beats(ctx context.Context, s kv.Store) (map[uint64]uint64, error) {
	rows, err := readNodes(ctx, s)
	if err != nil {
		return nil, mail.Wrap("lease.beats", err)
	}
	beats := make(map[uint64]uint64, len(rows))
	for _, r := range rows {
		beats[r.id] = r.beat
	}
	return beats, nil
}

func (r *nodeRow) member(self uint64) Member {
	return Member{ID: r.id, Name: r.name, Since: time.UnixMilli(int64(r.since & (1<<62 - 1))), Self: r.id == self}
}

func readNodes(ctx context.Context, s kv.Store) (rows []nodeRow, err error) {
	err = s.View(ctx, lockNodes(), func(r kv.Reader) error {
		rows, err = scanNodes(r)
		return err
	})
	return rows, err
}

func scanNodes(r kv.Reader) (rows []nodeRow, err error) {
	from := kv.K(kv.Nodes)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: maxMembers}) {
		if err != nil {
			return nil, err
		}
		x, err := decodeNode(row.Key, row.Value)
		if err != nil {
			return nil, err
		}
		rows = append(rows, x)
	}
	return rows, nil
}

// look reads all beats and evicts the nodes whose beat stood still for a TTL.
func (n *Node) look(ctx context.Context) error {
	rows, err := readNodes(ctx, n.o.KV)
	if err != nil {
		return err
	}
	alive, dead := n.sort(rows)
	for _, r := range dead {
		evicted, err := n.evict(ctx, r)
		if err != nil {
			return err
		}
		if !evicted {
			alive = append(alive, r) // it raised its beat just now
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.members = n.members[:0:0]
	for _, r := range alive {
		n.members = append(n.members, r.member(n.id))
	}
	slices.SortFunc(n.members, func(a, b Member) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return nil
}

// sort notes the beats. When the last look is too long ago, because the store did not answer or this process stood
// still, others could not be heard of either: then their time begins anew.
func (n *Node) sort(rows []nodeRow) (alive, dead []nodeRow) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.o.Clock()
	deaf := now.Sub(n.looked) > 2*n.o.TTL/3
	n.looked = now
	seen := make(map[uint64]sighting, len(rows))
	for _, r := range rows {
		s, known := n.seen[r.id]
		if !known || s.beat != r.beat || deaf {
			s = sighting{r.beat, now}
		}
		seen[r.id] = s
		if r.id != n.id && now.Sub(s.at) > n.o.TTL {
			dead = append(dead, r)
		} else {
			alive = append(alive, r)
		}
	}
	n.seen = seen
	return alive, dead
}

// evict deletes the row of a node that is dead, unless it has raised its beat.
func (n *Node) evict(ctx context.Context, dead nodeRow) (evicted bool, err error) {
	err = n.o.KV.Update(ctx, kv.Txn{Frees: true, Lock: lockNodes(), Read: []kv.Key{nodeKey(dead.id)}}, func(tx kv.Tx) error {
		evicted = false
		row, err := readNode(tx, dead.id)
		if mail.Is(err, mail.NotFound) {
			evicted = true // by another
			return nil
		}
		if err != nil || row.beat != dead.beat {
			return err
		}
		evicted = true
		tx.Delete(nodeKey(dead.id))
		return nil
	})
	if err == nil && evicted {
		n.o.Log.Warn("a node does not answer any more; what it had is free", "node", NameOf(dead.id), "name", dead.name)
		n.tell()
	}
	return evicted, err
}
