package blob

import (
	"context"
	"encoding/binary"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Links that end by themselves have their end in the value of bk, and a row bx by which Sweep finds them in the order
// of their ends: so a sweep with nothing to do is one seek (4 µs), where a scan of all links takes 45 ms for each
// million of them when they lie in memory, and reads them all when they do not (BenchmarkSweepIdle).

// linkVersion begins the value of a link that ends.
const linkVersion = 1

// LinkUntil makes o an owner of an existing body until then, in whole seconds; it takes the place of a link that o has.
// Its locks are those of Link; to give a link that ends another end, or none by Link, the transaction holds
// kv.LockBlob(id), which Sweep takes.
func (s *Store) LinkUntil(tx kv.Tx, id mail.ID, o Owner, until time.Time) {
	end := uint64(max(until.Unix(), 0))
	tx.Set(linkKey(id, o), kv.Key{linkVersion}.U64(end))
	tx.Set(endKey(end, id, o), nil)
}

func endKey(end uint64, id mail.ID, o Owner) kv.Key {
	return append(make(kv.Key, 0, 48), kv.K(kv.BlobEnds)...).U64(end).ID(id).U8(byte(o.Kind)).U64(o.A).U64(o.ID)
}

// ending is a row bx.
type ending struct {
	key kv.Key
	end uint64
	id  mail.ID
	o   Owner
}

func parseEnd(k kv.Key) (e ending, ok bool) {
	if len(k) != 2+8+16+1+8+8 {
		return e, false
	}
	e.key, e.end = append(e.key, k...), binary.BigEndian.Uint64(k[2:])
	copy(e.id[:], k[10:])
	e.o = Owner{Kind: Kind(k[26]), A: binary.BigEndian.Uint64(k[27:]), ID: binary.BigEndian.Uint64(k[35:])}
	return e, true
}

// sweepEnded drops the links whose end has come.
func (s *Store) sweepEnded(ctx context.Context) (dropped int, err error) {
	now := uint64(max(s.clock().Unix(), 0))
	for {
		ended, err := s.ended(ctx, now)
		if err != nil || len(ended) == 0 {
			return dropped, err
		}
		for _, e := range ended {
			if err := s.dropEnded(ctx, e); err != nil {
				return dropped, err
			}
			dropped++
		}
	}
}

// ended lists some links that end up to now.
func (s *Store) ended(ctx context.Context, now uint64) (list []ending, err error) {
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		list = list[:0]
		o := kv.ScanOptions{KeysOnly: true, Limit: sweepBatch}
		for row, err := range r.Scan(kv.K(kv.BlobEnds), kv.K(kv.BlobEnds).U64(now+1), o) {
			if err != nil {
				return err
			}
			if e, ok := parseEnd(row.Key); ok {
				list = append(list, e)
			}
		}
		return nil
	})
	return list, err
}

// dropEnded drops one, unless it was given another end since.
func (s *Store) dropEnded(ctx context.Context, e ending) error {
	return s.kv.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockBlob(e.id)}}, func(tx kv.Tx) error {
		tx.Delete(e.key)
		rows, err := tx.GetMulti([]kv.Key{linkKey(e.id, e.o)})
		if err != nil {
			return err
		}
		if v := rows[0]; len(v) != 9 || v[0] != linkVersion || binary.BigEndian.Uint64(v[1:]) != e.end {
			return nil
		}
		return s.Unlink(tx, e.id, e.o)
	})
}
