package postgres

import (
	"bytes"
	"cmp"
	"slices"
)

// buffer holds writes: first all ranges are deleted, then the rows are set or deleted. A range that is deleted after
// rows were written takes these away.
type buffer struct {
	writes []write // of one key, the last counts
	ranges []span
	index  map[string]int // of the last write of each key, as far as own has looked
	seen   int            // writes in index
	sorted [][]byte       // keys of writes, in order, as far as wrote has looked
	looked int            // writes in sorted
}

// write sets a row, or deletes it with a nil value.
type write struct{ key, value []byte }

type span struct{ from, to []byte }

func (s span) has(k []byte) bool { return bytes.Compare(s.from, k) <= 0 && bytes.Compare(k, s.to) < 0 }

// fewWrites is how many are looked through one by one.
const fewWrites = 16

func (b *buffer) empty() bool { return len(b.writes) == 0 && len(b.ranges) == 0 }

// put keeps what it gets.
func (b *buffer) put(w write) { b.writes = append(b.writes, w) }

func (b *buffer) deleteRange(r span) {
	b.writes = slices.DeleteFunc(b.writes, func(w write) bool { return r.has(w.key) })
	b.ranges = append(b.ranges, r)
	b.index, b.seen, b.sorted, b.looked = nil, 0, nil, 0
}

// own looks a key up: known tells whether it was written, a nil value that it is deleted.
func (b *buffer) own(k []byte) (v []byte, known bool) {
	if i := b.last(k); i >= 0 {
		return b.writes[i].value, true
	}
	for _, r := range b.ranges {
		if r.has(k) {
			return nil, true
		}
	}
	return nil, false
}

// last gives the index of the last write of a key, or -1.
func (b *buffer) last(k []byte) int {
	if len(b.writes) <= fewWrites {
		for i := len(b.writes) - 1; i >= 0; i-- {
			if bytes.Equal(b.writes[i].key, k) {
				return i
			}
		}
		return -1
	}
	if b.index == nil {
		b.index = make(map[string]int, 2*len(b.writes))
	}
	for ; b.seen < len(b.writes); b.seen++ {
		b.index[string(b.writes[b.seen].key)] = b.seen
	}
	if i, ok := b.index[string(k)]; ok {
		return i
	}
	return -1
}

// wrote tells whether any write lies in the range; a nil to is behind the last key.
func (b *buffer) wrote(from, to []byte) bool {
	for _, r := range b.ranges {
		if bytes.Compare(from, r.to) < 0 && (to == nil || bytes.Compare(r.from, to) < 0) {
			return true
		}
	}
	if fresh := b.writes[b.looked:]; len(fresh) > 8 {
		for _, w := range fresh {
			b.sorted = append(b.sorted, w.key)
		}
		slices.SortFunc(b.sorted, bytes.Compare)
	} else {
		for _, w := range fresh {
			if at, again := slices.BinarySearchFunc(b.sorted, w.key, bytes.Compare); !again {
				b.sorted = slices.Insert(b.sorted, at, w.key)
			}
		}
	}
	b.looked = len(b.writes)
	at, _ := slices.BinarySearchFunc(b.sorted, from, bytes.Compare)
	return at < len(b.sorted) && (to == nil || bytes.Compare(b.sorted[at], to) < 0)
}

// add appends the writes of other, which is given up.
func (b *buffer) add(other *buffer) {
	for _, r := range other.ranges {
		b.deleteRange(r)
	}
	b.writes = append(b.writes, other.writes...)
}

// inOrder gives what is to be written, by key, each key once.
func (b *buffer) inOrder() []write {
	order := make([]int32, len(b.writes))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(i, j int32) int {
		return cmp.Or(bytes.Compare(b.writes[i].key, b.writes[j].key), cmp.Compare(i, j))
	})
	out := make([]write, 0, len(order))
	for _, i := range order {
		w := b.writes[i]
		if n := len(out); n > 0 && bytes.Equal(out[n-1].key, w.key) {
			out[n-1] = w
		} else {
			out = append(out, w)
		}
	}
	return out
}

// arena keeps copies of many small octet strings in few pieces of memory.
type arena struct{ free []byte }

const arenaSize = 1 << 10

// room gives n octets to be filled. They are never nil.
func (a *arena) room(n int) []byte {
	if n > len(a.free) || a.free == nil {
		if n >= arenaSize/2 {
			return make([]byte, n)
		}
		a.free = make([]byte, arenaSize)
	}
	b := a.free[:n:n]
	a.free = a.free[n:]
	return b
}

// keep gives a copy, which is never nil.
func (a *arena) keep(v []byte) []byte {
	b := a.room(len(v))
	copy(b, v)
	return b
}
