package search

import (
	"encoding/binary"
	bits8 "math/bits"
)

// slot is a message of a segment and a scope in it: 2*n for its header and 2*n+1 for its body, n being its place
// among the segment's messages.
type slot = uint32

// bits is a set of slots.
type bits []uint64

func newBits(slots int) bits   { return make(bits, (slots+63)/64) }
func (b bits) has(s slot) bool { return b[s/64]>>(s%64)&1 != 0 }
func (b bits) set(s slot)      { b[s/64] |= 1 << (s % 64) }
func (b bits) and(o bits) (empty bool) {
	any := uint64(0)
	for i := range b {
		b[i] &= o[i]
		any |= b[i]
	}
	return any == 0
}

// The postings of a term, its slots ascending, in the shortest of three forms:
//
//	one    slot<<2              a single slot
//	list   n<<2|1 *distance     n slots, each as its distance to the one before, less one
//	bitmap n<<2|2 octet[n]      the slots' bits
const (
	formOne = iota
	formList
	formBitmap
)

func appendPostings(b []byte, slots []slot) []byte {
	if len(slots) == 1 {
		return binary.AppendUvarint(b, uint64(slots[0])<<2)
	}
	last := slots[len(slots)-1]
	if octets := int(last/8) + 1; octets < len(slots) {
		b = binary.AppendUvarint(b, uint64(octets)<<2|formBitmap)
		at := len(b)
		b = append(b, make([]byte, octets)...)
		for _, s := range slots {
			b[at+int(s/8)] |= 1 << (s % 8)
		}
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(slots))<<2|formList)
	next := slot(0)
	for _, s := range slots {
		b = binary.AppendUvarint(b, uint64(s-next))
		next = s + 1
	}
	return b
}

// postings reads those of one term and gives fn its slots, ascending; nil skips them. Slots from limit on are bad.
func (r *reader) postings(limit slot, fn func(slot)) {
	head := r.uint()
	n := head >> 2
	switch head & 3 {
	case formOne:
		if n >= uint64(limit) {
			r.bad = true
		} else if fn != nil {
			fn(slot(n))
		}
	case formList:
		r.list(n, limit, fn)
	case formBitmap:
		for i, c := range r.take(n) {
			for ; c != 0 && fn != nil; c &= c - 1 {
				s := uint64(i)*8 + uint64(bits8.TrailingZeros8(c))
				if s >= uint64(limit) {
					r.bad = true
					return
				}
				fn(slot(s))
			}
		}
	default:
		r.bad = true
	}
}

func (r *reader) list(n uint64, limit slot, fn func(slot)) {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return
	}
	if fn == nil {
		r.skip(n)
		return
	}
	next := uint64(0)
	for range n {
		s := next + r.uint()
		if s >= uint64(limit) || s < next || r.bad {
			r.bad = true
			return
		}
		fn(slot(s))
		next = s + 1
	}
}

// skip skips numbers.
func (r *reader) skip(n uint64) {
	for i, c := range r.b {
		if n == 0 {
			r.b = r.b[i:]
			return
		}
		if c < 0x80 {
			n--
		}
	}
	r.bad = r.bad || n > 0
	r.b = nil
}
