package search

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/s2"

	"postel/internal/kv"
	"postel/internal/mail"
)

// version is the first octet of every row.
const version = 1

// part is what a row of a segment holds.
type part uint8

const (
	partMeta part = iota
	partTerms
	partPostings
)

func keyState(a mail.AccountID) kv.Key { return kv.K(kv.TextState).Account(a) }

func keyPart(a mail.AccountID, seg uint64, p part, n int) kv.Key {
	return kv.K(kv.TextIndex).Account(a).U64(seg).U8(uint8(p)).U32(uint32(n))
}

// errDamaged is the Kind of a row that is not what was written: the segment is then built anew.
var errDamaged = mail.E("search.row", mail.Internal, "damaged row of the text index")

const sealLen = 1 + 8

// seal makes a row of a payload.
func seal(k kv.Key, payload []byte) []byte {
	b := make([]byte, sealLen, sealLen+len(payload))
	b = append(b, payload...)
	b[0] = version
	binary.BigEndian.PutUint64(b[1:], sum(k, payload))
	return b
}

func sum(k kv.Key, payload []byte) uint64 {
	var d xxhash.Digest
	d.Reset()
	_, _ = d.Write(k)
	_, _ = d.Write(payload)
	return d.Sum64()
}

// unseal gives the payload of a row, where it lies.
func unseal(k kv.Key, v []byte) ([]byte, error) {
	if len(v) < sealLen || v[0] != version || binary.BigEndian.Uint64(v[1:]) != sum(k, v[sealLen:]) {
		return nil, errDamaged
	}
	return v[sealLen:], nil
}

// pack compresses the text of a block; unpack appends it to dst.
func pack(text []byte) []byte { return s2.EncodeBetter(nil, text) }

func unpack(dst, b []byte) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || n > maxBlock {
		return nil, errDamaged
	}
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	if dst, err = s2.Decode(dst[:n], b); err != nil {
		return nil, errDamaged
	}
	return dst, nil
}

// reader reads a payload. The first thing that is missing or too large makes it bad for good; all later reads give
// zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things of at least size octets each.
func (r *reader) count(size int) int {
	n := r.uint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// ascending reads numbers, each above the one before and not above limit, as the distances between them.
func (r *reader) ascending(limit uint64) []uint64 {
	n := r.count(1)
	list := make([]uint64, 0, n)
	next := uint64(0)
	for range n {
		d := r.uint()
		v := next + d
		if v < next || v > limit {
			r.bad = true
			return nil
		}
		list = append(list, v)
		next = v + 1
	}
	return list
}

func appendAscending[N ~uint32 | ~uint64](b []byte, list []N) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	next := uint64(0)
	for _, v := range list {
		b = binary.AppendUvarint(b, uint64(v)-next)
		next = uint64(v) + 1
	}
	return b
}

// end tells whether the payload was good and whole.
func (r *reader) end() error {
	if r.bad || len(r.b) != 0 {
		return errDamaged
	}
	return nil
}
