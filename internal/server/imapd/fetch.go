package imapd

import (
	"context"

	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// fetchBatch is how many emails are read at once.
const fetchBatch = 64

// fetching is one FETCH.
type fetching struct {
	s     *session
	items []imap.FetchItem
	uid   bool // UID is not among the items but told
	flags bool // FLAGS is among the items
	sees  bool // sets \Seen
	email bool // needs more than the entries
	err   error
}

// fetch is FETCH and UID FETCH.
func (s *session) fetch(ctx context.Context, a imap.Fetch) error {
	ranges, err := s.resolve(a.Set)
	if err != nil {
		return err
	}
	f := s.newFetching(a.Items)
	for _, r := range ranges {
		if err := f.messages(ctx, int(r.From), int(r.To)); err != nil {
			return err
		}
	}
	return f.err
}

func (s *session) newFetching(items []imap.FetchItem) *fetching {
	f := &fetching{s: s, items: items, uid: s.flags&byUID != 0}
	for _, i := range items {
		switch i.Kind {
		case imap.FetchUID:
			f.uid = false // told where it was asked for
		case imap.FetchFlags:
			f.flags = true
		case imap.FetchSize:
		default:
			f.email = true
		}
		if i.Kind == imap.FetchBody || i.Kind == imap.FetchRFC822 || i.Kind == imap.FetchRFC822Text {
			f.sees = f.sees || !i.Peek && !s.box.readOnly
		}
	}
	return f
}

// messages tells the messages from one number to another.
func (f *fetching) messages(ctx context.Context, from, to int) error {
	if !f.email {
		for seq := from; seq <= to; seq++ {
			f.message(ctx, seq, f.s.box.snap.At(seq), nil)
		}
		return f.s.e.Err()
	}
	for ; from <= to; from += fetchBatch {
		if err := f.batch(ctx, from, min(to, from+fetchBatch-1)); err != nil {
			return err
		}
	}
	return nil
}

// batch tells a few messages with their emails.
func (f *fetching) batch(ctx context.Context, from, to int) error {
	s := f.s
	entries := make([]store.Entry, 0, to-from+1)
	ids := make([]store.EmailID, 0, to-from+1)
	for seq := from; seq <= to; seq++ {
		e := s.box.snap.At(seq)
		entries, ids = append(entries, e), append(ids, e.Email)
	}
	if f.sees {
		if err := f.see(ctx, entries); err != nil {
			return err
		}
	}
	err := s.srv.o.Store.EachEmail(ctx, s.account(), ids, func(i int, m *store.Email) error {
		if m == nil {
			f.gone()
			return nil
		}
		f.message(ctx, from+i, entries[i], m)
		return s.e.Err()
	})
	if err != nil {
		return err
	}
	return ctx.Err()
}

// gone notes that a message is no longer there: an error for who asked by number (RFC 3501 §6.4.8).
func (f *fetching) gone() {
	if f.s.flags&byUID == 0 {
		f.err = errGone()
	}
}

// see sets \Seen on those of the messages that have it not, and keeps it in mind: their answers tell FLAGS.
func (f *fetching) see(ctx context.Context, entries []store.Entry) error {
	s, b := f.s, f.s.box
	var uids []store.UID
	for _, e := range entries {
		if !b.flagsNow(e).Has(store.Seen) {
			uids = append(uids, e.UID)
		}
	}
	if len(uids) == 0 {
		return nil
	}
	err := s.srv.o.Store.SetFlags(ctx, s.account(), b.id(), uids, store.Add, store.Seen, nil)
	if err != nil {
		return err
	}
	for i := range entries {
		if e := &entries[i]; !b.flagsNow(*e).Has(store.Seen) {
			b.know(e.UID, b.flagsNow(*e)|store.Seen)
			e.Flags |= recentFlag // marks that FLAGS is to be told
		}
	}
	return nil
}

// flagsNow gives the flags that the client was last told.
func (b *mailbox) flagsNow(e store.Entry) store.Flags {
	if f, ok := b.told[e.UID]; ok {
		return f
	}
	return e.Flags
}

// message tells one message; m is nil when no item needs it.
func (f *fetching) message(ctx context.Context, seq int, e store.Entry, m *store.Email) {
	s, b := f.s, f.s.box
	s.e.BeginFetch(seq)
	if f.uid {
		s.e.FetchUID(uint32(e.UID))
	}
	for i := range f.items {
		f.item(ctx, &f.items[i], e, m)
	}
	if e.Flags&recentFlag != 0 && !f.flags {
		s.e.FetchFlags(b.flagNames(b.snap, e.UID, b.flagsNow(e)))
	}
	s.e.EndFetch()
}

func (f *fetching) item(ctx context.Context, i *imap.FetchItem, e store.Entry, m *store.Email) {
	out, b := f.s.e, f.s.box
	switch i.Kind {
	case imap.FetchFlags:
		out.FetchFlags(b.flagNames(b.snap, e.UID, b.flagsNow(e)))
	case imap.FetchUID:
		out.FetchUID(uint32(e.UID))
	case imap.FetchSize:
		out.FetchSize(e.Size)
	case imap.FetchInternalDate:
		out.FetchDate(m.InternalDate.UTC())
	case imap.FetchEnvelope:
		out.FetchEnvelope(m.Root.Envelope)
	case imap.FetchStructure:
		out.FetchStructure(m.Root, false)
	case imap.FetchBodyStructure:
		out.FetchStructure(m.Root, true)
	default:
		if err := f.section(ctx, i, m); err != nil {
			f.failed(err)
			out.FetchNil(*i)
		}
	}
}

// failed keeps the error of an item that could not be read; the answer goes on without it.
func (f *fetching) failed(err error) {
	if mail.Is(err, mail.NotFound) {
		f.gone()
		return
	}
	f.err = err
}
