package search

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// state is how far the index of an account goes.
type state struct {
	epoch   uint64 // what texts were like when it was built
	upTo    uint64 // the next build looks at the emails above it
	newest  uint64 // the newest segment id given out
	members []member
}

// member is a segment that is part of the index.
type member struct {
	id          uint64
	first, last uint64 // emails
	docs, bytes uint64
}

func (s *state) encode() []byte {
	b := binary.AppendUvarint(nil, s.epoch)
	b = binary.AppendUvarint(b, s.upTo)
	b = binary.AppendUvarint(b, s.newest)
	b = binary.AppendUvarint(b, uint64(len(s.members)))
	for _, m := range s.members {
		for _, v := range [...]uint64{m.id, m.first, m.last, m.docs, m.bytes} {
			b = binary.AppendUvarint(b, v)
		}
	}
	return b
}

func decodeState(payload []byte) (state, error) {
	r := reader{b: payload}
	s := state{epoch: r.uint(), upTo: r.uint(), newest: r.uint()}
	n := r.count(5)
	s.members = make([]member, 0, n)
	for range n {
		s.members = append(s.members, member{r.uint(), r.uint(), r.uint(), r.uint(), r.uint()})
	}
	return s, r.end()
}

// docs is the number of emails that the index covers, gone ones included.
func (s *state) docs() (n uint64) {
	for _, m := range s.members {
		n += m.docs
	}
	return n
}

// without gives the state without some segments.
func (s *state) without(ids ...uint64) state {
	next := *s
	next.members = slices.DeleteFunc(slices.Clone(s.members), func(m member) bool { return slices.Contains(ids, m.id) })
	return next
}

// nextID gives an id for a new segment, never used before: even if the state was lost in between, the time makes it
// new, and what is remembered of an old one of that number is of no harm.
func (x *Index) nextID(s *state) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.newest = max(s.newest+1, x.newest+1, uint64(max(x.o.Clock().UnixNano(), 0)))
	return x.newest
}

// load reads an account's state. Without an index, ok is false; so it is when the row is damaged or of another epoch,
// and drop then says that all there is must go first.
func (x *Index) load(ctx context.Context, a mail.AccountID) (s state, ok, drop bool, err error) {
	err = x.o.KV.View(ctx, []kv.Key{kv.LockAccount(a)}, func(r kv.Reader) error {
		s, ok, drop, err = x.readState(r, a)
		return err
	})
	return s, ok, drop, mail.Wrap("search.state", err)
}

func (x *Index) readState(r kv.Reader, a mail.AccountID) (s state, ok, drop bool, err error) {
	k := keyState(a)
	v, err := r.Get(k)
	if errors.Is(err, kv.ErrNotFound) {
		return state{epoch: x.epoch}, false, true, nil
	}
	if err != nil {
		return state{}, false, false, err
	}
	payload, err := unseal(k, v)
	if err == nil {
		s, err = decodeState(payload)
	}
	if err != nil || s.epoch != x.epoch {
		return state{epoch: x.epoch}, false, true, nil
	}
	return s, true, false, nil
}

// errMoved says that another builder was faster; it is tried again from the new state.
var errMoved = mail.E("search.commit", mail.Busy, "the text index changed meanwhile")

// commit makes next the state in place of before, in one transaction with the rows of a new segment, and removes the
// rows of segments that are no part of it any more. Kind Busy when before is not the state any longer, NotFound when
// the account is gone.
func (x *Index) commit(ctx context.Context, a mail.AccountID, before, next state, rows rowSet, gone []*segment) error {
	was := before.encode()
	return x.o.KV.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}, func(tx kv.Tx) error {
		if _, err := tx.Get(kv.K(kv.Counters).Account(a)); err != nil {
			return mail.Wrap("search.commit", err)
		}
		now, ok, drop, err := x.readState(tx, a)
		if err != nil {
			return err
		}
		if ok && !slices.Equal(now.encode(), was) || !ok && len(before.members) > 0 {
			return errMoved
		}
		if drop {
			dropSegments(tx, a)
		}
		for i, k := range rows.keys {
			tx.Set(k, rows.values[i])
		}
		for _, s := range gone {
			tx.Delete(keyPart(a, s.id, partMeta, 0))
			for n := range s.firsts {
				tx.Delete(keyPart(a, s.id, partTerms, n))
				tx.Delete(keyPart(a, s.id, partPostings, n))
			}
		}
		k := keyState(a)
		tx.Set(k, seal(k, next.encode()))
		return nil
	})
}

func dropSegments(tx kv.Tx, a mail.AccountID) {
	from := kv.K(kv.TextIndex).Account(a)
	tx.DeleteRange(from, from.End())
}

// Drop removes an account's index within the caller's transaction, which holds LockAccount. Whoever gives emails back
// ids that were used for others before, as a restore does, drops the index with them.
func Drop(tx kv.Tx, a mail.AccountID) {
	dropSegments(tx, a)
	tx.Delete(keyState(a))
}
