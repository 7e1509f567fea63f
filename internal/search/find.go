package search

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"slices"
	"sort"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Verdict is what the index says of an email.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // it is not indexed
	No                     // it does not hold the text
	Maybe                  // it is to be looked at
	Yes                    // it holds the text
)

// Hits is the answer for one text. It is for one goroutine.
type Hits struct {
	scope message.Scope
	exact bool
	segs  []segmentHits // by their first email
	at    int           // the segment of the last email asked for
	doc   int           // its place there
}

type segmentHits struct {
	*segment
	found bits
}

// Find looks up a folded text (message.Fold) within a scope. It gives nil when the index has nothing to say of it: there
// is none, or the text has no letter and no digit. Damage is no error: what is damaged is Unknown, and built anew.
func (x *Index) Find(ctx context.Context, a mail.AccountID, scope message.Scope, needle []byte) (*Hits, error) {
	p := planOf(needle)
	if len(p.probes) == 0 {
		return nil, nil
	}
	for range 4 {
		s, ok, _, err := x.load(ctx, a)
		if err != nil || !ok {
			return nil, err
		}
		h := &Hits{scope: scope, exact: p.exact}
		moved := false
		for _, m := range s.members {
			found, err := x.findIn(ctx, a, m.id, p)
			if err == nil {
				h.segs = append(h.segs, found)
				continue
			}
			if !broken(err) {
				return nil, mail.Wrap("search.find", err)
			}
			damaged, err := x.mend(ctx, a, m.id)
			if err != nil && ctx.Err() != nil {
				return nil, mail.Wrap("search.find", err)
			}
			if moved = !damaged && err == nil; moved {
				break
			}
		}
		if !moved {
			slices.SortFunc(h.segs, func(s, t segmentHits) int { return cmp.Compare(s.docs[0], t.docs[0]) })
			return h, nil
		}
	}
	return nil, nil // it changes too fast: do without
}

// Look gives the verdict on an email. It is fastest when asked in the order of the emails.
func (h *Hits) Look(email uint64) Verdict {
	if h == nil || len(h.segs) == 0 {
		return Unknown
	}
	s := &h.segs[h.at]
	for _, near := range [...]int{h.doc + 1, h.doc} { // the next, or the same again
		if uint(near) < uint(len(s.docs)) && s.docs[near] == email {
			h.doc = near
			return h.verdict(s)
		}
	}
	for range len(h.segs) {
		s := &h.segs[h.at]
		if email >= s.docs[0] && email <= s.docs[len(s.docs)-1] {
			h.doc = sort.Search(len(s.docs), func(i int) bool { return s.docs[i] >= email })
			if s.docs[h.doc] == email {
				return h.verdict(s)
			}
		}
		h.at, h.doc = (h.at+1)%len(h.segs), -1
	}
	return Unknown
}

func (h *Hits) verdict(s *segmentHits) Verdict {
	if len(s.opaque) > 0 {
		if _, ok := slices.BinarySearch(s.opaque, uint64(h.doc)); ok {
			return Maybe
		}
	}
	n := slot(2 * h.doc)
	switch {
	case h.scope&message.InHeader != 0 && s.found.has(n), h.scope&message.InBody != 0 && s.found.has(n+1):
		if h.exact {
			return Yes
		}
		return Maybe
	}
	return No
}

// findIn gives what of a segment fits all probes.
func (x *Index) findIn(ctx context.Context, a mail.AccountID, id uint64, p plan) (segmentHits, error) {
	var h segmentHits
	probes := slices.Clone(p.probes)
	slices.SortStableFunc(probes, func(p, q probe) int { return cmp.Compare(p.fit, q.fit) }) // cheapest first
	err := x.o.KV.View(ctx, nil, func(r kv.Reader) (err error) {
		h = segmentHits{}
		if h.segment, err = x.segment(r, a, id); err != nil {
			return err
		}
		l := lookup{r: r, a: a, seg: h.segment}
		for _, p := range probes {
			l.found = newBits(int(h.slots()))
			if err := l.probe(p); err != nil {
				return err
			}
			if h.found == nil {
				h.found = l.found
			} else if h.found.and(l.found) {
				return nil
			}
		}
		return nil
	})
	return h, err
}

// lookup looks for the terms that fit a probe.
type lookup struct {
	r     kv.Reader
	a     mail.AccountID
	seg   *segment
	found bits
	text  []byte // of the block at hand
	terms []int  // in it, ascending
}

func (l *lookup) probe(p probe) error {
	pattern := p.text
	if p.fit == whole || p.fit == front {
		pattern = append([]byte{'\n'}, pattern...)
	}
	if p.fit == whole || p.fit == back {
		pattern = append(slices.Clip(pattern), '\n')
	}
	from, to := 0, len(l.seg.firsts)
	if p.fit == whole || p.fit == front {
		from = max(0, l.firstAbove(p.text)-1)
	}
	switch p.fit {
	case whole:
		to = min(to, from+1)
	case front:
		to = l.firstAbove(append(slices.Clip(p.text), 0xff)) // no term has this octet
	}
	if to <= from {
		return nil
	}
	n := 0
	for row, err := range l.r.Scan(keyPart(l.a, l.seg.id, partTerms, from), keyPart(l.a, l.seg.id, partTerms, to), kv.ScanOptions{}) {
		if err != nil {
			return err
		}
		payload, err := unseal(row.Key, row.Value)
		if err != nil {
			return err
		}
		if blockOf(row.Key) != uint32(from+n) {
			return errDamaged
		}
		if l.text, err = unpack(l.text, payload); err != nil {
			return err
		}
		if err := l.block(from+n, pattern); err != nil {
			return err
		}
		n++
	}
	if n != to-from {
		return errDamaged
	}
	return nil
}

// blockOf reads the number of a block from its key.
func blockOf(k kv.Key) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }

// firstAbove gives the first block whose first term is above a text.
func (l *lookup) firstAbove(text []byte) int {
	return sort.Search(len(l.seg.firsts), func(i int) bool { return bytes.Compare(l.seg.firsts[i], text) > 0 })
}

// block finds the terms of a block that hold a pattern, and then their postings.
func (l *lookup) block(n int, pattern []byte) error {
	l.terms = l.terms[:0]
	term, counted := -1, 0
	for at := 0; ; {
		i := bytes.Index(l.text[at:], pattern)
		if i < 0 {
			break
		}
		at += i
		if pattern[0] == '\n' {
			if at++; at == len(l.text) { // Check looks for this alone
				break
			}
		}
		term += bytes.Count(l.text[counted:at], []byte{'\n'})
		l.terms = append(l.terms, term)
		end := bytes.IndexByte(l.text[at:], '\n')
		if end < 0 {
			return errDamaged
		}
		counted = at + end
		at = counted
	}
	if len(l.terms) == 0 {
		return nil
	}
	payload, err := readPart(l.r, keyPart(l.a, l.seg.id, partPostings, n))
	if err != nil {
		return err
	}
	r := reader{b: payload}
	at := 0
	for _, t := range l.terms {
		for ; at < t; at++ {
			r.postings(l.seg.slots(), nil)
		}
		r.postings(l.seg.slots(), l.found.set)
		at++
	}
	if r.bad {
		return errDamaged
	}
	return nil
}
