package imapd

import (
	"context"
	"slices"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// search is SEARCH and UID SEARCH.
func (s *session) search(ctx context.Context, a imap.Search) error {
	switch strings.ToUpper(a.Charset) {
	case "", "US-ASCII", "UTF-8":
	default:
		return coded{mail.E("imapd.search", mail.Unsupported, "unknown charset"), imap.CodeBadCharset}
	}
	q, err := s.newQuery(ctx, a.Key)
	if err != nil {
		return err
	}
	found, err := q.run()
	if q.read >= leastIndexed && s.srv.o.Index != nil {
		s.srv.o.Index.Want(s.account())
	}
	if err != nil {
		return err
	}
	if a.Extended {
		s.e.ESearch(s.tag, s.flags&byUID != 0, a.Return, found)
	} else {
		s.e.Search(found)
	}
	return nil
}

// query is a search being run. Messages are decided by their entries where that is enough; the emails of the others
// are read in batches, and bodies only where nothing else decides.
type query struct {
	s    *session
	ctx  context.Context
	root *term
	wait []candidate // undecided by their entries
	text int         // terms that look for text
	deep bool        // some look at the parts of messages
	read int         // texts that were looked for without an index
	told time.Time   // when the client last heard of us
	body *store.Body // of the message being decided
	walk message.Texts

	found []uint32
}

// candidate is a message being looked at; email is nil as long as only its entry is known.
type candidate struct {
	seq   int
	entry store.Entry
	email *store.Email
}

// verdict is what a term says of a candidate.
type verdict uint8

const (
	no verdict = iota
	yes
	unknown // the email is needed
)

func is(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// run looks at all messages and gives their numbers or UIDs, ascending.
func (q *query) run() ([]uint32, error) {
	for seq, e := range q.s.box.snap.Where(q.root.sieve()) {
		c := candidate{seq: seq, entry: e}
		v, err := q.root.eval(q, &c)
		if err != nil {
			return nil, err
		}
		switch v {
		case yes:
			q.found = append(q.found, q.number(&c))
		case unknown:
			q.wait = append(q.wait, c)
			if err := q.decideWaiting(fetchBatch); err != nil {
				return nil, err
			}
		}
	}
	err := q.decideWaiting(1)
	slices.Sort(q.found) // those that waited came later
	return q.found, err
}

func (q *query) number(c *candidate) uint32 {
	if q.s.flags&byUID != 0 {
		return uint32(c.entry.UID)
	}
	return uint32(c.seq)
}

// decideWaiting reads the emails of the candidates that wait, when there are at least some of them.
func (q *query) decideWaiting(least int) error {
	if len(q.wait) < least {
		return nil
	}
	if q.text > 0 {
		if err := q.enter(); err != nil {
			return err
		}
		defer func() { <-q.s.srv.reading }()
	}
	ids := make([]store.EmailID, len(q.wait))
	for i := range q.wait {
		ids[i] = q.wait[i].entry.Email
	}
	each := q.s.srv.o.Store.EachTop
	if q.deep {
		each = q.s.srv.o.Store.EachEmail
	}
	err := each(q.ctx, q.s.account(), ids, func(i int, m *store.Email) error {
		if m == nil {
			return nil // gone meanwhile
		}
		if err := q.progress(); err != nil {
			return err
		}
		return q.decide(&q.wait[i], m)
	})
	if err != nil {
		return err
	}
	q.wait = q.wait[:0]
	return nil
}

// decide looks at one message with its email.
func (q *query) decide(c *candidate, m *store.Email) error {
	c.email, q.body = m, q.s.srv.o.Store.Body(q.ctx, m)
	defer func() {
		q.body.Close()
		c.email, q.body = nil, nil
	}()
	v, err := q.root.eval(q, c)
	if err != nil && !mail.Is(err, mail.NotFound) {
		return err
	}
	if v == yes && err == nil {
		q.found = append(q.found, q.number(c))
	}
	return nil
}
