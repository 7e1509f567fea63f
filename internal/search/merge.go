package search

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// mergeAt is how many small segments there are before they are merged.
const mergeAt = 6

// shrink merges small segments, or writes one anew most of whose emails are gone. It gives false when neither is due.
func (x *Index) shrink(ctx context.Context, a mail.AccountID) (bool, error) {
	s, ok, _, err := x.load(ctx, a)
	if err != nil || !ok {
		return false, err
	}
	chosen := x.smallOnes(&s)
	if len(chosen) < 2 {
		if chosen, err = x.wasteful(ctx, a, &s); err != nil || len(chosen) == 0 {
			return false, err
		}
	}
	var inputs []*input
	for _, m := range chosen {
		in, err := x.open(ctx, a, m)
		if broken(err) {
			if _, err = x.mend(ctx, a, m.id); err == nil {
				err = errMoved
			}
		}
		if err != nil {
			return false, err
		}
		inputs = append(inputs, in)
	}
	return x.merge(ctx, a, &s, inputs)
}

// smallOnes chooses segments to be merged, the smallest ones first.
func (x *Index) smallOnes(s *state) []member {
	var small []member
	for _, m := range s.members {
		if m.bytes < uint64(x.o.Largest/2) {
			small = append(small, m)
		}
	}
	if len(small) < mergeAt {
		return nil
	}
	slices.SortFunc(small, func(m, n member) int { return cmp.Compare(m.bytes, n.bytes) })
	bytes, docs := uint64(0), uint64(0)
	for i, m := range small {
		bytes += m.bytes
		docs += m.docs
		if bytes > uint64(x.o.Largest) || docs > maxDocs {
			return small[:i]
		}
	}
	return small
}

// wasteful chooses a segment more than half of whose emails are gone, when that is much.
func (x *Index) wasteful(ctx context.Context, a mail.AccountID, s *state) ([]member, error) {
	live, err := x.o.Source.Count(ctx, a)
	if err != nil || s.docs() <= 2*uint64(live)+uint64(x.o.Least) {
		return nil, err
	}
	for _, m := range s.members {
		emails, err := x.emails(ctx, a, m)
		if err != nil {
			return nil, err
		}
		if uint64(len(emails)) < m.docs/2 {
			return []member{m}, nil
		}
	}
	return nil, nil
}

// emails lists those that exist within the bounds of a segment.
func (x *Index) emails(ctx context.Context, a mail.AccountID, m member) ([]uint64, error) {
	var all []uint64
	for after := max(m.first, 1) - 1; ; {
		page, err := x.o.Source.Emails(ctx, a, after, pageOfEmails)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			if e > m.last {
				return all, nil
			}
			all = append(all, e)
		}
		if len(page) < pageOfEmails {
			return all, nil
		}
		after = page[len(page)-1]
	}
}

// input is a segment that is being merged.
type input struct {
	*segment
	live     []uint64 // emails that exist within its bounds
	texts    [][]byte // of its blocks
	postings [][]byte
	to       []slot // the new place of each email, gone for those that are gone

	block int
	rest  []byte // of the block's text, from the term at hand on
	r     reader // of its postings
}

const gone = ^slot(0)

func (x *Index) open(ctx context.Context, a mail.AccountID, m member) (*input, error) {
	in := &input{}
	err := x.o.KV.View(ctx, nil, func(r kv.Reader) (err error) {
		*in = input{block: -1}
		if in.segment, err = x.segment(r, a, m.id); err != nil {
			return err
		}
		for n := range in.firsts {
			terms, err := readPart(r, keyPart(a, m.id, partTerms, n))
			if err != nil {
				return err
			}
			text, err := unpack(nil, terms)
			if err != nil {
				return err
			}
			if len(text) < 3 || text[0] != '\n' || text[len(text)-1] != '\n' {
				return errDamaged
			}
			postings, err := readPart(r, keyPart(a, m.id, partPostings, n))
			if err != nil {
				return err
			}
			in.texts = append(in.texts, text)
			in.postings = append(in.postings, bytes.Clone(postings))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	in.live, err = x.emails(ctx, a, m)
	in.next()
	return in, err
}

// term gives the term at hand, nil at the end.
func (in *input) term() []byte {
	if in.block >= len(in.texts) {
		return nil
	}
	return in.rest[:bytes.IndexByte(in.rest, '\n')]
}

// next goes to the next term.
func (in *input) next() {
	if in.block >= 0 && in.block < len(in.texts) {
		in.rest = in.rest[bytes.IndexByte(in.rest, '\n')+1:]
	}
	for len(in.rest) == 0 {
		if in.block++; in.block >= len(in.texts) {
			return
		}
		in.rest = in.texts[in.block][1:]
		in.r = reader{b: in.postings[in.block]}
	}
}

// mapping gives each email that is left its place among all that are left.
func mapping(inputs []*input) (docs, opaque []uint64) {
	for _, in := range inputs {
		for _, e := range in.docs {
			if _, ok := slices.BinarySearch(in.live, e); ok {
				docs = append(docs, e)
			}
		}
	}
	slices.Sort(docs)
	docs = slices.Compact(docs)
	for _, in := range inputs {
		in.to = make([]slot, len(in.docs))
		for i, e := range in.docs {
			in.to[i] = gone
			if n, ok := slices.BinarySearch(docs, e); ok {
				in.to[i] = slot(n)
				if _, ok := slices.BinarySearch(in.opaque, uint64(i)); ok {
					opaque = append(opaque, uint64(n))
				}
			}
		}
	}
	slices.Sort(opaque)
	return docs, slices.Compact(opaque)
}

// merge puts one segment in the place of several.
func (x *Index) merge(ctx context.Context, a mail.AccountID, s *state, inputs []*input) (bool, error) {
	ids, old := make([]uint64, len(inputs)), make([]*segment, len(inputs))
	for i, in := range inputs {
		ids[i], old[i] = in.id, in.segment
	}
	next := s.without(ids...)
	docs, opaque := mapping(inputs)
	var rows rowSet
	if len(docs) > 0 {
		next.newest = x.nextID(s)
		w := newSegmentWriter(a, next.newest, docs, opaque)
		if !w.merge(inputs) {
			for _, id := range ids { // whichever it is
				if _, err := x.mend(ctx, a, id); err != nil {
					return false, err
				}
			}
			return true, nil
		}
		var m member
		rows, m = w.finish()
		if rows.size > kv.MaxTxnBytes-1<<20 {
			return false, nil
		}
		next.members = append(next.members, m)
	}
	if err := x.commit(ctx, a, *s, next, rows, old); err != nil {
		return false, err
	}
	for _, id := range ids {
		x.forget(a, id)
	}
	return true, nil
}

// merge writes the terms of all inputs; false when one is damaged.
func (w *segmentWriter) merge(inputs []*input) bool {
	var slots []slot
	var term []byte
	for {
		least := []byte(nil)
		for _, in := range inputs {
			if t := in.term(); t != nil && (least == nil || bytes.Compare(t, least) < 0) {
				least = t
			}
		}
		if least == nil {
			return true
		}
		term, slots = append(term[:0], least...), slots[:0]
		for _, in := range inputs {
			if !bytes.Equal(in.term(), term) {
				continue
			}
			in.r.postings(in.slots(), func(s slot) {
				if to := in.to[s/2]; to != gone {
					slots = append(slots, 2*to+s%2)
				}
			})
			if in.r.bad {
				return false
			}
			in.next()
		}
		if len(slots) > 0 {
			slices.Sort(slots)
			w.term(term, slices.Compact(slots))
		}
	}
}
