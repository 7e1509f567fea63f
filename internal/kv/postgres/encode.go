package postgres

import "encoding/binary"

// The binary formats of parameters: https://www.postgresql.org/docs/15/arrays.html has their meaning, array_recv and
// byteasend of the server the octets. An array of one dimension is
//
//	dimensions=1 hasnull=0 type length lower-bound=1 (octets element)*

const (
	int4Type  = 23
	byteaType = 17
)

func arrayHead(b []byte, elementType uint32, n int) []byte {
	for _, word := range [...]uint32{1, 0, elementType, uint32(n), 1} {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}

// int4Array appends integer[]. It is not for none.
func int4Array(b []byte, values []int32) []byte {
	b = arrayHead(b, int4Type, len(values))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, 4)
		b = binary.BigEndian.AppendUint32(b, uint32(v))
	}
	return b
}

// byteaArray appends bytea[]. It is not for none.
func byteaArray(b []byte, n int, each func(i int) []byte) []byte {
	b = arrayHead(b, byteaType, n)
	for i := range n {
		v := each(i)
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

func bigint(n int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
