package search

import (
	"context"
	"fmt"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Stats is how far an account's index goes.
type Stats struct {
	Segments int
	Emails   uint64 // indexed, gone ones included
	Octets   uint64 // of all rows, about
}

// Stats tells how far an account's index goes; zero when there is none.
func (x *Index) Stats(ctx context.Context, a mail.AccountID) (Stats, error) {
	s, _, _, err := x.load(ctx, a)
	st := Stats{Segments: len(s.members), Emails: s.docs()}
	for _, m := range s.members {
		st.Octets += m.bytes
	}
	return st, err
}

// Check reads all of an account's index and tells what is wrong with it, in words; nothing when all is well or there is
// no index. It changes nothing: a search, or Rebuild, mends what it finds. Whether the terms are those of the emails is
// not looked at.
func (x *Index) Check(ctx context.Context, a mail.AccountID) ([]string, error) {
	var found []string
	s, ok, _, err := x.load(ctx, a)
	if err != nil {
		return nil, err
	}
	if !ok {
		return x.checkNone(ctx, a)
	}
	for _, m := range s.members {
		err := x.checkSegment(ctx, a, m)
		if broken(err) {
			if now, _, _, again := x.load(ctx, a); again == nil && len(now.without(m.id).members) == len(now.members) {
				continue // merged away meanwhile
			}
			found = append(found, fmt.Sprintf("text index: segment %d of %d emails is damaged: %v", m.id, m.docs, err))
			continue
		}
		if err != nil {
			return found, mail.Wrap("search.check", err)
		}
	}
	return found, nil
}

// checkNone looks whether an account without a state has rows.
func (x *Index) checkNone(ctx context.Context, a mail.AccountID) (found []string, err error) {
	from := kv.K(kv.TextIndex).Account(a)
	err = x.o.KV.View(ctx, []kv.Key{kv.LockAccount(a)}, func(r kv.Reader) error {
		found = nil
		_, err := r.Get(keyState(a))
		for _, scanned := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: 1}) {
			if scanned != nil {
				return scanned
			}
			err = nil
		}
		if err == nil {
			found = []string{"text index: its state is missing or damaged"}
		}
		return nil
	})
	return found, mail.Wrap("search.check", err)
}

// checkSegment reads all rows of a segment. Kind Internal or NotFound when one is damaged or missing.
func (x *Index) checkSegment(ctx context.Context, a mail.AccountID, m member) error {
	return x.o.KV.View(ctx, nil, func(r kv.Reader) error {
		payload, err := readPart(r, keyPart(a, m.id, partMeta, 0))
		if err != nil {
			return err
		}
		seg, err := decodeSegment(m.id, payload)
		if err != nil {
			return err
		}
		if d := seg.docs; uint64(len(d)) != m.docs || d[0] != m.first || d[len(d)-1] != m.last {
			return errDamaged
		}
		l := lookup{r: r, a: a, seg: seg, found: newBits(int(seg.slots()))}
		return l.probe(probe{inside, []byte{'\n'}}) // every term
	})
}

// Rebuild drops an account's index and builds it anew. Searches are right meanwhile, and slower.
func (x *Index) Rebuild(ctx context.Context, a mail.AccountID) error {
	err := x.o.KV.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}, func(tx kv.Tx) error {
		Drop(tx, a)
		return nil
	})
	if err != nil {
		return mail.Wrap("search.rebuild", err)
	}
	return x.Build(ctx, a)
}
