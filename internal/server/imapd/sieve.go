package imapd

import (
	"postel/internal/proto/imap"
	"postel/internal/search"
	"postel/internal/store"
)

// sieve gives a cheap test that all messages pass for which the term may hold: those that do not pass need no more than
// their flags, and what the index says, to be told. It is nil when there is none. Passing decides nothing.
func (t *term) sieve() func(store.EmailID, store.Flags) bool {
	flags := t.flags
	switch t.op {
	case imap.SearchFlag:
		if !t.recent {
			return func(_ store.EmailID, f store.Flags) bool { return f&flags != 0 }
		}
	case imap.SearchNoFlag:
		if !t.recent {
			return func(_ store.EmailID, f store.Flags) bool { return f&flags == 0 }
		}
	case imap.SearchNew:
		return func(_ store.EmailID, f store.Flags) bool { return !f.Has(store.Seen) }
	case imap.SearchHeader, imap.SearchBody, imap.SearchText:
		if hits := t.hits; hits != nil {
			return func(e store.EmailID, _ store.Flags) bool { return hits.Look(uint64(e)) != search.No }
		}
	case imap.SearchAnd:
		return sieveOfAll(t.terms)
	}
	return nil
}

// sieveOfAll is for terms that must all hold.
func sieveOfAll(terms []*term) (pass func(store.EmailID, store.Flags) bool) {
	for _, t := range terms {
		next := t.sieve()
		if before := pass; before != nil && next != nil {
			pass = func(e store.EmailID, f store.Flags) bool { return before(e, f) && next(e, f) }
		} else if next != nil {
			pass = next
		}
	}
	return pass
}
