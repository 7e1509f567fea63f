package search

import (
	"context"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Bounds of what one email adds; beyond, the email is opaque.
const (
	maxEmailText  = 4 << 20 // octets of folded text
	maxEmailTerms = 30_000
	pageOfEmails  = 2048
)

// builder collects the terms of a new segment.
type builder struct {
	docs   []uint64
	opaque []uint64
	ids    map[string]int
	lists  []list
	size   int // about what it will take, in octets

	tok   tokenizer
	slot  slot
	text  int // octets of the email at hand
	terms int // of it
}

// list is the slots of a term; most have one.
type list struct {
	first slot
	rest  []slot
}

func (l *list) last() slot {
	if n := len(l.rest); n > 0 {
		return l.rest[n-1]
	}
	return l.first
}

func newBuilder() *builder {
	b := &builder{ids: map[string]int{}}
	b.tok.emit = b.term
	return b
}

func (b *builder) term(t []byte) {
	id, ok := b.ids[string(t)]
	if !ok {
		b.ids[string(t)] = len(b.lists)
		b.lists = append(b.lists, list{first: b.slot})
		b.size += len(t)/2 + 3
		b.terms++
		return
	}
	if l := &b.lists[id]; l.last() != b.slot {
		l.rest = append(l.rest, b.slot)
		b.size++
		b.terms++
	}
}

// add takes an email in. Errors are those of a store that cannot serve; an email that cannot be read is opaque.
func (b *builder) add(email uint64, each Each) error {
	n := uint64(len(b.docs))
	b.docs = append(b.docs, email)
	b.size += 2
	b.text, b.terms = 0, 0
	err := each(func(p message.Piece) bool {
		b.slot = slot(2 * n)
		if p.Scope == message.InBody {
			b.slot++
		}
		b.text += len(p.Text)
		if b.text > maxEmailText || b.terms > maxEmailTerms {
			return false
		}
		b.tok.write(p.Text, p.Last)
		return true
	})
	b.tok.end()
	if err != nil && !broken(err) && !mail.Is(err, mail.Invalid) {
		return err
	}
	if err != nil || b.text > maxEmailText || b.terms > maxEmailTerms {
		b.opaque = append(b.opaque, n)
	}
	return nil
}

// segment gives the rows, and what the state says of them.
func (b *builder) segment(a mail.AccountID, id uint64) (rowSet, member) {
	terms := make([]string, 0, len(b.ids))
	for t := range b.ids {
		terms = append(terms, t)
	}
	slices.Sort(terms)
	w := newSegmentWriter(a, id, b.docs, b.opaque)
	var slots []slot
	for _, t := range terms {
		l := b.lists[b.ids[t]]
		slots = append(append(slots[:0], l.first), l.rest...)
		w.term([]byte(t), slots)
	}
	return w.finish()
}

func (w *segmentWriter) finish() (rowSet, member) {
	rows := w.end()
	d := w.seg.docs
	return rows, member{w.seg.id, d[0], d[len(d)-1], uint64(len(d)), uint64(rows.size)}
}

var errFull = errors.New("the segment is full")

// Build indexes all that is not indexed yet. What was done stays done when it fails or ends early. Kind NotFound when
// the account is gone.
func (x *Index) Build(ctx context.Context, a mail.AccountID) error {
	for {
		more, err := x.step(ctx, a, 1)
		if err != nil || !more {
			return err
		}
	}
}

// step adds one segment, of least emails at least, or merges some; it gives false when there is nothing to do.
func (x *Index) step(ctx context.Context, a mail.AccountID, least int) (bool, error) {
	more, err := x.grow(ctx, a, least)
	if err == nil && !more {
		more, err = x.shrink(ctx, a)
	}
	if mail.Is(err, mail.Busy) { // another builder was faster
		return true, ctx.Err()
	}
	return more, mail.Wrap("search.build", err)
}

// grow adds one segment.
func (x *Index) grow(ctx context.Context, a mail.AccountID, least int) (bool, error) {
	s, _, _, err := x.load(ctx, a)
	if err != nil {
		return false, err
	}
	covered, err := x.covered(ctx, a, &s)
	if err != nil {
		return false, err
	}
	b, next := newBuilder(), s
	for full, first := false, true; !full; first = false {
		page, err := x.o.Source.Emails(ctx, a, next.upTo, pageOfEmails)
		if err != nil {
			return false, err
		}
		if len(page) == 0 {
			break
		}
		todo := slices.DeleteFunc(slices.Clone(page), func(e uint64) bool { return covered[e] })
		if first && len(page) < pageOfEmails && len(todo) < least {
			return false, nil
		}
		err = x.take(ctx, a, b, &next, todo)
		if full = errors.Is(err, errFull); err != nil && !full {
			return false, err
		}
		if !full {
			next.upTo = page[len(page)-1]
		}
	}
	if len(b.docs) < max(least, 1) {
		return false, nil
	}
	next.newest = x.nextID(&s)
	rows, m := b.segment(a, next.newest)
	next.members = append(slices.Clone(s.members), m)
	return true, x.commit(ctx, a, s, next, rows, nil)
}

// take takes emails in, those that cannot be read too: one by one where one in their midst spoils the whole.
func (x *Index) take(ctx context.Context, a mail.AccountID, b *builder, next *state, todo []uint64) error {
	err := x.texts(ctx, a, b, next, todo)
	if errors.Is(err, errFull) || !broken(err) {
		return err
	}
	for _, e := range todo {
		if e <= next.upTo {
			continue
		}
		err := x.texts(ctx, a, b, next, []uint64{e})
		if err == nil {
			continue
		}
		if errors.Is(err, errFull) || !broken(err) {
			return err
		}
		next.upTo = e
		if n := len(b.docs); n == 0 || b.docs[n-1] != e {
			b.opaque = append(b.opaque, uint64(n))
			b.docs = append(b.docs, e)
		}
	}
	return nil
}

func (x *Index) texts(ctx context.Context, a mail.AccountID, b *builder, next *state, todo []uint64) error {
	return x.o.Source.Texts(ctx, a, todo, func(i int, each Each) error {
		if b.size >= x.o.Batch || len(b.docs) >= maxDocs {
			return errFull
		}
		next.upTo = todo[i]
		return b.add(todo[i], each)
	})
}

// covered gives the emails above upTo that are indexed; there are some after a segment was lost.
func (x *Index) covered(ctx context.Context, a mail.AccountID, s *state) (map[uint64]bool, error) {
	covered := map[uint64]bool{}
	for _, m := range s.members {
		if m.last <= s.upTo {
			continue
		}
		err := x.o.KV.View(ctx, nil, func(r kv.Reader) error {
			seg, err := x.segment(r, a, m.id)
			if err != nil {
				return err
			}
			for _, e := range seg.docs {
				covered[e] = true
			}
			return nil
		})
		if broken(err) {
			if _, err = x.mend(ctx, a, m.id); err == nil {
				err = errMoved
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return covered, nil
}
