package postgres

import (
	"bytes"
	"iter"
	"slices"

	"postel/internal/kv"
)

// scan reads a range by pages, each of which read fetches. Pages grow while rows are small.
func (s *Store) scan(from, to kv.Key, o kv.ScanOptions, read func(*page) error) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		parts := segments(bytes.Clone(from), bytes.Clone(to))
		if o.Reverse {
			slices.Reverse(parts)
		}
		left := o.Limit // 0 is no end
		for _, part := range parts {
			n, more := s.scanPart(part, o, left, read, yield)
			if left -= n; !more || o.Limit > 0 && left <= 0 {
				return
			}
		}
	}
}

// scanPart scans a range of one table, at most limit rows unless it is 0. more tells that the caller wants to go on.
func (s *Store) scanPart(part segment, o kv.ScanOptions, limit int, read func(*page) error, yield func(kv.Row, error) bool) (n int, more bool) {
	size := s.statements.tables[part.table].firstPage
	for {
		if limit > 0 {
			size = min(size, limit-n)
		}
		p := page{segment: part, reverse: o.Reverse, keysOnly: o.KeysOnly, limit: size}
		if err := read(&p); err != nil {
			yield(kv.Row{}, err)
			return n, false
		}
		for _, row := range p.rows {
			if !yield(row, nil) {
				return n, false
			}
		}
		n += len(p.rows)
		if p.ended || limit > 0 && n >= limit {
			return n, true
		}
		last := p.rows[len(p.rows)-1].Key
		if o.Reverse {
			part.to = last
		} else {
			part.from = append(bytes.Clone(last), 0)
		}
		size = nextPage(size, p.octets/len(p.rows))
	}
}

// nextPage gives the size of the page after one of so many rows, whose rows had so many octets each.
func nextPage(rows, octets int) int {
	return max(1, min(4*rows, maxPageRows, maxPageOctets/max(1, octets)))
}
