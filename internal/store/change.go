package store

import (
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// change is one transaction on one account: it reads the counters it needs once, gives out UIDs and emails, and at
// its end writes the counters and the row of the change log. Several changes of one account may follow one another
// in one kv.Tx; each has a MODSEQ of its own.
type change struct {
	s     *Store
	tx    kv.Tx
	a     mail.AccountID
	acct  accountRow
	seq   ModSeq // of this change
	now   time.Time
	boxes []*box
	ops   []logOp
	keys  keyList
	buf   []byte // see set

	// Room for the things above of a change that is small, as nearly all are.
	room struct {
		box   box
		boxes [2]*box
		ops   [2]logOp
		uids  [1]uidRange
		keys  [4]kv.Key
		bytes [192]byte
	}

	used       Flags // by entries of the account, once slotsKnown
	slotsKnown bool
	given      Flags // keywords that this change may have given to entries
}

// box is a mailbox's counters within a change.
type box struct {
	id MailboxID
	boxRow
	dirty bool
}

// begin starts a change. Kind NotFound when the account or one of the mailboxes does not exist.
func (s *Store) begin(tx kv.Tx, a mail.AccountID, boxes ...MailboxID) (*change, error) {
	c := newChange(s, tx, a)
	c.keys.add(keyCounters(a))
	for _, m := range boxes {
		c.keys.add(keyBox(a, m))
	}
	rows, err := tx.GetMulti(c.keys.keys)
	if err != nil {
		return nil, mail.Wrap("store.begin", err)
	}
	if rows[0] == nil {
		return nil, mail.E("store.begin", mail.NotFound, "no such account")
	}
	if c.acct, err = decodeAccount(rows[0]); err != nil {
		return nil, err
	}
	c.seq = c.acct.modSeq + 1
	for i, m := range boxes {
		if rows[i+1] == nil {
			return nil, noMailbox()
		}
		row, err := decodeBox(rows[i+1])
		if err != nil {
			return nil, err
		}
		if c.loaded(m) == nil {
			b := &c.room.box
			if len(c.boxes) > 0 {
				b = new(box)
			}
			b.id, b.boxRow = m, row
			c.boxes = append(c.boxes, b)
		}
	}
	return c, nil
}

func newChange(s *Store, tx kv.Tx, a mail.AccountID) *change {
	c := &change{s: s, tx: tx, a: a, now: s.now()}
	c.boxes, c.ops = c.room.boxes[:0], c.room.ops[:0]
	c.keys.keys, c.buf = c.room.keys[:0], c.room.bytes[:0]
	return c
}

// set writes a row. Key and value are copied first, so that callers can build both on their stacks.
func (c *change) set(k kv.Key, v []byte) {
	c.buf = append(append(c.buf[:0], k...), v...)
	c.tx.Set(c.buf[:len(k):len(k)], c.buf[len(k):])
}

// keyList gathers keys for GetMulti in one piece of memory. The keys given to it are copied, as by set.
type keyList struct {
	keys []kv.Key
	buf  []byte
}

func (l *keyList) reset() { l.keys, l.buf = l.keys[:0], l.buf[:0] }

func newKeyList(n int) *keyList {
	return &keyList{make([]kv.Key, 0, n), make([]byte, 0, 26*n)}
}

func (l *keyList) add(k kv.Key) {
	if cap(l.buf)-len(l.buf) < len(k) { // those given before stay where they are
		l.buf = make([]byte, 0, max(128, len(k)))
	}
	at := len(l.buf)
	l.buf = append(l.buf, k...)
	l.keys = append(l.keys, l.buf[at:len(l.buf):len(l.buf)])
}

func noMailbox() error { return mail.E("store.mailbox", mail.NotFound, "no such mailbox") }

// loaded gives the counters of a mailbox that begin was told of.
func (c *change) loaded(m MailboxID) *box {
	for _, b := range c.boxes {
		if b.id == m {
			return b
		}
	}
	return nil
}

// log notes what happened to an entry.
func (c *change) log(kind opKind, m MailboxID, uid UID) {
	op := c.op(kind, m)
	op.uids = addUID(op.uids, uid)
}

// op gives the change's operation of that kind on that mailbox, if it is one of the last ones; more than one do no
// harm.
func (c *change) op(kind opKind, m MailboxID) *logOp {
	for i := len(c.ops) - 1; i >= max(0, len(c.ops)-4); i-- {
		if c.ops[i].kind == kind && c.ops[i].m == m {
			return &c.ops[i]
		}
	}
	op := logOp{kind: kind, m: m}
	if len(c.ops) == 0 {
		op.uids = c.room.uids[:0]
	}
	c.ops = append(c.ops, op)
	return &c.ops[len(c.ops)-1]
}

// takeUID gives out the next UID of a mailbox, past what is staged there.
func (c *change) takeUID(b *box) (UID, error) {
	uid := b.uidNext
	for again := true; again; {
		again = false
		for _, s := range b.staged {
			if s.has(uid) {
				uid, again = s.end, true
			}
		}
	}
	if uid == 1<<32-1 || uid == 0 {
		return 0, mail.E("store.uid", mail.TooMany, "the mailbox has no UID left")
	}
	b.uidNext = uid + 1
	return uid, nil
}

// put writes a new entry, which it counts and logs.
func (c *change) put(b *box, uid UID, e *entryRow) {
	e.modSeq = c.seq
	c.set(keyEntry(c.a, b.id, uid), e.encode())
	b.count(e, uid, 1)
	b.touched(c)
	c.log(opAdd, b.id, uid)
}

// drop deletes an entry, which it counts and logs; its email is the caller's.
func (c *change) drop(b *box, uid UID, e *entryRow) {
	c.tx.Delete(keyEntry(c.a, b.id, uid))
	b.count(e, uid, -1)
	b.touched(c)
	c.log(opExpunge, b.id, uid)
}

// touched raises the mailbox's HIGHESTMODSEQ.
func (b *box) touched(c *change) { b.highest, b.dirty = c.seq, true }

// entries reads the visible ones of these entries; a missing one has email 0.
func (c *change) entries(b *box, uids []UID) ([]entryRow, error) {
	return readEntries(c.tx, c.a, b.id, &b.boxRow, uids)
}

func readEntries(r kv.Reader, a mail.AccountID, m MailboxID, b *boxRow, uids []UID) ([]entryRow, error) {
	keys := newKeyList(len(uids))
	for _, uid := range uids {
		keys.add(keyEntry(a, m, uid))
	}
	rows, err := r.GetMulti(keys.keys)
	if err != nil {
		return nil, mail.Wrap("store.entries", err)
	}
	entries := make([]entryRow, len(uids))
	for i, row := range rows {
		if row == nil || b != nil && b.hidden(uids[i]) {
			continue
		}
		if entries[i], err = decodeEntry(row); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// where reads the places of emails; Kind Internal when one is missing.
func where(r kv.Reader, a mail.AccountID, emails []EmailID) ([]whereRow, error) {
	keys := newKeyList(len(emails))
	for _, e := range emails {
		keys.add(keyWhere(a, e))
	}
	rows, err := r.GetMulti(keys.keys)
	if err != nil {
		return nil, mail.Wrap("store.where", err)
	}
	places := make([]whereRow, len(emails))
	for i, row := range rows {
		if row == nil {
			return nil, damaged("xe")
		}
		if places[i], err = decodeWhere(row); err != nil {
			return nil, err
		}
	}
	return places, nil
}

// end writes the counters and the change log. Without a logged operation MODSEQ stays.
func (c *change) end() error {
	for _, b := range c.boxes {
		if b.dirty {
			c.set(keyBox(c.a, b.id), b.encode())
		}
	}
	if len(c.ops) == 0 {
		return nil
	}
	if c.longLog() {
		if err := c.truncateLog(); err != nil {
			return err
		}
	}
	for i := range c.ops {
		slices.Sort(c.ops[i].gone)
	}
	row := logRow{time: c.now.Unix(), ops: c.ops}
	c.set(keyLog(c.a, c.seq), row.encode())
	c.acct.modSeq = c.seq
	c.acct.logRows++
	c.set(keyCounters(c.a), c.acct.encode())
	return nil
}

// longLog tells, now and then, whether there may be rows of the change log to drop.
func (c *change) longLog() bool {
	p := &c.s.logPolicy
	return uint64(c.seq)%p.every == 0 && c.acct.logRows >= p.least && c.seq > p.own
}

// truncateLog drops a few of the oldest rows of the change log. Who needs them reads everything anew.
func (c *change) truncateLog() error {
	p := &c.s.logPolicy
	oldest := c.now.Add(-p.age).Unix()
	var drop []kv.Key
	o := kv.ScanOptions{Limit: int(2 * p.every)}
	for row, err := range c.tx.Scan(keyLog(c.a, c.acct.floor+1), keyLog(c.a, c.seq-p.own), o) {
		if err != nil {
			return mail.Wrap("store.log", err)
		}
		r, err := decodeLog(row.Value)
		if err != nil {
			return err
		}
		left := c.acct.logRows - uint64(len(drop))
		if left <= p.least || r.time >= oldest && left <= p.most {
			break
		}
		drop = append(drop, slices.Clone(row.Key))
	}
	for _, k := range drop {
		c.tx.Delete(k)
		c.acct.floor = logSeq(k)
	}
	c.acct.logRows -= uint64(len(drop))
	return nil
}

// logPolicy says how much of the change log is kept.
type logPolicy struct {
	every uint64 // looked after when MODSEQ is a multiple
	least uint64 // rows that are always kept
	most  uint64 // rows beyond which even young ones go
	age   time.Duration
	own   ModSeq // rows that this transaction may have written: more than it has changes
}

// newLogPolicy makes the policy of Options.
func newLogPolicy(age time.Duration, rows int) logPolicy {
	if age <= 0 {
		age = 30 * 24 * time.Hour
	}
	if rows <= 0 {
		rows = 10_000
	}
	return logPolicy{every: 32, least: min(1024, uint64(rows)), most: uint64(rows), age: age, own: 512}
}
