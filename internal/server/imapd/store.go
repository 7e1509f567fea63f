package imapd

import (
	"context"
	"slices"
	"strings"

	"postel/internal/proto/imap"
	"postel/internal/store"
)

// store is STORE and UID STORE. What is new is told behind it, not before: a client that was told flags in the
// answer to a silent STORE could not know whether the STORE is in them.
func (s *session) store(ctx context.Context, a imap.Store) error {
	if err := s.mayChange(); err != nil {
		return err
	}
	flags, keywords, err := flagsOf(a.Flags)
	if err != nil {
		return err
	}
	uids, err := s.uids(a.Set)
	if err != nil || len(uids) == 0 {
		return err
	}
	op := [...]store.FlagOp{store.Replace, store.Add, store.Remove}[a.Op]
	if err := s.srv.o.Store.SetFlags(ctx, s.account(), s.box.id(), uids, op, flags, keywords); err != nil {
		return err
	}
	latest, err := s.box.view.Latest(ctx)
	if err != nil {
		return err
	}
	return s.tellStored(ctx, latest, uids, a.Silent, change{op, flags | slots(latest.Keywords(), keywords)})
}

// change is what a STORE does to the flags of a message.
type change struct {
	op    store.FlagOp
	flags store.Flags
}

func (c change) apply(f store.Flags) store.Flags {
	switch c.op {
	case store.Add:
		return f | c.flags
	case store.Remove:
		return f &^ c.flags
	}
	return c.flags
}

// tellStored tells the flags that messages have now, or with silent only where another session had its hand in
// (RFC 3501 §6.4.6). Messages that are gone make the answer NO.
func (s *session) tellStored(ctx context.Context, latest *store.Snapshot, uids []store.UID, silent bool, c change) error {
	b := s.box
	if b.otherKeywords(latest) {
		s.tellFlags(ctx, b, latest)
	}
	b.settleTold(latest)
	if store.Renamed(b.snap.Keywords(), latest.Keywords()) {
		silent = false // what the client thinks cannot be compared with what is
	}
	gone := slices.ContainsFunc(uids, func(uid store.UID) bool { return latest.Seq(uid) == 0 })
	if gone && s.flags&byUID == 0 {
		silent = false // the answer is NO: the client does not know what was done
	}
	for _, uid := range uids {
		now := latest.Seq(uid)
		if now == 0 {
			continue
		}
		seq := b.snap.Seq(uid)
		f := latest.At(now).Flags
		if silent {
			b.know(uid, c.apply(b.flagsNow(b.snap.At(seq))))
			continue
		}
		s.e.BeginFetch(seq)
		if s.flags&byUID != 0 {
			s.e.FetchUID(uint32(uid))
		}
		s.e.FetchFlags(b.flagNames(latest, uid, f))
		s.e.EndFetch()
		b.know(uid, f)
	}
	if gone && s.flags&byUID == 0 { // a UID that is not there is no error (RFC 3501 §6.4.8)
		return errGone()
	}
	return nil
}

// slots gives the flags of keywords that are in use.
func slots(inUse, keywords []string) store.Flags {
	var f store.Flags
	for _, k := range keywords {
		for i, n := range inUse {
			if strings.EqualFold(n, k) {
				f |= 1 << (store.FirstKeyword + i)
			}
		}
	}
	return f
}
