package imapd

import (
	"context"
	"maps"
	"slices"

	"postel/internal/mail"
	"postel/internal/store"
)

// tellChanges tells what is new in the selected mailbox (RFC 3501 §5.2, §7.4.1). Without mayExpunge, and when
// messages are gone, nothing is told yet: numbers must keep their meaning.
func (s *session) tellChanges(ctx context.Context, mayExpunge bool) error {
	b := s.box
	latest, err := b.view.Latest(ctx)
	if mail.Is(err, mail.NotFound) {
		s.leave()
		s.farewell("", "the mailbox was deleted")
		return nil
	}
	if err != nil || latest == b.snap {
		return err
	}
	diff := store.Diff(b.snap, latest)
	if len(diff.Expunged) > 0 && !mayExpunge {
		return nil
	}
	if b.otherKeywords(latest) {
		s.tellFlags(ctx, b, latest)
	}
	b.settleTold(latest)
	for i, uid := range diff.Expunged {
		s.e.Expunge(b.snap.Seq(uid) - i)
	}
	b.snap = latest
	if diff.Added > 0 {
		s.e.Exists(latest.Len())
		s.e.Recent(b.countRecent(latest))
	}
	for _, uid := range diff.Flags {
		s.tellFlagsOf(b, uid)
		delete(b.told, uid)
	}
	// What this client did and another session undid is no difference to the snapshot, but it is to the client.
	for _, uid := range slices.Sorted(maps.Keys(b.told)) {
		s.tellFlagsOf(b, uid)
	}
	b.told, b.toldAnew = nil, false
	return nil
}

// otherKeywords tells whether the client has not been told yet of keywords.
func (b *mailbox) otherKeywords(latest *store.Snapshot) bool {
	return len(latest.Keywords()) > len(b.keywords) || store.Renamed(b.keywords, latest.Keywords())
}

// settleTold sees to what the client was told since the last snapshot, as bits: where a slot has another name now, they
// mean something else, and everything is told anew.
func (b *mailbox) settleTold(latest *store.Snapshot) {
	if len(b.told) > 0 && store.Renamed(b.toldBy, latest.Keywords()) {
		b.toldAnew = true
	}
	b.toldBy = latest.Keywords()
}

// tellFlagsOf tells the flags of a message, unless the client knows them.
func (s *session) tellFlagsOf(b *mailbox, uid store.UID) {
	seq := b.snap.Seq(uid)
	if seq == 0 {
		return
	}
	f := b.snap.At(seq).Flags
	if known, ok := b.told[uid]; ok && known == f && !b.toldAnew {
		return
	}
	s.e.BeginFetch(seq)
	if s.flags&byUID != 0 {
		s.e.FetchUID(uint32(uid))
	}
	s.e.FetchFlags(b.flagNames(b.snap, uid, f))
	s.e.EndFetch()
}

// know notes that the client knows these flags of a message.
func (b *mailbox) know(uid store.UID, f store.Flags) {
	if b.told == nil {
		b.told = map[store.UID]store.Flags{}
	}
	b.told[uid] = f
}
