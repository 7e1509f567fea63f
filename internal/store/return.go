package store

import (
	"context"
	"errors"
	"slices"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/search"
)

// Found makes the mail of an account that has none yet, with the mailboxes of d but without messages, for Return. Its
// emails and changes are counted from far beyond those of d, which others may have seen after it was taken. Mailboxes get
// a new UIDVALIDITY, unless proven says that no UID was given out since. Kind Exists.
func (s *Store) Found(ctx context.Context, a mail.AccountID, d *Dump, proven bool) error {
	if err := checkDump(d); err != nil {
		return err
	}
	return s.o.KV.Update(ctx, kv.Txn{Lock: lockOf(a)}, func(tx kv.Tx) error {
		rows, err := tx.GetMulti([]kv.Key{keyCounters(a)})
		if err != nil {
			return err
		}
		if rows[0] != nil {
			return mail.E("store.found", mail.Exists, "the account has mailboxes already")
		}
		c := &change{s: s, tx: tx, a: a, now: s.now()}
		c.seq = d.ModSeq + jumpModSeq
		c.acct = accountRow{nextEmail: d.NextEmail, lastValidity: d.LastValidity, floor: c.seq - 1, nextMailbox: 1}
		if !proven {
			c.acct.nextEmail += jumpEmail
			c.acct.lastValidity = s.nextValidity(d.LastValidity)
		}
		for _, m := range d.Mailboxes {
			row := mailboxRow{validity: m.UIDValidity, role: m.Role, name: m.Name}
			if !proven {
				row.validity = c.acct.lastValidity
				c.acct.lastValidity++
			}
			tx.Set(keyMailbox(a, m.ID), row.encode())
			b := &box{id: m.ID, boxRow: boxRow{validity: row.validity, uidNext: m.UIDNext, recentFrom: m.UIDNext}}
			b.touched(c)
			c.boxes = append(c.boxes, b)
			c.op(opMailbox, m.ID)
			c.acct.nextMailbox = max(c.acct.nextMailbox, m.ID+1)
		}
		for _, n := range d.Subscriptions {
			tx.Set(keySubscription(a, n), nil)
		}
		if len(d.Keywords) > 0 {
			tx.Set(keyKeywords(a), encodeKeywords(d.Keywords))
		}
		return c.end()
	})
}

// checkDump refuses what no account can be.
func checkDump(d *Dump) error {
	bad := mail.E("store.found", mail.Invalid, "the mailboxes in the archive cannot be")
	names, ids := map[string]bool{}, map[MailboxID]bool{}
	for _, m := range d.Mailboxes {
		name, err := CleanName(m.Name)
		if err != nil || name != m.Name || names[name] || ids[m.ID] || m.ID == 0 || m.ID >= 1<<31 || m.UIDNext == 0 ||
			(m.ID == Inbox) != (name == "INBOX") || (m.ID == Inbox) != (m.Role == RoleInbox) || m.Role != RoleInbox && !m.Role.settable() {
			return bad
		}
		names[name], ids[m.ID] = true, true
	}
	if !ids[Inbox] || d.NextEmail == 0 || d.NextEmail >= maxEmails-jumpEmail || d.ModSeq >= 1<<60 || d.LastValidity >= 1<<31+1<<30 ||
		len(d.Keywords) > MaxKeywords || len(d.Mailboxes) > 1<<20 {
		return bad
	}
	return checkKeywords(d.Keywords)
}

// Returned is a message that is put back.
type Returned struct {
	Row   []byte  // of RawEmail
	Email EmailID // its number, if it is to keep it; 0: it gets another
	// Places says where it goes: UID 0 is the mailbox's next one, Flags has system flags only.
	Places   []DumpedEntry
	Keywords [][]string                       // of each place
	Link     func(tx kv.Tx, owner blob.Owner) // makes the body's row where it is missing, and the link
}

// Return puts messages back into an account, in one transaction and with one notice. One whose number is taken by a message
// that is in a mailbox is there already and is left alone; one that was expunged and kept comes back in its places. It
// gives how many came. Kind NotFound when the account or a mailbox is gone.
func (s *Store) Return(ctx context.Context, a mail.AccountID, list []Returned) (int, error) {
	locks := []kv.Key{}
	boxes := []MailboxID{}
	for i := range list {
		head, err := decodeEmailHead(list[i].Row)
		if err != nil {
			return 0, mail.Wrap("store.return", err)
		}
		locks = append(locks, kv.LockBlob(head.blob))
		for _, p := range list[i].Places {
			if !slices.Contains(boxes, p.Mailbox) {
				boxes = append(boxes, p.Mailbox)
			}
		}
	}
	n := 0
	err := s.change(ctx, a, boxes, func(c *change) error {
		n = 0
		for i := range list {
			ok, err := c.giveBack(&list[i])
			if err != nil {
				return err
			}
			if ok {
				n++
			}
		}
		return nil
	}, locks...)
	return n, mail.Wrap("store.return", err)
}

