package kvtest

import (
	"bytes"
	"fmt"
	"iter"
	"slices"

	"postel/internal/kv"
)

// lockOf gives the lock of a row; ok is false for keys that no table has.
func (s *strict) lockOf(k kv.Key) (t kv.Table, lock kv.Key, ok bool) {
	if len(k) < 2 {
		return t, nil, false
	}
	if t, ok = s.tables[kv.Prefix(k[:2])]; !ok {
		return t, nil, false
	}
	defer func() { // a Lock function slices the key, which may be too short
		if recover() != nil {
			ok = false
		}
	}()
	if t.Lock != nil {
		lock = t.Lock(slices.Clip(k)) // a capacity behind the length would hide that
	}
	return t, lock, true
}

func (r *strictReader) holds(lock kv.Key) bool {
	return slices.ContainsFunc(r.lock, func(k kv.Key) bool { return bytes.Equal(k, lock) })
}

// mayRead checks the read of one row. The caller holds mu.
func (r *strictReader) mayRead(k kv.Key) error {
	if err := r.usable(); err != nil {
		return err
	}
	if err := r.mayReadRow(k); err != nil {
		return err
	}
	if r.s.o.Declared && r.txn != nil && len(r.txn.Read) > 0 && !r.wrote(span{from: k}) &&
		!slices.ContainsFunc(r.txn.Read, func(d kv.Key) bool { return bytes.Equal(d, k) }) {
		return r.violate("row %q is not declared in Txn.Read", k)
	}
	return nil
}

// mayReadRow checks the lock of a row that is read. The caller holds mu.
func (r *strictReader) mayReadRow(k kv.Key) error {
	t, lock, ok := r.s.lockOf(k)
	switch {
	case !ok:
		return r.violate("row %q is of no table", k)
	case lock == nil || t.Once || r.s.unlocked[t.Prefix] || r.holds(lock):
		return nil
	}
	return r.violate("row %q is read without lock %q", k, lock)
}

// mayWrite checks a write. The caller holds mu.
func (t *strictTx) mayWrite(w span, sets bool) error {
	if w.to != nil {
		return t.mayDeleteRange(w)
	}
	table, lock, ok := t.s.lockOf(w.from)
	switch {
	case !ok:
		return t.violate("row %q is of no table", w.from)
	case lock != nil && !t.holds(lock):
		return t.violate("row %q is written without lock %q", w.from, lock)
	case t.txn.Lazy && !table.Lazy && (sets || !mayLoseDelete(table.Prefix)):
		return t.violate("row %q is written lazily", w.from)
	}
	return nil
}

// mayLoseDelete tells the tables whose rows may be deleted lazily: those of ended queue items, and their bodies.
func mayLoseDelete(p kv.Prefix) bool {
	return slices.Contains([]kv.Prefix{
		kv.QueueItems, kv.QueueRcpts, kv.QueueDue, kv.QueueDomains, kv.QueueEnded,
		kv.BlobLinks, kv.BlobGarbage, kv.Blobs,
	}, p)
}

// mayDeleteRange checks that the range begins with one account, whose lock is held. The caller holds mu.
func (t *strictTx) mayDeleteRange(w span) error {
	const account = 2 + 8 // octets of a key up to its account
	_, lock, ok := t.s.lockOf(w.from)
	if !ok || !bytes.HasPrefix(lock, []byte("A")) || len(w.from) < account {
		return t.violate("range from %q is of no account", w.from)
	}
	if end := w.from[:account].End(); end != nil && bytes.Compare(w.to, end) > 0 {
		return t.violate("range %q to %q is of several accounts", w.from, w.to)
	}
	if !t.holds(lock) || t.txn.Lazy {
		return t.violate("range from %q is deleted lazily or without lock %q", w.from, lock)
	}
	return nil
}

// wrote tells whether the transaction wrote any of it. The caller holds mu.
func (r *strictReader) wrote(s span) bool {
	end := func(s span) kv.Key {
		if s.to != nil {
			return s.to
		}
		return append(bytes.Clone(s.from), 0)
	}
	return slices.ContainsFunc(r.writes, func(w span) bool {
		return bytes.Compare(w.from, end(s)) < 0 && bytes.Compare(s.from, end(w)) < 0
	})
}

// Scan implements kv.Reader. Each row is checked as it comes, and dies with the next step.
func (r *strictReader) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		if err := r.mayScan(from, to); err != nil {
			yield(kv.Row{}, err)
			return
		}
		for row, err := range r.r.Scan(from, to, o) {
			if err == nil {
				err = r.mayScanRow(row.Key)
			}
			if err != nil {
				yield(kv.Row{}, err)
				return
			}
			row = kv.Row{Key: bytes.Clone(row.Key), Value: bytes.Clone(row.Value)}
			next := yield(row, nil)
			spoil(row.Key)
			spoil(row.Value)
			if !next {
				return
			}
		}
	}
}

func (r *strictReader) mayScan(from, to kv.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	last := to
	if last == nil {
		last = bytes.Repeat([]byte{0xff}, kv.MaxKey+1)
	}
	if r.wrote(span{from, last}) {
		return fmt.Errorf("%w: from %q", kv.ErrOwnWrites, from)
	}
	return nil
}

func (r *strictReader) mayScanRow(k kv.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.usable(); err != nil {
		return err
	}
	return r.mayReadRow(k)
}
