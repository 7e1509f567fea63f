package store

import (
	"context"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Append puts a message into a mailbox as part of the caller's Update, which holds LockAccount of the account. Once
// that Update has returned nil, and before anyone is told, what Append gave goes to Notify. Kinds: NotFound when the
// account or mailbox is gone, Invalid for a bad keyword, TooLarge for a prefix above MaxPrefix, TooMany when keyword
// slots or UIDs are used up; with these nothing was written, and the caller may go on in the same Tx. No quota is
// asked: that is decided when a recipient is taken.
func (s *Store) Append(tx kv.Tx, m *Message, d Delivery) (Appended, error) {
	if len(d.Prefix) > MaxPrefix {
		return Appended{}, mail.E("store.append", mail.TooLarge, "prefix larger than %d octets", MaxPrefix)
	}
	if err := checkKeywords(d.Keywords); err != nil {
		return Appended{}, err
	}
	if d.Mailbox == 0 {
		d.Mailbox = Inbox
	}
	c, err := s.begin(tx, d.Account, d.Mailbox)
	if err != nil {
		return Appended{}, mail.Wrap("store.append", err)
	}
	ap, err := c.append(m, d)
	if err == nil {
		err = c.end()
	}
	return ap, mail.Wrap("store.append", err)
}

func (c *change) append(m *Message, d Delivery) (Appended, error) {
	b := c.boxes[0]
	uid, err := c.takeUID(b)
	if err != nil {
		return Appended{}, err
	}
	id := c.acct.nextEmail
	if id >= maxEmails {
		return Appended{}, mail.E("store.append", mail.TooMany, "the account has no room for another message")
	}
	c.acct.nextEmail++
	slots, err := c.slots(d.Keywords, true)
	if err != nil {
		return Appended{}, err
	}
	row := emailRow{prefix: d.Prefix, tree: m.tree, date: c.now.Unix()}
	if !d.InternalDate.IsZero() {
		row.date = d.InternalDate.Unix()
	}
	row.blob, row.refs, row.size = m.id, m.refs.kept, m.size+int64(len(d.Prefix))
	if row.thread, err = c.thread(id, m.refs); err != nil {
		return Appended{}, err
	}
	c.set(keyEmail(c.a, id), row.append(make([]byte, 0, 1024)))
	c.s.Link(c.tx, m, blob.Owner{Kind: blob.Email, A: uint64(c.a), ID: uint64(id)})
	where := whereRow{nextCopy: 1, places: []place{{b.id, uid}}}
	c.set(keyWhere(c.a, id), where.encode())
	c.put(b, uid, &entryRow{email: id, flags: d.Flags&SystemFlags | slots, saved: c.now.Unix(), size: row.size})
	c.acct.bytes += row.size
	c.acct.messages++
	return Appended{
		Account: c.a, Mailbox: b.id, UIDValidity: b.validity, UID: uid, Email: id, ModSeq: c.seq,
		octets: c.acct.bytes, messages: c.acct.messages,
	}, nil
}

// AppendReads gives the rows that Append will read, for kv.Txn.Read.
func (s *Store) AppendReads(m *Message, d Delivery) []kv.Key {
	if d.Mailbox == 0 {
		d.Mailbox = Inbox
	}
	keys := newKeyList(4 + len(m.refs.lookup))
	keys.add(keyCounters(d.Account))
	keys.add(keyBox(d.Account, d.Mailbox))
	keys.add(keyBlob(m.id))
	for _, h := range m.refs.lookup {
		keys.add(keyReference(d.Account, h))
	}
	if len(d.Keywords) > 0 {
		keys.add(keyKeywords(d.Account))
	}
	return keys.keys
}

// Notify tells all who look at the mailboxes of deliveries that are durable now.
func (s *Store) Notify(ap ...Appended) {
	for _, p := range ap {
		s.counted(Usage{Account: p.Account, Octets: p.octets, Messages: p.messages, ModSeq: p.ModSeq})
		s.committed(p.Account, p.ModSeq, p.Mailbox)
	}
}

// AppendOne appends in a transaction of its own, as IMAP's APPEND does, and tells of it. Kinds as Append, and
// OverQuota when the account has no room.
func (s *Store) AppendOne(ctx context.Context, m *Message, d Delivery) (Appended, error) {
	var quota int64
	if s.o.Quota != nil {
		var err error
		if quota, err = s.o.Quota(ctx, d.Account, m.size+int64(len(d.Prefix))); err != nil {
			return Appended{}, mail.Wrap("store.append", err)
		}
	}
	var ap Appended
	t := kv.Txn{Lock: lockOf(d.Account), Read: s.AppendReads(m, d)}
	err := s.o.KV.Update(ctx, t, func(tx kv.Tx) (err error) {
		if quota > 0 {
			row, err := readAccount(tx, d.Account)
			if err != nil {
				return err
			}
			if row.bytes+m.size+int64(len(d.Prefix)) > quota {
				return mail.E("store.append", mail.OverQuota, "no room in the account")
			}
		}
		ap, err = s.Append(tx, m, d)
		return err
	})
	if err != nil {
		return Appended{}, mail.Wrap("store.append", err)
	}
	s.Notify(ap)
	return ap, nil
}
