package store

import (
	"fmt"
	"maps"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// surveyed is a mailbox as its rows say it is, and as its entries do.
type surveyed struct {
	id           MailboxID
	mb           *mailboxRow // nil: missing or damaged
	nm           *boxRow     // nil: missing or damaged
	mbKey, nmKey bool        // there is a row, however damaged
	staged       []uidRange  // what a COPY has under way here
	taken        UID         // UIDNEXT behind what the repair itself puts there
	count        boxRow      // recounted
	next         UID         // above every UID that anything tells of
	touched      bool        // entries of it change
}

// box gives a mailbox that anything tells of.
func (x *survey) box(m MailboxID) *surveyed {
	b := x.boxes[m]
	if b == nil {
		b = &surveyed{id: m, next: 1}
		b.count.recentFrom = lastUID // nothing is recent in a mailbox without counters
		for _, j := range x.jobs {
			if j.kind == jobStaged && j.m == m {
				b.staged = append(b.staged, uidRange{j.first, j.end})
			}
		}
		x.boxes[m] = b
		x.known.mailbox = max(x.known.mailbox, m)
	}
	return b
}

func (b *surveyed) isStaged(uid UID) bool {
	return slices.ContainsFunc(b.staged, func(r uidRange) bool { return r.has(uid) })
}

// counts tells whether an entry is part of the mailbox.
func (b *surveyed) counts(uid UID) bool { return !b.isStaged(uid) }

// sawUID notes that a UID was given out.
func (b *surveyed) sawUID(uid UID) {
	if uid < lastUID {
		b.next = max(b.next, uid+1)
	}
}

// add counts an entry.
func (b *surveyed) add(uid UID, e *entryRow) {
	if b.isStaged(uid) {
		return
	}
	b.sawUID(uid)
	b.count.count(e, uid, 1)
	b.count.highest = max(b.count.highest, e.modSeq)
}

// nameOf gives a mailbox's name, for people.
func (x *survey) nameOf(m MailboxID) string {
	if b := x.boxes[m]; b != nil && b.mb != nil {
		return b.mb.name
	}
	return fmt.Sprintf("number %d", m)
}

// readMailboxes reads mb and nm.
func (x *survey) readMailboxes() error {
	err := x.scan(kv.Mailboxes, func(k kv.Key, v []byte) error {
		if len(k) != 4 {
			x.tell(mail.Finding{Part: "mailboxes", Text: "a key is damaged"}, fix{append(kv.K(kv.Mailboxes).Account(x.a), k...), nil})
			return nil
		}
		b := x.box(MailboxID(lastUint32(k)))
		b.mbKey = true
		row, err := decodeMailbox(v)
		if clean, bad := CleanName(row.name); err == nil && bad == nil && clean == row.name && row.validity > 0 {
			b.mb = &row
		}
		return nil
	})
	if err != nil {
		return err
	}
	return x.scan(kv.BoxCounters, func(k kv.Key, v []byte) error {
		if len(k) != 4 {
			x.tell(mail.Finding{Part: "counters", Text: "a key is damaged"}, fix{append(kv.K(kv.BoxCounters).Account(x.a), k...), nil})
			return nil
		}
		b := x.box(MailboxID(lastUint32(k)))
		b.nmKey = true
		row, err := decodeBox(v)
		if err != nil || row.uidNext == 0 || row.validity == 0 || row.highest >= endModSeqs {
			return nil
		}
		b.nm = &row
		b.count.recentFrom = row.recentFrom
		b.staged = keptStaged(row.staged, b.staged)
		x.known.modSeq = max(x.known.modSeq, row.highest)
		return nil
	})
}

// settleMailboxes compares mb and nm with one another and with the entries.
func (x *survey) settleMailboxes() error {
	if x.leaving() || x.muted() {
		return nil
	}
	x.box(Inbox) // every account has one
	names, validities := map[string]bool{}, map[uint32]bool{}
	for _, id := range slices.Sorted(maps.Keys(x.boxes)) {
		b := x.boxes[id]
		if x.emptied(id) && !b.mbKey && !b.nmKey {
			continue
		}
		x.settleMailbox(b, names, validities)
	}
	return nil
}

func (x *survey) settleMailbox(b *surveyed, names map[string]bool, validities map[uint32]bool) {
	part := func(format string, args ...any) mail.Finding {
		return x.finding("mailboxes", place{m: b.id}, format, args...)
	}
	var found []mail.Finding
	var mb mailboxRow
	fresh := false // a UIDVALIDITY that was never used
	switch {
	case b.mb != nil:
		mb = *b.mb
	case b.id == Inbox:
		found = append(found, part("the row of INBOX is damaged or missing"))
	default:
		f := part("its row is damaged or missing")
		f.Lost = "its name and its use"
		found = append(found, f)
	}
	if b.id == Inbox && (mb.name != "INBOX" || mb.role != RoleInbox) {
		if b.mb != nil {
			found = append(found, part("INBOX has another name or use"))
		}
		mb.name, mb.role = "INBOX", RoleInbox
	} else if b.id != Inbox && mb.role != RoleNone && !mb.role.settable() {
		found = append(found, part("it is for %q, which only INBOX or nothing is", mb.role))
		mb.role = RoleNone
	}
	if names[mb.name] || mb.name == "" || b.id != Inbox && mb.name == "INBOX" {
		if b.mb != nil {
			found = append(found, part("another mailbox has its name"))
		}
		mb.name = freeName(names, x.boxes, mb.name, b.id)
	}
	if b.mb == nil && b.nm != nil {
		mb.validity = b.nm.validity
	}
	if b.nm != nil && b.nm.validity != mb.validity {
		found = append(found, part("its two rows have different UIDVALIDITYs"))
		fresh = true
	}
	if mb.validity == 0 || validities[mb.validity] {
		if b.mb != nil {
			found = append(found, part("another mailbox has its UIDVALIDITY"))
		}
		fresh = true
	}
	nm, more, unproven := x.settleCounters(b)
	found = append(found, more...)
	if (fresh || unproven) && !x.leaving() {
		mb.validity = x.newValidity()
	}
	nm.validity = mb.validity
	names[mb.name], validities[mb.validity] = true, true
	if len(found) == 0 && !b.touched {
		return
	}
	x.writeMailbox(b, mb, nm, found)
}

// writeMailbox plans the rows of a mailbox.
func (x *survey) writeMailbox(b *surveyed, mb mailboxRow, nm boxRow, found []mail.Finding) {
	var fixes []fix
	if b.mb == nil || *b.mb != mb {
		fixes = append(fixes, fix{keyMailbox(x.a, b.id), mb.encode()})
		x.visible = true
	}
	if b.nm == nil || nm.uidNext != b.nm.uidNext || nm.validity != b.nm.validity || nm.highest != b.nm.highest || b.touched {
		nm.highest = x.seq
		x.visible = true
	}
	fixes = append(fixes, fix{keyBox(x.a, b.id), nm.encode()})
	if len(found) == 0 { // only entries of it change, of which was told
		if x.mend {
			x.plan = append(x.plan, fixes...)
		}
		return
	}
	for i, f := range found {
		if i < len(found)-1 {
			x.tell(f)
			continue
		}
		if !x.tell(f, fixes...) && b.touched && x.mend {
			x.plan = append(x.plan, fixes...) // its entries are in the plan already
		}
	}
}

// settleCounters gives a mailbox's counters as they should be; unproven says that UIDNEXT may have been higher.
func (x *survey) settleCounters(b *surveyed) (nm boxRow, found []mail.Finding, unproven bool) {
	part := func(format string, args ...any) mail.Finding {
		return x.finding("counters", place{m: b.id}, format, args...)
	}
	b.next = max(b.next, x.log.next[b.id])
	if b.nm == nil {
		nm = b.count
		nm.uidNext = max(b.next, b.taken)
		nm.recentFrom, nm.recent, nm.staged = nm.uidNext, 0, b.staged
		f := part("the mailbox's counters are damaged or missing")
		if unproven = !x.log.whole; unproven {
			f.Lost = "its UIDNEXT, so it gets another UIDVALIDITY"
		}
		return nm, append(found, f), unproven
	}
	nm = *b.nm
	if nm.uidNext < b.next {
		f := part("UIDNEXT is %d, and UID %d was given out", nm.uidNext, b.next-1)
		if nm.uidNext, unproven = b.next, !x.log.whole; unproven {
			f.Lost = "its UIDNEXT, so it gets another UIDVALIDITY"
		}
		found = append(found, f)
	}
	nm.uidNext = max(nm.uidNext, b.taken)
	if len(b.staged) != len(nm.staged) {
		nm.staged = b.staged
		found = append(found, part("UIDs are reserved for a copy that nobody makes"))
	}
	if nm.recentFrom > nm.uidNext || nm.recentFrom == 0 {
		nm.recentFrom, b.count.recent = nm.uidNext, 0
		found = append(found, part("what is recent begins above UIDNEXT"))
	}
	if nm.highest < b.count.highest {
		found = append(found, part("HIGHESTMODSEQ is %d, that of an entry %d", nm.highest, b.count.highest))
		nm.highest = b.count.highest
	}
	c := &b.count
	if nm.exists != c.exists || nm.unseen != c.unseen || nm.deleted != c.deleted || nm.recent != c.recent || nm.size != c.size {
		if !b.touched {
			found = append(found, part("it says exists %d unseen %d deleted %d recent %d size %d, and has %d %d %d %d %d",
				nm.exists, nm.unseen, nm.deleted, nm.recent, nm.size, c.exists, c.unseen, c.deleted, c.recent, c.size))
		}
		nm.exists, nm.unseen, nm.deleted, nm.recent, nm.size = c.exists, c.unseen, c.deleted, c.recent, c.size
	}
	return nm, found, unproven
}

// keptStaged gives the reserved ranges for which there is a job, in whichever of its states.
func keptStaged(ranges, jobs []uidRange) []uidRange {
	var kept []uidRange
	for _, r := range ranges {
		if slices.ContainsFunc(jobs, func(j uidRange) bool { return j.first == r.first && (j.end == r.end || j.end == r.end+1) }) {
			kept = append(kept, r)
		}
	}
	return kept
}

// freeName gives a name that no other mailbox has.
func freeName(taken map[string]bool, boxes map[MailboxID]*surveyed, base string, id MailboxID) string {
	used := func(name string) bool {
		if taken[name] || name == "INBOX" {
			return true
		}
		for _, b := range boxes {
			if b.id != id && b.mb != nil && b.mb.name == name {
				return true
			}
		}
		return false
	}
	if base == "" || base == "INBOX" || len(base) > MaxName-40 {
		base = recovered
	}
	name := fmt.Sprintf("%s %d", base, id)
	for n := 2; used(name); n++ {
		name = fmt.Sprintf("%s %d (%d)", base, id, n)
	}
	return name
}
