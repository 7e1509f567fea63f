package pebble

import (
	"context"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/space"
)

// View implements kv.Store.
func (s *Store) View(ctx context.Context, lock []kv.Key, fn func(kv.Reader) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	snapshot, err := s.guarded(ctx, lock)
	if err != nil {
		return err
	}
	defer func() { _ = snapshot.Close() }() // has no error but misuse
	r := reader{s: s, src: snapshot}
	defer r.close()
	err = fn(&r)
	if failed := s.Err(); failed != nil {
		return failed // what fn read may have come from a disk that was frozen under it
	}
	return err
}

// guarded opens a snapshot in which everything under the locks is durable.
func (s *Store) guarded(ctx context.Context, lock []kv.Key) (*pebble.Snapshot, error) {
	if len(lock) == 0 {
		return s.db.NewSnapshot(), nil
	}
	h, err := s.take(ctx, lock)
	if err != nil {
		return nil, err
	}
	defer h.release()
	pending, snapshot := h.pendings(), s.db.NewSnapshot()
	h.unlock()
	if err := s.await(ctx, pending); err != nil {
		_ = snapshot.Close()
		return nil, err
	}
	return snapshot, nil
}

// take takes the locks; a store that fails meanwhile says why.
func (s *Store) take(ctx context.Context, lock []kv.Key) (held, error) {
	h, err := s.locks.take(ctx, s.failed, lock)
	if failed := s.Err(); failed != nil {
		if err == nil {
			h.release()
		}
		return held{}, failed
	}
	return h, err
}

// await waits for commits to be synced.
func (s *Store) await(ctx context.Context, commits []*group) error {
	for _, c := range commits {
		select {
		case <-c.done:
			if c.err != nil {
				return c.err
			}
		case <-s.failed:
			return s.Err()
		case <-ctx.Done():
			return &mail.Error{Op: "kv.await", Kind: mail.Canceled, Err: ctx.Err()}
		}
	}
	return nil
}

// Update implements kv.Store. Once the transaction is in the log, the end of ctx is ignored: the outcome of the
// sync must be known.
func (s *Store) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	h, err := s.take(ctx, t.Lock)
	if err != nil {
		return err
	}
	defer h.release() // also when fn panics
	x := newTx(s)
	defer x.close()
	err = fn(x)
	if x.err != nil && err == nil {
		err = x.err
	}
	if err != nil || x.batch.Empty() {
		return s.unchanged(ctx, t, &h, err)
	}
	use := space.Mail
	if t.Frees {
		use = space.Frees
	}
	if err := s.space.Take(2*int64(x.batch.Len()), use); err != nil { // once in the log and once in a table
		return s.unchanged(ctx, t, &h, err)
	}
	if !s.dirty.Load() {
		s.dirty.Store(true)
	}
	if t.Lazy {
		return s.applyLazy(x)
	}
	return s.apply(x, &h)
}

// unchanged ends a transaction that wrote nothing, because there was nothing to write or fn failed with fnErr. Both
// outcomes may rest on rows that are not synced yet, so it waits for those first.
func (s *Store) unchanged(ctx context.Context, t kv.Txn, h *held, fnErr error) error {
	pending := h.pendings()
	h.unlock()
	if t.Lazy {
		pending = nil
	}
	if err := s.await(ctx, pending); err != nil {
		return err
	}
	if failed := s.Err(); failed != nil {
		return failed
	}
	return fnErr
}

func (s *Store) applyLazy(x *tx) error {
	return s.engineError("kv.update", s.db.Apply(x.batch, pebble.NoSync))
}

// apply writes the batch under the locks, unlocks and waits for the sync.
func (s *Store) apply(x *tx, h *held) error {
	if err := s.db.Apply(x.batch, pebble.NoSync); err != nil {
		// The engine took part of it or nothing; nobody can tell what readers see now.
		s.poison(err)
	}
	if failed := s.Err(); failed != nil {
		x.batch = nil // may lie in the engine's queue for ever: not to be used again
		return failed
	}
	c, first := s.groups.join()
	h.commit(c)
	h.unlock()
	x.close()
	if first {
		s.groups.lead(c, s.syncLog)
	} else {
		<-c.done
	}
	return c.err
}
