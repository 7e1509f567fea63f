package postgres

import (
	"bytes"
	"fmt"
	"iter"

	"postel/internal/kv"
	"postel/internal/mail"
)

// tx is the kv.Tx of a member's fn: its writes in memory, above those of the group, above the database.
type tx struct {
	g *group
	m *member
	buffer
	first       [fewWrites]write // room for writes, as many as most have
	arena       arena            // for their keys and values
	count, size int
	err         error // of the first bad write: it ends the transaction
	done        bool
}

// admit checks a write of so many octets against the limits.
func (t *tx) admit(key kv.Key, octets int) bool {
	switch {
	case t.err != nil:
	case t.done:
		t.err = mail.E("kv.write", mail.Internal, "write after the end of the transaction")
	case len(key) == 0 || len(key) > kv.MaxKey:
		t.err = mail.E("kv.write", mail.Invalid, "key of %d octets", len(key))
	case t.count >= kv.MaxTxnRows:
		t.err = mail.E("kv.write", mail.TooLarge, "more than %d rows in a transaction", kv.MaxTxnRows)
	case octets > kv.MaxTxnBytes-t.size:
		t.err = mail.E("kv.write", mail.TooLarge, "more than %d octets in a transaction", kv.MaxTxnBytes)
	default:
		return true
	}
	return false
}

func (t *tx) admitted(octets int) {
	t.count++
	t.size += octets
}

// Set implements kv.Tx.
func (t *tx) Set(k kv.Key, v []byte) {
	if n := len(k) + len(v); t.admit(k, n) {
		t.admitted(n)
		b := t.arena.room(n)
		copy(b, k)
		copy(b[len(k):], v)
		t.put(write{b[:len(k):len(k)], b[len(k):]})
	}
}

// Delete implements kv.Tx.
func (t *tx) Delete(k kv.Key) {
	if t.admit(k, len(k)) {
		t.admitted(len(k))
		t.put(write{t.arena.keep(k), nil})
	}
}

// DeleteRange implements kv.Tx.
func (t *tx) DeleteRange(from, to kv.Key) {
	if to != nil && bytes.Compare(from, to) >= 0 {
		return
	}
	if n := len(from) + len(to); t.admit(from, n) && t.admit(to, n) {
		t.admitted(n)
		t.deleteRange(span{bytes.Clone(from), bytes.Clone(to)})
	}
}

// usable tells why the transaction can no longer be read.
func (t *tx) usable() error {
	if t.done {
		return used()
	}
	return t.err
}

// Get implements kv.Reader.
func (t *tx) Get(k kv.Key) ([]byte, error) {
	if err := t.usable(); err != nil {
		return nil, err
	}
	v, known := t.own(k)
	if !known {
		v, known = t.g.known(t.m, k)
	}
	if !known {
		a := &ask{m: t.m, keys: [][]byte{k}}
		if err := t.g.answer(a); err != nil {
			return nil, err
		}
		v, _ = a.found.own(k)
	}
	if v == nil {
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
	a := &ask{m: t.m}
	var missing []int
	for i, k := range keys {
		v, known := t.own(k)
		if !known {
			v, known = t.g.known(t.m, k)
		}
		if values[i] = v; !known {
			a.keys, missing = append(a.keys, k), append(missing, i)
		}
	}
	if len(missing) > 0 {
		if err := t.g.answer(a); err != nil {
			return nil, err
		}
	}
	for _, i := range missing {
		values[i], _ = a.found.own(keys[i])
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
	return t.g.w.s.scan(from, to, o, func(p *page) error {
		if t.done {
			return used()
		}
		return t.g.answer(&ask{m: t.m, page: p})
	})
}
