package pebble

import (
	"errors"
	"io"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
)

// reader implements kv.Reader on a snapshot or on the store. Not safe for concurrent use.
type reader struct {
	s       *Store
	src     pebble.Reader
	arena   []byte      // small values, copied
	closers []io.Closer // of large values, which are used where they lie
}

// A value used where it lies costs no copy, but keeps an iterator and a block of the cache alive: so do only a few,
// and the large ones.
const (
	copyMax    = 16 << 10 // larger values are never copied
	pinMin     = 512      // smaller ones always
	pinned     = 4        // so many between are not
	arenaFirst = 256
	arenaChunk = 4 << 10
)

// close ends the life of the values given.
func (r *reader) close() {
	for _, c := range r.closers {
		_ = c.Close() // the value was read already
	}
	r.closers, r.arena = nil, nil
}

// Get implements kv.Reader.
func (r *reader) Get(k kv.Key) ([]byte, error) {
	v, err := r.get(k)
	if err == nil && v == nil {
		return nil, kv.ErrNotFound
	}
	return v, err
}

// get gives nil for a row that does not exist.
func (r *reader) get(k kv.Key) ([]byte, error) {
	v, closer, err := r.src.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, r.s.engineError("kv.get", err)
	}
	if len(v) > copyMax || len(v) >= pinMin && len(r.closers) < pinned {
		r.closers = append(r.closers, closer)
		return v, nil
	}
	v = r.keep(v)
	return v, r.s.engineError("kv.get", closer.Close())
}

// keep copies a value to where it stays until the end; never nil.
func (r *reader) keep(v []byte) []byte {
	if r.arena == nil {
		r.arena = make([]byte, 0, max(arenaFirst, len(v)))
	} else if cap(r.arena)-len(r.arena) < len(v) {
		r.arena = make([]byte, 0, max(arenaChunk, len(v)))
	}
	n := len(r.arena)
	r.arena = append(r.arena, v...)
	return r.arena[n:len(r.arena):len(r.arena)]
}

// GetMulti implements kv.Reader.
func (r *reader) GetMulti(keys []kv.Key) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, k := range keys {
		v, err := r.get(k)
		if err != nil {
			return nil, err
		}
		values[i] = v
	}
	return values, nil
}

// Scan implements kv.Reader.
func (r *reader) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		if to != nil && string(from) >= string(to) {
			return
		}
		it, err := r.src.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
		if err != nil {
			yield(kv.Row{}, r.s.engineError("kv.scan", err))
			return
		}
		defer func() { _ = it.Close() }() // also when yield panics; each asked for its error
		if err = each(it, o, yield); err != nil && !errors.Is(err, errStop) {
			yield(kv.Row{}, r.s.engineError("kv.scan", err))
		}
	}
}

// errStop says that the loop over the rows has ended: it must not be called again.
var errStop = errors.New("stop")

func each(it *pebble.Iterator, o kv.ScanOptions, yield func(kv.Row, error) bool) error {
	first, next := it.First, it.Next
	if o.Reverse {
		first, next = it.Last, it.Prev
	}
	n := 0
	for ok := first(); ok; ok = next() {
		row := kv.Row{Key: it.Key()}
		if !o.KeysOnly {
			v, err := it.ValueAndErr()
			if err != nil {
				return err
			}
			if row.Value = v; v == nil { // as Pebble gives an empty one going backwards
				row.Value = []byte{}
			}
		}
		if !yield(row, nil) {
			return errStop
		}
		if n++; n == o.Limit {
			break
		}
	}
	return it.Error()
}
