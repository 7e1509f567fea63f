package pebble

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
	"postel/internal/mail"
)

// tx implements kv.Tx: a batch, and an index of what is in it. Pebble's indexed batch would do the same with a
// skiplist, merged into every read; a transaction of mail writes some ten rows and seldom reads them again, so a
// list that is searched from its end is cheaper (BenchmarkTx).
type tx struct {
	reader
	batch  *pebble.Batch
	ops    []write
	room   *room          // that of ops and of small values
	index  map[string]int // last op of a key, built by lookups once there are many
	seen   int            // ops that index knows
	ranges []int          // ops that delete a range
	sorted []int          // ops in key order, built by scans
	size   int
	err    error // of the first bad write: it ends the transaction
	done   bool
}

// write is one write. Its key and value lie in the batch's encoding, whose earlier octets never change.
type write struct {
	kind       writeKind
	key, value []byte // value is the end of a range that is deleted
}

type writeKind byte

const (
	set writeKind = iota
	del
	delRange
)

const linear = 16 // ops that are searched one by one

// room is memory that transactions use one after the other. What they are themselves is not used again: a late use of one
// that has ended is found out.
type room struct {
	ops   [linear]write
	arena [1 << 10]byte
}

func newTx(s *Store) *tx {
	t := &tx{reader: reader{s: s, src: s.db}, batch: s.db.NewBatch()}
	t.room, _ = s.rooms.Get().(*room)
	if t.room == nil {
		t.room = new(room)
	}
	t.ops, t.arena = t.room.ops[:0], t.room.arena[:0]
	return t
}

func (t *tx) close() {
	if t.done {
		return
	}
	t.done = true
	t.reader.close()
	clear(t.room.ops[:min(len(t.ops), linear)]) // they lie in the batch
	t.s.rooms.Put(t.room)
	t.room = nil
	if t.batch != nil {
		_ = t.batch.Close() // only gives memory back
		t.batch = nil
	}
	t.ops, t.index, t.sorted = nil, nil, nil
}

// admit checks and counts a write of these octets.
func (t *tx) admit(key kv.Key, octets int) bool {
	switch {
	case t.err != nil:
	case t.done:
		t.err = mail.E("kv.write", mail.Internal, "write after the end of the transaction")
	case len(key) == 0 || len(key) > kv.MaxKey:
		t.err = mail.E("kv.write", mail.Invalid, "key of %d octets", len(key))
	case len(t.ops) >= kv.MaxTxnRows:
		t.err = mail.E("kv.write", mail.TooLarge, "more than %d rows in a transaction", kv.MaxTxnRows)
	case octets > kv.MaxTxnBytes-t.size:
		t.err = mail.E("kv.write", mail.TooLarge, "more than %d octets in a transaction", kv.MaxTxnBytes)
	default:
		t.size += octets
		return true
	}
	return false
}

// Set implements kv.Tx.
func (t *tx) Set(k kv.Key, v []byte) {
	if t.admit(k, len(k)+len(v)) {
		t.note(set, len(k), len(v), t.batch.Set(k, v, nil))
	}
}

// Delete implements kv.Tx.
func (t *tx) Delete(k kv.Key) {
	if t.admit(k, len(k)) {
		t.note(del, len(k), -1, t.batch.Delete(k, nil))
	}
}

// DeleteRange implements kv.Tx.
func (t *tx) DeleteRange(from, to kv.Key) {
	if to != nil && bytes.Compare(from, to) >= 0 {
		return
	}
	if t.admit(from, len(from)+len(to)) && t.admit(to, 0) {
		t.ranges = append(t.ranges, len(t.ops))
		t.note(delRange, len(from), len(to), t.batch.DeleteRange(from, to, nil))
	}
}

// note remembers the write at the end of the batch. The batch encodes key and value each behind its length.
func (t *tx) note(k writeKind, key, value int, err error) {
	if err != nil {
		t.err = t.s.engineError("kv.write", err)
		return
	}
	b := t.batch.Repr()
	w := write{kind: k}
	end := len(b)
	if value >= 0 {
		w.value = b[end-value : end : end]
		end -= value + uvarintLen(value)
	}
	w.key = b[end-key : end : end]
	t.ops = append(t.ops, w)
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}

// own looks a key up in the transaction's own writes: known tells whether it was written, and a nil value that it
// is deleted.
func (t *tx) own(k kv.Key) (value []byte, known bool) {
	at := t.last(k)
	for _, r := range slices.Backward(t.ranges) {
		if r < at {
			break
		}
		if w := t.ops[r]; bytes.Compare(w.key, k) <= 0 && bytes.Compare(k, w.value) < 0 {
			return nil, true
		}
	}
	switch {
	case at < 0:
		return nil, false
	case t.ops[at].kind == del:
		return nil, true
	default:
		return t.ops[at].value, true
	}
}

// last gives the last op on exactly this key, or -1.
func (t *tx) last(k kv.Key) int {
	if len(t.ops) <= linear {
		for i, w := range slices.Backward(t.ops) {
			if w.kind != delRange && bytes.Equal(w.key, k) {
				return i
			}
		}
		return -1
	}
	if t.index == nil {
		t.index = make(map[string]int, 2*len(t.ops))
	}
	for ; t.seen < len(t.ops); t.seen++ {
		if w := t.ops[t.seen]; w.kind != delRange {
			t.index[string(w.key)] = t.seen
		}
	}
	if i, ok := t.index[string(k)]; ok {
		return i
	}
	return -1
}

// usable tells why the transaction can no longer be read.
func (t *tx) usable() error {
	if t.done {
		return mail.E("kv.read", mail.Internal, "read after the end of the transaction")
	}
	return t.err
}

// Get implements kv.Reader.
func (t *tx) Get(k kv.Key) ([]byte, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	v, known := t.own(k)
	switch {
	case !known:
		return t.reader.Get(k)
	case v == nil:
		return nil, kv.ErrNotFound
	}
	return v, nil
}

// GetMulti implements kv.Reader.
func (t *tx) GetMulti(keys []kv.Key) ([][]byte, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	values := make([][]byte, len(keys))
	for i, k := range keys {
		v, known := t.own(k)
		if !known {
			var err error
			if v, err = t.reader.get(k); err != nil {
				return nil, err
			}
		}
		values[i] = v
	}
	return values, nil
}

// Scan implements kv.Reader.
func (t *tx) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	err := t.usable()
	if err == nil && t.wrote(from, to) {
		err = fmt.Errorf("%w: from %q", kv.ErrOwnWrites, from)
	}
	if err != nil {
		return func(yield func(kv.Row, error) bool) { yield(kv.Row{}, err) }
	}
	return t.reader.Scan(from, to, o)
}

// wrote tells whether any own write lies in the range.
func (t *tx) wrote(from, to kv.Key) bool {
	for _, r := range t.ranges {
		if w := t.ops[r]; bytes.Compare(from, w.value) < 0 && (to == nil || bytes.Compare(w.key, to) < 0) {
			return true
		}
	}
	byKey := func(op int, key []byte) int { return bytes.Compare(t.ops[op].key, key) }
	for op := len(t.sorted); op < len(t.ops); op++ {
		at, _ := slices.BinarySearchFunc(t.sorted, t.ops[op].key, byKey)
		t.sorted = slices.Insert(t.sorted, at, op)
	}
	at, _ := slices.BinarySearchFunc(t.sorted, []byte(from), byKey)
	return at < len(t.sorted) && (to == nil || bytes.Compare(t.ops[t.sorted[at]].key, to) < 0)
}
