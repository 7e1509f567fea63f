package queue

import (
	"context"
	"encoding/binary"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Archive gives an item's rows, for backups: that of qi, then those of qr, each behind its length.
func (it *Item) Archive() []byte {
	v := it.encode()
	b := append(binary.AppendUvarint(nil, uint64(len(v))), v...)
	for n := range it.Recipients {
		v := it.Recipients[n].encode()
		b = append(binary.AppendUvarint(b, uint64(len(v))), v...)
	}
	return b
}

// Unarchive reads what Archive gave. Kind Internal when it is damaged, Invalid when the number is not of an item's.
func Unarchive(number uint64, b []byte) (*Item, error) {
	next := func() []byte {
		n, l := binary.Uvarint(b)
		if l <= 0 || n > uint64(len(b)-l) {
			b = nil
			return nil
		}
		v := b[l : l+int(n)]
		b = b[l+int(n):]
		return v
	}
	it, err := decodeItem(ID{Number: number}, next())
	if err != nil {
		return nil, err
	}
	it.ID.Partition = partition(it.Destination)
	for n := range it.Recipients {
		if err := it.Recipients[n].decode(it.ID, next()); err != nil {
			return nil, err
		}
	}
	if len(b) > 0 || len(it.Prefix) > MaxPrefix {
		return nil, mail.E("queue.unarchive", mail.Invalid, "more than an item")
	}
	return it, nil
}

// Restore adds an item of a backup, held: whether it was sent since, only its operator knows. It tells whether it was
// added; one that is in the queue stays as it is, and one of which nothing is left to do is not added.
func (q *Queue) Restore(ctx context.Context, it *Item, link func(tx kv.Tx, o blob.Owner)) (added bool, err error) {
	open := false
	for n := range it.Recipients {
		if r := &it.Recipients[n]; !r.State.Final() {
			r.State, open = Held, true
		}
	}
	if !open {
		return false, nil
	}
	err = q.kv.Update(ctx, kv.Txn{Lock: it.Locks()}, func(tx kv.Tx) error {
		added = false
		v, err := tx.GetMulti([]kv.Key{it.ID.key(kv.QueueItems)})
		if err != nil || v[0] != nil {
			return err
		}
		added = true
		if err := q.Add(tx, it, link); err != nil {
			return err
		}
		if v, err = tx.GetMulti([]kv.Key{kv.K(kv.Blobs).ID(it.Blob)}); err == nil && v[0] == nil {
			err = mail.E("queue.restore", mail.Busy, "a body went away meanwhile: try again")
		}
		return err
	})
	return added, mail.Wrap("queue.restore", err)
}
