package store

import (
	"encoding/binary"

	"postel/internal/mail"
)

// version is the first octet of every value of ours.
const version = 1

// decoder reads a value. The first thing that is missing or too large makes it bad for good; all later reads give
// zero.
type decoder struct {
	b   []byte
	bad bool
}

// decode begins to read a value, whose version it checks.
func decode(b []byte) decoder {
	d := decoder{b: b}
	d.bad = d.u8() != version
	return d
}

func (d *decoder) u8() byte {
	if d.bad || len(d.b) < 1 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uint() uint64 {
	if d.bad {
		return 0
	}
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	v := d.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (d *decoder) u32() uint32 {
	v := d.uint()
	if v > 1<<32-1 {
		d.bad = true
		return 0
	}
	return uint32(v)
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// count reads a number of things of at least size octets each, so that a damaged one cannot ask for much memory.
func (d *decoder) count(size int) int {
	n := d.uint()
	if n > uint64(len(d.b)/size) {
		d.bad = true
		return 0
	}
	return int(n)
}

// take gives the next n octets where they lie.
func (d *decoder) take(n int) []byte {
	if d.bad || n < 0 || len(d.b) < n {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// octets gives octets behind their length, where they lie.
func (d *decoder) octets() []byte { return d.take(d.count(1)) }

// end tells whether the value was good and whole; row names it in the error.
func (d *decoder) end(row string) error {
	if d.bad || len(d.b) != 0 {
		return damaged(row)
	}
	return nil
}

func damaged(row string) error {
	return &mail.Error{Op: "store.decode", Kind: mail.Internal, Text: "damaged row " + row}
}

func appendU64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

func appendInt(b []byte, v int64) []byte {
	return binary.AppendUvarint(b, uint64(v)<<1^uint64(v>>63))
}

func appendUint[T ~uint64 | ~uint32 | ~int](b []byte, v T) []byte {
	return binary.AppendUvarint(b, uint64(v))
}

func appendOctets[T ~string | ~[]byte](b []byte, v T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}
