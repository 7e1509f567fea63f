package imapd

import (
	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// errGone is the answer when messages that were asked for are gone (RFC 5530 §3).
func errGone() error {
	return coded{mail.E("imapd", mail.NotFound, "some of the messages no longer exist"), "EXPUNGEISSUED"}
}

// resolve gives the numbers that a set of the current command names, as ascending ranges of message numbers of the
// client's snapshot. A message number that is not there is a syntax error (RFC 3501 §9 seq-number), a UID that is
// not there names nothing (§6.4.8).
func (s *session) resolve(set imap.SeqSet) ([]imap.Range, error) {
	snap := s.box.snap
	if s.flags&byUID != 0 {
		return seqRanges(snap, set.Resolve(uint32(lastUID(snap)))), nil
	}
	if n := uint32(snap.Len()); set.Most() > n || n == 0 {
		return nil, bad("no such message number")
	}
	return set.Resolve(uint32(snap.Len())), nil
}

func lastUID(snap *store.Snapshot) store.UID {
	if n := snap.Len(); n > 0 {
		return snap.At(n).UID
	}
	return 0
}

// seqRanges turns ranges of UIDs into ranges of message numbers.
func seqRanges(snap *store.Snapshot, uids []imap.Range) []imap.Range {
	out := uids[:0]
	for _, r := range uids {
		from := snap.SeqAtLeast(store.UID(r.From))
		if from == 0 || from > snap.Len() {
			break
		}
		to := snap.Len()
		if r.To < uint32(lastUID(snap)) {
			to = snap.SeqAtLeast(store.UID(r.To)+1) - 1
		}
		if from <= to {
			out = append(out, imap.Range{From: uint32(from), To: uint32(to)})
		}
	}
	return out
}

// uids gives the UIDs of a set, ascending.
func (s *session) uids(set imap.SeqSet) ([]store.UID, error) {
	ranges, err := s.resolve(set)
	if err != nil {
		return nil, err
	}
	var uids []store.UID
	for _, r := range ranges {
		for seq := int(r.From); seq <= int(r.To); seq++ {
			uids = append(uids, s.box.snap.At(seq).UID)
		}
	}
	return uids, nil
}

// mayChange fails in a mailbox that was opened with EXAMINE.
func (s *session) mayChange() error {
	if s.box.readOnly {
		return coded{mail.E("imapd", mail.Denied, "mailbox was opened read-only"), imap.CodeCannot}
	}
	return nil
}