// giveBack puts one message back; false when it is there.
func (c *change) giveBack(r *Returned) (bool, error) {
	row, err := decodeEmail(r.Row)
	if err != nil {
		return false, err
	}
	id, w := r.Email, whereRow{}
	if id >= c.acct.nextEmail {
		id = 0
	}
	if id != 0 {
		there, err := c.taken(id, &row)
		if err != nil || there == takenHere {
			return false, err
		}
		if there == takenByOther {
			id = 0
		}
	}
	keep := id != 0
	if !keep {
		if id, err = c.renumber(&row); err != nil {
			return false, err
		}
	}
	for i, p := range r.Places {
		b := c.loaded(p.Mailbox)
		if w.places, err = c.place(b, &p, id, w.places); err != nil {
			return false, err
		}
		if !keep {
			p.Copy = uint32(i)
		}
		slots, err := c.slots(r.Keywords[i], true)
		if mail.Is(err, mail.TooMany) {
			slots, err = c.slots(r.Keywords[i], false)
		}
		if err != nil {
			return false, err
		}
		w.nextCopy = max(w.nextCopy, p.Copy+1)
		c.put(b, w.places[i].uid, &entryRow{email: id, copy: p.Copy, flags: p.Flags&SystemFlags | slots, saved: p.Saved, size: row.size})
	}
	if keep && w.nextCopy > 1 {
		w.nextCopy = min(w.nextCopy+jumpCopy, maxCopies) // later ones may have been seen
	}
	if keep { // the text index went past this number
		search.Drop(c.tx, c.a)
	}
	c.set(keyEmail(c.a, id), row.encode())
	c.set(keyWhere(c.a, id), w.encode())
	r.Link(c.tx, emailOwner(c.a, id))
	if v, err := c.tx.GetMulti([]kv.Key{keyBlob(row.blob)}); err != nil || v[0] == nil {
		return false, mail.E("store.return", mail.Busy, "a body went away meanwhile: try again")
	}
	return true, c.readmit(id, &row.emailHead)
}

// place finds the UID of one place.
func (c *change) place(b *box, p *DumpedEntry, id EmailID, places []place) ([]place, error) {
	if b == nil {
		return nil, noMailbox()
	}
	uid := p.UID
	if uid != 0 {
		v, err := c.tx.GetMulti([]kv.Key{keyEntry(c.a, b.id, uid)})
		if err != nil {
			return nil, mail.Wrap("store.return", err)
		}
		if v[0] != nil || uid >= b.uidNext || b.hidden(uid) {
			uid = 0 // somebody has it
		}
	}
	if uid == 0 {
		var err error
		if uid, err = c.takeUID(b); err != nil {
			return nil, err
		}
	}
	return append(places, place{b.id, uid}), nil
}

// renumber gives an email a new number, and a thread among those that are here.
func (c *change) renumber(row *emailRow) (EmailID, error) {
	id := c.acct.nextEmail
	if id >= maxEmails {
		return 0, mail.E("store.return", mail.TooMany, "the account has no room for another message")
	}
	c.acct.nextEmail++
	row.thread = uint64(id)
	for _, h := range row.refs {
		v, err := c.tx.GetMulti([]kv.Key{keyReference(c.a, h)})
		if err != nil {
			return 0, mail.Wrap("store.return", err)
		}
		if v[0] == nil {
			continue
		}
		if ref, err := decodeReference(v[0]); err == nil {
			row.thread = ref.thread
			break
		}
	}
	return id, nil
}

type taken int

const (
	free taken = iota
	takenHere
	takenByOther
)

// taken tells who has the number of an email. One that was expunged is free, and is not kept any more.
func (c *change) taken(id EmailID, row *emailRow) (taken, error) {
	rows, err := c.tx.GetMulti([]kv.Key{keyEmail(c.a, id), keyWhere(c.a, id)})
	if err != nil {
		return free, mail.Wrap("store.return", err)
	}
	if rows[0] == nil && rows[1] == nil {
		return free, nil
	}
	head, err := decodeEmailHead(rows[0])
	switch {
	case err != nil || head.blob != row.blob:
		return takenByOther, nil
	case rows[1] != nil:
		return takenHere, nil
	}
	from := kv.K(kv.Expunged).Account(c.a).U8(udEmail)
	for r, err := range c.tx.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
		if errors.Is(err, kv.ErrOwnWrites) {
			return free, mail.E("store.return", mail.Busy, "another expunged message goes first")
		}
		if err != nil {
			return free, err
		}
		if _, e, _ := expungedKey(r.Key); e == id {
			c.tx.Delete(slices.Clone(r.Key))
			return free, nil
		}
	}
	return free, nil
}

// HasBody tells whether a message with this body is in a mailbox of the account.
func (s *Store) HasBody(ctx context.Context, a mail.AccountID, b mail.ID) (has bool, err error) {
	from := kv.K(kv.BlobLinks).ID(b).U8(byte(blob.Email)).U64(uint64(a))
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		has = false
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
			if err != nil {
				return err
			}
			v, err := r.GetMulti([]kv.Key{keyWhere(a, emailOf(row.Key))})
			if err != nil {
				return err
			}
			has = has || v[0] != nil
		}
		return nil
	})
	return has, mail.Wrap("store.body", err)
}
