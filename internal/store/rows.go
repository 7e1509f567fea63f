package store

import (
	"cmp"
	"encoding/binary"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

func keyMailbox(a mail.AccountID, m MailboxID) kv.Key {
	return kv.K(kv.Mailboxes).Account(a).U32(uint32(m))
}
func keyCounters(a mail.AccountID) kv.Key { return kv.K(kv.Counters).Account(a) }
func keyBox(a mail.AccountID, m MailboxID) kv.Key {
	return kv.K(kv.BoxCounters).Account(a).U32(uint32(m))
}

func keyEntry(a mail.AccountID, m MailboxID, uid UID) kv.Key {
	return kv.K(kv.Entries).Account(a).U32(uint32(m)).U32(uint32(uid))
}

func keyEmail(a mail.AccountID, e EmailID) kv.Key { return kv.K(kv.Emails).Account(a).U64(uint64(e)) }

func keyWhere(a mail.AccountID, e EmailID) kv.Key { return kv.K(kv.Where).Account(a).U64(uint64(e)) }

func keyThread(a mail.AccountID, t uint64, e EmailID) kv.Key {
	return kv.K(kv.Threads).Account(a).U64(t).U64(uint64(e))
}

func keyReference(a mail.AccountID, h uint64) kv.Key { return kv.K(kv.References).Account(a).U64(h) }
func keyKeywords(a mail.AccountID) kv.Key            { return kv.K(kv.Keywords).Account(a) }
func keyLog(a mail.AccountID, q ModSeq) kv.Key       { return kv.K(kv.Log).Account(a).U64(uint64(q)) }

// logSeq reads the MODSEQ of a row of the change log.
func logSeq(k kv.Key) ModSeq { return ModSeq(binary.BigEndian.Uint64(k[len(k)-8:])) }

// lastUint32 reads the number that ends a key: the UID of an entry, the id of a mailbox.
func lastUint32(k kv.Key) uint32 { return binary.BigEndian.Uint32(k[len(k)-4:]) }

// mailboxRow is the value of mb: who the mailbox is. One that is being emptied has no row.
type mailboxRow struct {
	validity uint32
	role     Role
	name     string
}

func (r mailboxRow) encode() []byte {
	b := make([]byte, 0, 16+len(r.role)+len(r.name))
	b = append(b, version)
	b = appendUint(b, r.validity)
	b = appendOctets(b, r.role)
	return appendOctets(b, r.name)
}

func decodeMailbox(v []byte) (mailboxRow, error) {
	d := decode(v)
	r := mailboxRow{validity: d.u32(), role: Role(d.octets()), name: string(d.octets())}
	return r, d.end("mb")
}

// accountRow is the value of na: the account's counters.
type accountRow struct {
	nextEmail    EmailID
	nextMailbox  MailboxID
	lastValidity uint32 // the newest UIDVALIDITY given out
	modSeq       ModSeq
	floor        ModSeq // the change log holds all changes above it
	logRows      uint64 // how many rows the change log has
	bytes        int64  // of all emails, each counted once
	messages     int64
}

func (r *accountRow) encode() []byte { return r.append(make([]byte, 0, 48)) }

func (r *accountRow) append(b []byte) []byte {
	b = append(b, version)
	b = appendUint(b, r.nextEmail)
	b = appendUint(b, r.nextMailbox)
	b = appendUint(b, r.lastValidity)
	b = appendUint(b, r.modSeq)
	b = appendUint(b, r.floor)
	b = appendUint(b, r.logRows)
	b = appendInt(b, r.bytes)
	return appendInt(b, r.messages)
}

func decodeAccount(v []byte) (accountRow, error) {
	d := decode(v)
	r := accountRow{
		nextEmail: EmailID(d.uint()), nextMailbox: MailboxID(d.u32()), lastValidity: d.u32(),
		modSeq: ModSeq(d.uint()), floor: ModSeq(d.uint()), logRows: d.uint(), bytes: d.int(), messages: d.int(),
	}
	return r, d.end("na")
}

// boxRow is the value of nm: a mailbox's counters. All but staged speak of what can be seen.
type boxRow struct {
	validity   uint32
	uidNext    UID
	exists     uint32
	unseen     uint32
	deleted    uint32
	recent     uint32 // how many have a UID >= recentFrom
	recentFrom UID
	highest    ModSeq
	size       int64
	staged     []uidRange // entries that are no part of the mailbox, or not yet
}

func (r *boxRow) encode() []byte { return r.append(make([]byte, 0, 48)) }

func (r *boxRow) append(b []byte) []byte {
	b = append(b, version)
	b = appendUint(b, r.validity)
	b = appendUint(b, r.uidNext)
	b = appendUint(b, r.exists)
	b = appendUint(b, r.unseen)
	b = appendUint(b, r.deleted)
	b = appendUint(b, r.recent)
	b = appendUint(b, r.recentFrom)
	b = appendUint(b, r.highest)
	b = appendInt(b, r.size)
	return appendRanges(b, r.staged)
}

func decodeBox(v []byte) (boxRow, error) {
	d := decode(v)
	r := boxRow{
		validity: d.u32(), uidNext: UID(d.u32()), exists: d.u32(), unseen: d.u32(), deleted: d.u32(),
		recent: d.u32(), recentFrom: UID(d.u32()), highest: ModSeq(d.uint()), size: d.int(), staged: d.ranges(),
	}
	return r, d.end("nm")
}

// hidden tells whether an entry with this UID is no part of the mailbox.
func (r *boxRow) hidden(uid UID) bool {
	if uid >= r.uidNext {
		return true
	}
	for _, s := range r.staged {
		if s.has(uid) {
			return true
		}
	}
	return false
}

// count adds n (1 or -1) entries like e to the counters.
func (r *boxRow) count(e *entryRow, uid UID, n int) {
	d := uint32(n)
	r.exists += d
	if !e.flags.Has(Seen) {
		r.unseen += d
	}
	if e.flags.Has(Deleted) {
		r.deleted += d
	}
	if uid >= r.recentFrom {
		r.recent += d
	}
	r.size += int64(n) * e.size
}

// entryRow is the value of en.
type entryRow struct {
	email  EmailID
	copy   uint32
	flags  Flags
	modSeq ModSeq
	saved  int64 // Unix seconds
	size   int64
}

func (r *entryRow) encode() []byte { return r.append(make([]byte, 0, 40)) }

func (r *entryRow) append(b []byte) []byte {
	b = append(b, version)
	b = appendUint(b, r.email)
	b = appendUint(b, r.copy)
	b = appendUint(b, r.flags)
	b = appendUint(b, r.modSeq)
	b = appendInt(b, r.saved)
	return appendInt(b, r.size)
}

func decodeEntry(v []byte) (entryRow, error) {
	d := decode(v)
	r := entryRow{
		email: EmailID(d.uint()), copy: d.u32(), flags: Flags(d.uint()), modSeq: ModSeq(d.uint()),
		saved: d.int(), size: d.int(),
	}
	return r, d.end("en")
}

// place is where an email is.
type place struct {
	m   MailboxID
	uid UID
}

// whereRow is the value of xe: the entries of an email, staged ones and those of mailboxes being emptied included.
type whereRow struct {
	nextCopy uint32 // the next copy number
	places   []place
}

func (r *whereRow) encode() []byte { return r.append(make([]byte, 0, 32)) }

func (r *whereRow) append(b []byte) []byte {
	b = append(b, version)
	b = appendUint(b, r.nextCopy)
	b = appendUint(b, len(r.places))
	for _, p := range r.places {
		b = appendUint(b, p.m)
		b = appendUint(b, p.uid)
	}
	return b
}

func decodeWhere(v []byte) (whereRow, error) {
	d := decode(v)
	r := whereRow{nextCopy: d.u32()}
	if n := d.count(2); n > 0 {
		r.places = make([]place, n)
		for i := range r.places {
			r.places[i] = place{MailboxID(d.u32()), UID(d.u32())}
		}
	}
	return r, d.end("xe")
}

func (r *whereRow) remove(p place) bool {
	for i, q := range r.places {
		if q == p {
			r.places = append(r.places[:i], r.places[i+1:]...)
			return true
		}
	}
	return false
}

// referenceRow is the value of rf: the thread to which a Message-ID leads, and how many emails keep the row.
type referenceRow struct {
	thread uint64
	emails uint32
}

func (r referenceRow) encode() []byte {
	return appendUint(appendUint(append(make([]byte, 0, 12), version), r.thread), r.emails)
}

func decodeReference(v []byte) (referenceRow, error) {
	d := decode(v)
	r := referenceRow{thread: d.uint(), emails: d.u32()}
	return r, d.end("rf")
}

// keyBlob is the row of a blob itself; it is blob's, and here only to be looked for.
func keyBlob(b mail.ID) kv.Key { return kv.K(kv.Blobs).ID(b) }

// keyLink is the row bk by which an email keeps its blob; as keyBlob.
func keyLink(b mail.ID, a mail.AccountID, e EmailID) kv.Key {
	return kv.K(kv.BlobLinks).ID(b).U8(byte(blob.Email)).U64(uint64(a)).U64(uint64(e))
}

// linkOwner reads such a key.
func linkOwner(k kv.Key) (a mail.AccountID, e EmailID, ok bool) {
	if len(k) != 2+16+1+8+8 || k[18] != byte(blob.Email) {
		return 0, 0, false
	}
	return mail.AccountID(emailOf(k[:27])), emailOf(k), true
}

// emailOf reads the number of 8 octets that ends a key.
func emailOf(k kv.Key) EmailID { return EmailID(binary.BigEndian.Uint64(k[len(k)-8:])) }

func comparePlaces(p, q place) int {
	return cmp.Or(cmp.Compare(p.m, q.m), cmp.Compare(p.uid, q.uid))
}
