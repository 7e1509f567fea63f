package search

import (
	"bytes"
	"encoding/binary"

	"postel/internal/kv"
	"postel/internal/mail"
)

const (
	blockText  = 16 << 10              // octets of a block's text from which on the next block begins
	maxBlock   = blockText + maxTerm*2 // octets of a block's text at most
	maxDocs    = 1 << 16               // messages of a segment
	maxEmailID = 1 << 40
)

// segment is what is known of a segment before its terms are looked at. Immutable.
type segment struct {
	id     uint64
	docs   []uint64 // the emails in it, ascending
	opaque []uint64 // places in docs of those whose texts the index does not tell: they are looked at themselves
	firsts [][]byte // the first term of each block
}

func (s *segment) slots() slot { return slot(2 * len(s.docs)) }

func (s *segment) encode() []byte {
	b := appendAscending(nil, s.docs)
	b = appendAscending(b, s.opaque)
	b = binary.AppendUvarint(b, uint64(len(s.firsts)))
	var before []byte
	for _, t := range s.firsts {
		n := common(before, t)
		b = append(b, byte(n), byte(len(t)-n))
		b = append(b, t[n:]...)
		before = t
	}
	return b
}

// common gives the length of what two terms begin with alike.
func common(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func decodeSegment(id uint64, payload []byte) (*segment, error) {
	r := reader{b: payload}
	s := &segment{id: id, docs: r.ascending(maxEmailID)}
	s.opaque = r.ascending(uint64(max(len(s.docs), 1)) - 1)
	n := r.count(2)
	s.firsts = make([][]byte, 0, n)
	var before []byte
	for range n {
		same, more := r.uint(), r.uint()
		if same > uint64(len(before)) || same+more > maxTerm {
			return nil, errDamaged
		}
		t := append(append(make([]byte, 0, same+more), before[:same]...), r.take(more)...)
		s.firsts, before = append(s.firsts, t), t
	}
	if len(s.docs) == 0 || len(s.docs) > maxDocs {
		return nil, errDamaged
	}
	return s, r.end()
}

// rowSet is the rows of a new segment.
type rowSet struct {
	keys   []kv.Key
	values [][]byte
	size   int
}

func (w *rowSet) add(k kv.Key, payload []byte) {
	w.keys = append(w.keys, k)
	w.values = append(w.values, seal(k, payload))
	w.size += len(k) + len(payload) + sealLen
}

// segmentWriter writes a segment's rows from its terms, which come in order.
type segmentWriter struct {
	rowSet
	a        mail.AccountID
	seg      segment
	text     []byte // of the block that is open: each term between two line ends
	postings []byte
}

func newSegmentWriter(a mail.AccountID, id uint64, docs, opaque []uint64) *segmentWriter {
	return &segmentWriter{a: a, seg: segment{id: id, docs: docs, opaque: opaque}}
}

func (w *segmentWriter) term(t []byte, slots []slot) {
	if len(w.text) == 0 {
		w.text = append(w.text, '\n')
		w.seg.firsts = append(w.seg.firsts, bytes.Clone(t))
	}
	w.text = append(append(w.text, t...), '\n')
	w.postings = appendPostings(w.postings, slots)
	if len(w.text) >= blockText {
		w.flush()
	}
}

func (w *segmentWriter) flush() {
	if len(w.text) == 0 {
		return
	}
	n := len(w.seg.firsts) - 1
	w.add(keyPart(w.a, w.seg.id, partTerms, n), pack(w.text))
	w.add(keyPart(w.a, w.seg.id, partPostings, n), w.postings)
	w.text, w.postings = w.text[:0], w.postings[:0]
}

// end gives all rows.
func (w *segmentWriter) end() rowSet {
	w.flush()
	w.add(keyPart(w.a, w.seg.id, partMeta, 0), w.seg.encode())
	return w.rowSet
}
