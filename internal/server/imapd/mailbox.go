package imapd

import (
	"context"
	"slices"

	"postel/internal/proto/imap"
	"postel/internal/store"
)

// mailbox is the selected one.
type mailbox struct {
	view     *store.View
	snap     *store.Snapshot // what the client knows
	readOnly bool
	recent   store.UID // \Recent from here on; 0: none
	keywords []string  // told in FLAGS
	names    map[store.Flags][]string
	namedBy  []string // the keywords that names were made of
	// told holds the flags of messages that differ from snap and that the client knows already, because a FETCH
	// told them or a STORE.SILENT made them.
	told     map[store.UID]store.Flags
	toldBy   []string // the names of the keywords among them
	toldAnew bool     // names have changed since: all of told is to be told again
}

// largeMailbox is how many messages a mailbox has whose texts are indexed before anyone looks for one.
const largeMailbox = 2000

// recentFlag marks \Recent in the keys of names; the store keeps the bit free.
const recentFlag store.Flags = 1 << 5

// selectMailbox is SELECT.
func (s *session) selectMailbox(ctx context.Context, m imap.Mailbox) error {
	return s.open(ctx, m.Name, false)
}

// examine is EXAMINE.
func (s *session) examine(ctx context.Context, m imap.Mailbox) error {
	return s.open(ctx, m.Name, true)
}

// open selects a mailbox; when that fails none is selected (RFC 3501 §6.3.1).
func (s *session) open(ctx context.Context, name string, readOnly bool) error {
	s.leave()
	found, err := s.srv.o.Store.Mailbox(ctx, s.account(), name)
	if err != nil {
		return err
	}
	view, err := s.srv.o.Store.Open(ctx, s.account(), found.ID, readOnly)
	if err != nil {
		return err
	}
	snap, err := view.Latest(ctx)
	if err != nil {
		view.Close()
		return err
	}
	b := &mailbox{view: view, snap: snap, readOnly: readOnly, recent: view.RecentFrom()}
	s.box, s.state = b, selected
	if i := s.srv.o.Index; i != nil && snap.Len() >= largeMailbox {
		i.Want(s.account())
	}
	s.tellMailbox(ctx, b)
	s.okCode = imap.CodeReadWrite
	if readOnly {
		s.okCode = imap.CodeReadOnly
	}
	return nil
}

// tellMailbox gives the data that SELECT owes (RFC 3501 §6.3.1).
func (s *session) tellMailbox(ctx context.Context, b *mailbox) {
	s.tellFlags(ctx, b, b.snap)
	s.e.Exists(b.snap.Len())
	s.e.Recent(b.countRecent(b.snap))
	for seq := range b.snap.Where(func(_ store.EmailID, f store.Flags) bool { return !f.Has(store.Seen) }) {
		s.e.Status("", imap.OK, imap.CodeNumber("UNSEEN", uint64(seq)), "first unseen message")
		break
	}
	s.e.Status("", imap.OK, imap.CodeNumber("UIDVALIDITY", uint64(b.snap.UIDValidity())), "UIDs valid")
	s.e.Status("", imap.OK, imap.CodeNumber("UIDNEXT", uint64(b.snap.UIDNext())), "predicted next UID")
}

// tellFlags gives FLAGS and PERMANENTFLAGS.
func (s *session) tellFlags(ctx context.Context, b *mailbox, snap *store.Snapshot) {
	keywords := snap.Keywords()
	b.keywords = keywords
	all := append([]string{imap.Answered, imap.Flagged, imap.Deleted, imap.Seen, imap.Draft}, keywords...)
	s.e.Flags(all)
	var permanent []string
	text := "read-only mailbox"
	if !b.readOnly {
		permanent, text = all, "flags that are kept"
		room := len(keywords) < store.MaxKeywords
		if !room {
			room, _ = s.srv.o.Store.KeywordRoom(ctx, s.account()) // failing that a client tries and is told
		}
		if room {
			permanent = append(permanent, imap.Any)
		}
	}
	s.e.Status("", imap.OK, imap.CodeFlags(permanent), text)
}

// leave ends the selected state without a word.
func (s *session) leave() {
	if s.box != nil {
		s.box.view.Close()
		s.box = nil
		s.state = authenticated
	}
}

// close is CLOSE: what is deleted goes, without being told (RFC 3501 §6.4.2).
func (s *session) close(ctx context.Context, _ imap.None) error {
	defer s.leave()
	if s.box.readOnly {
		return nil
	}
	_, err := s.srv.o.Store.ExpungeDeleted(ctx, s.account(), s.box.id(), nil)
	return err
}

func (s *session) unselect(context.Context, imap.None) error {
	s.leave()
	return nil
}

func (b *mailbox) id() store.MailboxID { return b.view.Mailbox().ID }

func (b *mailbox) isRecent(uid store.UID) bool { return b.recent != 0 && uid >= b.recent }

func (b *mailbox) countRecent(snap *store.Snapshot) int {
	if b.recent == 0 {
		return 0
	}
	if seq := snap.SeqAtLeast(b.recent); seq > 0 {
		return snap.Len() - seq + 1
	}
	return 0
}

// flagNames gives the names of a message's flags. The slices are shared: there are few combinations.
func (b *mailbox) flagNames(snap *store.Snapshot, uid store.UID, f store.Flags) []string {
	f &^= recentFlag
	if b.isRecent(uid) {
		f |= recentFlag
	}
	if store.Renamed(b.namedBy, snap.Keywords()) || len(b.namedBy) < len(snap.Keywords()) {
		b.names = nil
	}
	b.namedBy = snap.Keywords()
	if names, ok := b.names[f]; ok {
		return names
	}
	names := namesOf(f, snap.Keywords())
	if b.names == nil || len(b.names) > 1000 {
		b.names = map[store.Flags][]string{}
	}
	b.names[f] = names
	return names
}

// systemNames are the names of the system flags by their bit.
var systemNames = [...]string{imap.Seen, imap.Answered, imap.Flagged, imap.Deleted, imap.Draft, imap.Recent}

func namesOf(f store.Flags, keywords []string) []string {
	names := make([]string, 0, 4)
	for i, n := range systemNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return append(names, f.Keywords(keywords)...)
}

// flagsOf takes names apart into system flags and keywords. \Recent cannot be changed and is left out; other names
// with a backslash are errors (RFC 3501 §9 flag-extension).
func flagsOf(names []string) (f store.Flags, keywords []string, err error) {
	for _, n := range names {
		i := slices.Index(systemNames[:], n)
		switch {
		case n == imap.Recent:
		case i >= 0:
			f |= 1 << i
		case n[0] == '\\':
			return 0, nil, bad("unknown system flag")
		default:
			keywords = append(keywords, n)
		}
	}
	return f, keywords, nil
}
