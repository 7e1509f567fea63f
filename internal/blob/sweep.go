package blob

import (
	"context"
	"errors"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

const sweepBatch = 256 // garbage rows looked at in one go

// Sweep drops links that have ended, removes bodies whose last link is gone, and objects that no row names and that are older than olderThan: it
// must be longer than any transaction takes from Seal to its commit. It gives the number of bodies and objects
// removed. It may run at any time and be stopped by ctx; what is left is for the next one.
func (s *Store) Sweep(ctx context.Context, olderThan time.Duration) (removed int, err error) {
	if _, err := s.sweepEnded(ctx); err != nil {
		return 0, mail.Wrap("blob.sweep", err)
	}
	n, err := s.sweepGarbage(ctx)
	if err != nil || s.large == nil {
		return n, mail.Wrap("blob.sweep", err)
	}
	before := s.clock().Add(-olderThan)
	k, err := sweepUnfinished(ctx, s.large, before)
	if n += k; err != nil {
		return n, mail.Wrap("blob.sweep", err)
	}
	m, err := s.sweepObjects(ctx, before)
	return n + m, mail.Wrap("blob.sweep", err)
}

// Collect is the quick part of Sweep: it removes bodies whose last link is gone. For a disk that is nearly full.
func (s *Store) Collect(ctx context.Context) (removed int, err error) {
	n, err := s.sweepGarbage(ctx)
	return n, mail.Wrap("blob.collect", err)
}

// sweepGarbage works through the bg rows.
func (s *Store) sweepGarbage(ctx context.Context) (removed int, err error) {
	from := kv.K(kv.BlobGarbage)
	end := from.End()
	for {
		ids, err := s.garbage(ctx, from, end)
		if err != nil || len(ids) == 0 {
			return removed, err
		}
		for _, id := range ids {
			gone, err := s.collect(ctx, id)
			if err != nil {
				return removed, err
			}
			if gone {
				removed++
			}
		}
		from = append(garbageKey(ids[len(ids)-1]), 0)
	}
}

// garbage lists some of the bodies that may have no link.
func (s *Store) garbage(ctx context.Context, from, to kv.Key) (ids []mail.ID, err error) {
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		ids = ids[:0]
		for row, err := range r.Scan(from, to, kv.ScanOptions{KeysOnly: true, Limit: sweepBatch}) {
			if err != nil {
				return err
			}
			if id, ok := idOf(row.Key); ok {
				ids = append(ids, id)
			}
		}
		return nil
	})
	return ids, err
}

func idOf(k kv.Key) (id mail.ID, ok bool) {
	if len(k) != 2+len(id) {
		return id, false
	}
	return id, copy(id[:], k[2:]) == len(id)
}

// collect removes a body that has no link: first its row, durably, then its object, then its mention as garbage.
func (s *Store) collect(ctx context.Context, id mail.ID) (gone bool, err error) {
	objects := false
	lock := []kv.Key{kv.LockBlob(id)}
	err = s.kv.Update(ctx, kv.Txn{Lock: lock, Frees: true}, func(tx kv.Tx) error {
		gone, objects = false, false
		none, err := lastLink(tx, id, nil)
		if err != nil {
			return err
		}
		if !none {
			tx.Delete(garbageKey(id))
			return nil
		}
		b, err := tx.Get(blobKey(id))
		if err != nil && !mail.Is(err, mail.NotFound) {
			return err
		}
		r, ok := parseRow(b)
		gone = true
		objects = s.large != nil && (!ok || r.form == object)
		tx.Delete(blobKey(id))
		if !objects {
			tx.Delete(garbageKey(id))
		}
		return nil
	})
	if err != nil || !objects {
		return gone, err
	}
	if err := s.large.Remove(ctx, id); err != nil {
		return false, err
	}
	return true, s.kv.Update(ctx, kv.Txn{Lock: lock, Frees: true}, func(tx kv.Tx) error {
		tx.Delete(garbageKey(id))
		return nil
	})
}

// sweepObjects removes the objects older than before that no row names.
func (s *Store) sweepObjects(ctx context.Context, before time.Time) (removed int, err error) {
	for info, err := range s.large.List(ctx) {
		if err != nil {
			return removed, err
		}
		if !info.Changed.Before(before) {
			continue
		}
		named, err := s.named(ctx, info.ID)
		if err != nil {
			return removed, err
		}
		if named {
			continue
		}
		if err := s.large.Remove(ctx, info.ID); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

// named tells whether a row names the object.
func (s *Store) named(ctx context.Context, id mail.ID) (bool, error) {
	err := s.kv.View(ctx, []kv.Key{kv.LockBlob(id)}, func(r kv.Reader) error {
		_, err := r.Get(blobKey(id))
		return err
	})
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
