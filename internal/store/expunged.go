package store

import (
	"context"
	"encoding/binary"
	"iter"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// What is expunged is kept for Options.Keep, so that it can be brought back. Its email stays as it is, with its link of
// its blob, and leaves everything else: it is in no mailbox, no thread, no counter and no quota. So an EXPUNGE that
// keeps writes less than one that does not, and needs no lock of a blob. Rows, all under the account:
//
//	ud A 'e' time E    mailbox uid next-copy system-flags save-date n*keyword
//	ud A 'm' M         time role name                         a mailbox that was deleted
//
// Keywords are kept by name, for slots may get other names. The time is that of the expunge, not of an end: another
// Options.Keep is in force at once. SweepExpunged removes what is older.

const (
	udEmail   = 'e'
	udMailbox = 'm'
)

func keyExpunged(a mail.AccountID, at int64, e EmailID) kv.Key {
	return kv.K(kv.Expunged).Account(a).U8(udEmail).U64(uint64(max(at, 0))).U64(uint64(e))
}

func keyGone(a mail.AccountID, m MailboxID) kv.Key {
	return kv.K(kv.Expunged).Account(a).U8(udMailbox).U32(uint32(m))
}

// expungedRow is the value of ud 'e'.
type expungedRow struct {
	m        MailboxID
	uid      UID
	nextCopy uint32
	flags    Flags // system flags
	saved    int64
	keywords []string
}

func (r *expungedRow) encode() []byte {
	b := make([]byte, 0, 32)
	b = append(b, version)
	b = appendUint(b, r.m)
	b = appendUint(b, r.uid)
	b = appendUint(b, r.nextCopy)
	b = appendUint(b, r.flags)
	b = appendInt(b, r.saved)
	b = appendUint(b, len(r.keywords))
	for _, k := range r.keywords {
		b = appendOctets(b, k)
	}
	return b
}

func decodeExpunged(v []byte) (expungedRow, error) {
	d := decode(v)
	r := expungedRow{m: MailboxID(d.u32()), uid: UID(d.u32()), nextCopy: d.u32(), flags: Flags(d.uint()) & SystemFlags, saved: d.int()}
	n := d.count(1)
	if n > MaxKeywords {
		d.bad = true
	}
	for i := 0; i < n && !d.bad; i++ {
		r.keywords = append(r.keywords, string(d.octets()))
	}
	return r, d.end("ud")
}

// expungedKey reads a key of ud 'e'.
func expungedKey(k kv.Key) (at int64, e EmailID, ok bool) {
	if len(k) != 2+8+1+8+8 || k[10] != udEmail {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(k[11:])), emailOf(k), true
}

// goneRow is the value of ud 'm'.
type goneRow struct {
	at   int64
	role Role
	name string
}

func (r *goneRow) encode() []byte {
	b := appendInt([]byte{version}, r.at)
	return appendOctets(appendOctets(b, r.role), r.name)
}

func decodeGone(v []byte) (goneRow, error) {
	d := decode(v)
	r := goneRow{at: d.int(), role: Role(d.octets()), name: string(d.octets())}
	return r, d.end("ud")
}

// keepExpunged notes an email that left its last mailbox. Its threads and the counters are the caller's.
func (c *change) keepExpunged(m MailboxID, uid UID, e *entryRow, w *whereRow) error {
	row := expungedRow{m: m, uid: uid, nextCopy: w.nextCopy, flags: e.flags & SystemFlags, saved: e.saved}
	if e.flags&^SystemFlags != 0 {
		names, err := readKeywords(c.tx, c.a)
		if err != nil {
			return err
		}
		row.keywords = e.flags.Keywords(names)
	}
	c.set(keyExpunged(c.a, c.now.Unix(), e.email), row.encode())
	return nil
}

// keepMailbox notes what a mailbox was called that is being deleted.
func (c *change) keepMailbox(m MailboxID) error {
	if c.s.o.Keep <= 0 {
		return nil
	}
	v, err := c.tx.Get(keyMailbox(c.a, m))
	if err != nil {
		return mail.Wrap("store.delete", err)
	}
	row, err := decodeMailbox(v)
	if err != nil {
		return err
	}
	gone := goneRow{at: c.now.Unix(), role: row.role, name: row.name}
	c.set(keyGone(c.a, m), gone.encode())
	return nil
}

// Expunged is a message that was expunged and can be brought back.
type Expunged struct {
	Email   EmailID
	Mailbox string    // where it was, by the name that this has or had; "" when nobody knows any more
	UID     UID       // there, and then
	At      time.Time // when it was expunged, in seconds
	Until   time.Time // how long it can be brought back
	Flags   Flags     // system flags

	row expungedRow
}

// ExpungedFilter narrows what is listed and brought back. The zero value is all.
type ExpungedFilter struct {
	Since   time.Time // expunged then or later
	Mailbox string    // it was in this mailbox
}

// Expunged gives what can be brought back, the oldest first, read page by page. Kinds: NotFound for no account, Invalid
// for a name that no mailbox can have.
func (s *Store) Expunged(ctx context.Context, a mail.AccountID, f ExpungedFilter) iter.Seq2[Expunged, error] {
	return func(yield func(Expunged, error) bool) {
		from := kv.Key(nil)
		for {
			page, next, err := s.expungedPage(ctx, a, f, from)
			if err != nil {
				yield(Expunged{}, mail.Wrap("store.expunged", err))
				return
			}
			for _, x := range page {
				if !yield(x, nil) {
					return
				}
			}
			if next == nil {
				return
			}
			from = next
		}
	}
}

// expungedPage reads some rows from from on, nil being the first; next is where to go on, nil at the end.
func (s *Store) expungedPage(ctx context.Context, a mail.AccountID, f ExpungedFilter, from kv.Key) (page []Expunged, next kv.Key, err error) {
	if f.Mailbox != "" {
		if f.Mailbox, err = CleanName(f.Mailbox); err != nil {
			return nil, nil, err
		}
	}
	first := max(0, s.keptSince())
	if !f.Since.IsZero() {
		first = max(first, f.Since.Unix())
	}
	if from == nil {
		from = keyExpunged(a, first, 0)
	}
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		page, next = nil, nil
		if _, err := readAccount(r, a); err != nil {
			return err
		}
		names, err := boxNames(r, a)
		if err != nil {
			return err
		}
		n := 0
		for row, err := range r.Scan(from, kv.K(kv.Expunged).Account(a).U8(udEmail).End(), kv.ScanOptions{Limit: s.steps.expunge}) {
			if err != nil {
				return err
			}
			n++
			next = append(append(next[:0], row.Key...), 0)
			at, e, ok := expungedKey(row.Key)
			v, err := decodeExpunged(row.Value)
			if err != nil || !ok {
				continue // store.Check names it; it keeps nobody from the others
			}
			if x := s.expunged(at, e, v, names); f.Mailbox == "" || f.Mailbox == x.Mailbox {
				page = append(page, x)
			}
		}
		if n < s.steps.expunge {
			next = nil
		}
		return nil
	})
	return page, next, err
}

func (s *Store) expunged(at int64, e EmailID, v expungedRow, names map[MailboxID]string) Expunged {
	t := time.Unix(at, 0)
	return Expunged{Email: e, Mailbox: names[v.m], UID: v.uid, At: t, Until: t.Add(s.o.Keep), Flags: v.flags, row: v}
}

// keptSince is the time of the oldest expunge that is kept, in Unix seconds.
func (s *Store) keptSince() int64 { return s.now().Add(-s.o.Keep).Unix() }

// boxNames gives the names of an account's mailboxes, also of those that are gone and remembered.
func boxNames(r kv.Reader, a mail.AccountID) (map[MailboxID]string, error) {
	names := map[MailboxID]string{}
	from := kv.K(kv.Expunged).Account(a).U8(udMailbox)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		if g, err := decodeGone(row.Value); err == nil {
			names[MailboxID(lastUint32(row.Key))] = g.name
		}
	}
	all, err := list(r, a)
	for _, m := range all {
		names[m.id] = m.name
	}
	return names, err
}
