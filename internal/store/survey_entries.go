package store

import (
	"cmp"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// readEntries counts all entries. Those that a COPY staged, or that a Delete leaves, count nowhere.
func (x *survey) readEntries() error {
	err := x.scan(kv.Entries, func(k kv.Key, v []byte) error {
		if len(k) != 8 {
			x.beyond(mail.Finding{Part: "entries", Text: "an entry's key is damaged"})
			return nil
		}
		p := place{MailboxID(lastUint32(k[:4])), UID(lastUint32(k))}
		b := x.box(p.m)
		e, err := decodeEntry(v)
		if err != nil || e.email == 0 || e.email >= endEmails || e.copy >= maxCopies || e.modSeq >= endModSeqs {
			x.broken = append(x.broken, p)
			b.sawUID(p.uid)
			return nil
		}
		x.entries = append(x.entries, located{email: e.email, place: p, copy: e.copy, size: e.size})
		x.flags |= e.flags
		x.known.email = max(x.known.email, e.email)
		b.add(p.uid, &e)
		if !b.isStaged(p.uid) && !x.emptied(p.m) { // what is staged is ahead of the account
			x.known.modSeq = max(x.known.modSeq, e.modSeq)
		}
		return nil
	})
	x.sortEntries()
	return err
}

func (x *survey) sortEntries() {
	slices.SortFunc(x.entries, func(p, q located) int {
		return cmp.Or(cmp.Compare(p.email, q.email), cmp.Compare(p.copy, q.copy), comparePlaces(p.place, q.place))
	})
}

// group gives the entries of the email at i.
func (x *survey) group(i int) []located {
	j := i
	for j < len(x.entries) && x.entries[j].email == x.entries[i].email {
		j++
	}
	return x.entries[i:j]
}

// entriesOf gives the entries of an email.
func (x *survey) entriesOf(e EmailID) []located {
	i, ok := slices.BinarySearchFunc(x.entries, e, func(l located, e EmailID) int { return cmp.Compare(l.email, e) })
	if !ok {
		return nil
	}
	return x.group(i)
}

// adopt gives damaged entries back their emails, and emails without an entry a place: where xe says that they were,
// else in a mailbox made for them.
func (x *survey) adopt() error {
	if len(x.broken) == 0 && len(x.mails.orphans) == 0 || x.muted() {
		return nil
	}
	broken := make(map[place]bool, len(x.broken))
	for _, p := range x.broken {
		broken[p] = true
	}
	orphans := make(map[EmailID]bool, len(x.mails.orphans))
	for _, e := range x.mails.orphans {
		orphans[e] = true
	}
	err := x.scan(kv.Where, func(k kv.Key, v []byte) error {
		w, err := decodeWhere(v)
		if err != nil || len(k) != 8 {
			return nil // where tells of it
		}
		e := emailOf(k)
		for _, p := range w.places {
			if !broken[p] && (!orphans[e] || !x.vacant(p)) {
				continue
			}
			if x.restore(e, p, &w) {
				delete(broken, p)
				delete(orphans, e)
			}
		}
		return nil
	})
	if err != nil || x.muted() { // where they were may be in what cannot be read
		return err
	}
	for _, p := range x.broken {
		switch {
		case broken[p] && x.emptied(p.m):
			x.tell(x.finding("entries", p, "its row is damaged; its mailbox is gone"), fix{keyEntry(x.a, p.m, p.uid), nil})
		case broken[p]:
			f := x.finding("entries", p, "its row is damaged and nothing tells which message it was")
			f.Lost = "its flags; a message that is nowhere else comes back in the mailbox " + recovered
			x.dropBroken(p, f)
		}
	}
	for _, e := range x.mails.orphans {
		if orphans[e] && !x.leaving() {
			if err := x.refile(e); err != nil {
				return err
			}
		}
	}
	x.sortEntries()
	return nil
}

func (x *survey) dropBroken(p place, f mail.Finding) {
	if x.tell(f, fix{keyEntry(x.a, p.m, p.uid), nil}) {
		x.visible = true
		x.box(p.m).touched = true
	}
}

// vacant tells whether an entry could stand at p: in a mailbox that is there, below its UIDNEXT, where none is.
func (x *survey) vacant(p place) bool {
	b := x.boxes[p.m]
	if b == nil || b.nm == nil || x.emptied(p.m) || p.uid == 0 || p.uid >= b.nm.uidNext {
		return false
	}
	_, err := x.r.Get(keyEntry(x.a, p.m, p.uid))
	return errors.Is(err, kv.ErrNotFound)
}

// restore makes the entry at p anew for email e, which w says was there.
func (x *survey) restore(e EmailID, p place, w *whereRow) bool {
	size, date, ok := x.emailFacts(e)
	if !ok || x.emptied(p.m) {
		return false
	}
	row := entryRow{email: e, modSeq: x.seq, saved: date, size: size}
	row.copy = freeCopy(x.entriesOf(e), w.nextCopy)
	w.nextCopy = max(w.nextCopy, row.copy+1)
	f := x.finding("entries", p, "its row was damaged or missing; which message it was is known from elsewhere")
	f.Email, f.Lost = uint64(e), "its flags"
	return x.enter(f, p, row)
}

// freeCopy gives the copy number of a lost entry: the only one that is missing below next, else a new one.
func freeCopy(group []located, next uint32) uint32 {
	used := map[uint32]bool{}
	for _, l := range group {
		used[l.copy] = true
		next = max(next, l.copy+1)
	}
	if int(next) == len(used)+1 {
		for c := range next {
			if !used[c] {
				return c
			}
		}
	}
	return next
}

// enter plans an entry.
func (x *survey) enter(f mail.Finding, p place, row entryRow) bool {
	if !x.tell(f, fix{keyEntry(x.a, p.m, p.uid), row.encode()}) {
		return false
	}
	x.entries = append(x.entries, located{email: row.email, place: p, copy: row.copy, size: row.size})
	b := x.box(p.m)
	if b.counts(p.uid) {
		b.count.count(&row, p.uid, 1)
	}
	b.touched, x.visible = true, true
	return true
}

// emailFacts reads an email's size and date; ok is false when its row cannot be read.
func (x *survey) emailFacts(e EmailID) (size, date int64, ok bool) {
	v, err := x.r.Get(keyEmail(x.a, e))
	if err != nil {
		return 0, 0, false
	}
	row, err := decodeEmail(v)
	return row.size, row.date, err == nil
}

// recovered is the mailbox for messages of which it is not known where they were.
const recovered = "Recovered"

// refile gives an email that is in no mailbox a place in one made for that.
func (x *survey) refile(e EmailID) error {
	size, date, ok := x.emailFacts(e)
	if !ok {
		return nil
	}
	b := x.recoveredBox()
	if b == nil {
		return nil
	}
	uid := max(b.nm.uidNext, b.next, b.taken)
	f := x.finding("emails", place{b.id, uid}, "the message was in no mailbox any more")
	f.Email, f.Lost = uint64(e), "its flags, and where it was"
	if x.enter(f, place{b.id, uid}, entryRow{email: e, modSeq: x.seq, saved: max(date, 0), size: size}) {
		b.taken = uid + 1
	}
	return nil
}

// recoveredBox gives the mailbox for what is found, made where it is missing.
func (x *survey) recoveredBox() *surveyed {
	for _, b := range x.boxes {
		if b.mb != nil && b.nm != nil && b.mb.name == recovered {
			return b
		}
	}
	x.known.mailbox = max(x.known.mailbox, x.acct.nextMailbox-1)
	id := x.known.mailbox + 1
	x.known.mailbox = id
	b := x.box(id)
	validity := x.newValidity()
	b.mb = &mailboxRow{validity: validity, name: recovered}
	b.nm = &boxRow{validity: validity, uidNext: 1, recentFrom: 1, highest: x.seq}
	if !x.tell(x.finding("mailboxes", place{m: id}, "made for messages that are found"),
		fix{keyMailbox(x.a, id), b.mb.encode()}, fix{keySubscription(x.a, recovered), []byte{}}) {
		delete(x.boxes, id)
		return nil
	}
	b.touched, x.visible = true, true
	return b
}

// newValidity gives out a UIDVALIDITY.
func (x *survey) newValidity() uint32 {
	for _, b := range x.boxes {
		if b.mb != nil {
			x.acct.lastValidity = max(x.acct.lastValidity, b.mb.validity)
		}
		if b.nm != nil {
			x.acct.lastValidity = max(x.acct.lastValidity, b.nm.validity)
		}
	}
	x.acct.lastValidity = x.s.nextValidity(x.acct.lastValidity)
	return x.acct.lastValidity
}

// where compares xe with the entries.
func (x *survey) where() error {
	if x.leaving() {
		return nil
	}
	i := 0
	err := x.scan(kv.Where, func(k kv.Key, v []byte) error {
		if len(k) != 8 {
			x.tell(mail.Finding{Part: "where", Text: "a key is damaged"}, fix{append(kv.K(kv.Where).Account(x.a), k...), nil})
			return nil
		}
		e := emailOf(k)
		for i < len(x.entries) && x.entries[i].email < e {
			i += x.whereOf(x.entries[i].email, x.group(i), nil)
		}
		var group []located
		if i < len(x.entries) && x.entries[i].email == e {
			group = x.group(i)
			i += len(group)
		}
		x.whereOf(e, group, v)
		return nil
	})
	for err == nil && i < len(x.entries) {
		i += x.whereOf(x.entries[i].email, x.group(i), nil)
	}
	return err
}

// whereOf compares an email's row (nil: none) with its entries. It gives how many these are.
func (x *survey) whereOf(e EmailID, group []located, v []byte) int {
	n := len(group)
	if n == 0 {
		x.tell(mail.Finding{Part: "where", Email: uint64(e), Text: "no entry names the email"}, fix{keyWhere(x.a, e), nil})
		return 0
	}
	row, err := decodeWhere(v)
	if v == nil || err != nil || row.nextCopy > maxCopies {
		row = whereRow{}
	}
	want := whereRow{nextCopy: row.nextCopy, places: make([]place, n)}
	for i, l := range group {
		want.places[i] = l.place
		if want.nextCopy <= l.copy { // how many there were is not known any more
			want.nextCopy = min(l.copy+jumpCopy, maxCopies)
		}
	}
	again := x.copies(group, &want)
	have := slices.Clone(row.places)
	slices.SortFunc(have, comparePlaces)
	places := slices.Clone(want.places)
	slices.SortFunc(places, comparePlaces)
	if again || want.nextCopy != row.nextCopy || !slices.Equal(have, places) {
		x.tell(mail.Finding{Part: "where", Email: uint64(e), Text: "where its entries are is not what is noted"},
			fix{keyWhere(x.a, e), want.encode()})
	}
	return n
}

// copies gives entries that share a copy number numbers of their own.
func (x *survey) copies(group []located, w *whereRow) (changed bool) {
	for i := 1; i < len(group); i++ {
		l := group[i]
		if l.copy != group[i-1].copy {
			continue
		}
		v, err := x.r.Get(keyEntry(x.a, l.m, l.uid))
		if err != nil {
			continue // one that is being restored: its number is its own
		}
		row, err := decodeEntry(v)
		if err != nil {
			continue
		}
		row.copy, row.modSeq = w.nextCopy, x.seq
		f := x.finding("entries", l.place, "its copy number is another's")
		f.Email = uint64(l.email)
		if x.tell(f, fix{keyEntry(x.a, l.m, l.uid), row.encode()}) {
			w.nextCopy++
			x.box(l.m).touched, x.visible, changed = true, true, true
		}
	}
	return changed
}

// resize gives entries the size of their email.
func (x *survey) resize(group []located, size int64) {
	for i := range group {
		l := &group[i]
		if l.size == size {
			continue
		}
		v, err := x.r.Get(keyEntry(x.a, l.m, l.uid))
		if err != nil {
			continue
		}
		row, err := decodeEntry(v)
		if err != nil {
			continue
		}
		b := x.box(l.m)
		f := x.finding("entries", l.place, "its size is %d, that of the message %d", l.size, size)
		f.Email = uint64(l.email)
		was := row.size
		row.size, row.modSeq = size, x.seq
		if x.tell(f, fix{keyEntry(x.a, l.m, l.uid), row.encode()}) {
			if b.counts(l.uid) {
				b.count.size += size - was
			}
			b.touched, x.visible = true, true
		}
	}
}
