package store

import (
	"context"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// InitAccount makes the counters of a new account and its mailboxes INBOX, Sent, Drafts, Trash, Junk and Archive,
// all subscribed. The caller holds LockAccount(a). Kind Exists when the account has them already.
func (s *Store) InitAccount(tx kv.Tx, a mail.AccountID) error {
	_, err := tx.Get(keyCounters(a))
	if err == nil {
		return mail.E("store.init", mail.Exists, "the account has mailboxes already")
	}
	if !errors.Is(err, kv.ErrNotFound) {
		return mail.Wrap("store.init", err)
	}
	c := newChange(s, tx, a)
	c.seq = 1
	c.acct = accountRow{nextEmail: 1, nextMailbox: Inbox}
	for _, m := range []struct {
		name string
		role Role
	}{
		{"INBOX", RoleInbox},
		{"Sent", RoleSent},
		{"Drafts", RoleDrafts},
		{"Trash", RoleTrash},
		{"Junk", RoleJunk},
		{"Archive", RoleArchive},
	} {
		c.create(m.name, m.role)
		tx.Set(keySubscription(a, m.name), nil)
	}
	return c.end()
}

// create writes a new mailbox; the caller has made sure that its name is free.
func (c *change) create(name string, role Role) Mailbox {
	id := c.acct.nextMailbox
	c.acct.nextMailbox++
	c.acct.lastValidity = c.s.nextValidity(c.acct.lastValidity)
	row := mailboxRow{validity: c.acct.lastValidity, role: role, name: name}
	c.set(keyMailbox(c.a, id), row.encode())
	b := &box{id: id, boxRow: boxRow{validity: row.validity, uidNext: 1, recentFrom: 1}}
	b.touched(c)
	c.boxes = append(c.boxes, b)
	c.op(opMailbox, id)
	return Mailbox{ID: id, Name: name, Role: role, UIDValidity: row.validity}
}

// nextValidity gives a UIDVALIDITY above the last one: the time, so that an account that was made anew does not
// repeat those of the old one.
func (s *Store) nextValidity(last uint32) uint32 {
	if now := s.now().Unix(); now > int64(last) && now < 1<<32 {
		return uint32(now)
	}
	return last + 1
}

// Usage gives what the account holds: octets and emails, copies counted once. Kind NotFound.
func (s *Store) Usage(ctx context.Context, a mail.AccountID) (bytes, messages int64, err error) {
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		row, err := readAccount(r, a)
		bytes, messages = row.bytes, row.messages
		return err
	})
	return bytes, messages, err
}

// usagePage is how many accounts are looked at under their locks at once.
const usagePage = 256

// Usages gives what these accounts hold, those that are gone left out.
func (s *Store) Usages(ctx context.Context, ids []mail.AccountID) ([]Usage, error) {
	out := make([]Usage, 0, len(ids))
	for some := range slices.Chunk(ids, usagePage) {
		lock, keys := make([]kv.Key, len(some)), make([]kv.Key, len(some))
		for i, id := range some {
			lock[i], keys[i] = kv.LockAccount(id), keyCounters(id)
		}
		have := len(out)
		err := s.o.KV.View(ctx, lock, func(r kv.Reader) error {
			out = out[:have]
			rows, err := r.GetMulti(keys)
			if err != nil {
				return err
			}
			for i, v := range rows {
				if v == nil {
					continue
				}
				row, err := decodeAccount(v)
				if err != nil {
					return err
				}
				out = append(out, Usage{some[i], row.bytes, row.messages, row.modSeq})
			}
			return nil
		})
		if err != nil {
			return nil, mail.Wrap("store.usage", err)
		}
	}
	return out, nil
}

// usage is what the account holds after the change.
func (c *change) usage() Usage {
	return Usage{c.a, c.acct.bytes, c.acct.messages, c.acct.modSeq}
}

func readAccount(r kv.Reader, a mail.AccountID) (accountRow, error) {
	v, err := r.Get(keyCounters(a))
	if errors.Is(err, kv.ErrNotFound) {
		return accountRow{}, mail.E("store.account", mail.NotFound, "no such account")
	}
	if err != nil {
		return accountRow{}, mail.Wrap("store.account", err)
	}
	return decodeAccount(v)
}

func readBox(r kv.Reader, a mail.AccountID, m MailboxID) (boxRow, error) {
	v, err := r.Get(keyBox(a, m))
	if errors.Is(err, kv.ErrNotFound) {
		return boxRow{}, noMailbox()
	}
	if err != nil {
		return boxRow{}, mail.Wrap("store.mailbox", err)
	}
	return decodeBox(v)
}

func lockOf(a mail.AccountID) []kv.Key { return []kv.Key{kv.LockAccount(a)} }

// modSeq gives the account's newest durable change.
func (s *Store) modSeq(ctx context.Context, a mail.AccountID) (seq ModSeq, err error) {
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		row, err := readAccount(r, a)
		seq = row.modSeq
		return err
	})
	return seq, err
}

// HasAccount tells whether an account has anything here; under its lock.
func (s *Store) HasAccount(r kv.Reader, a mail.AccountID) (bool, error) {
	for _, p := range []kv.Prefix{kv.Counters, kv.Mailboxes, kv.Entries, kv.Emails} {
		from := kv.K(p).Account(a)
		for _, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
			return err == nil || mail.Is(err, mail.Internal), nil //nolint:nilerr // a row that cannot be read is one
		}
	}
	return false, nil
}
