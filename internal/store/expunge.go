package store

import (
	"context"
	"errors"
	"slices"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Expunge removes exactly these messages, whatever their flags; absent ones are ignored. It gives those that it
// removed, ascending. Many go in steps; an error leaves the steps before it done, and tells of them.
func (s *Store) Expunge(ctx context.Context, a mail.AccountID, m MailboxID, uids []UID) ([]UID, error) {
	return s.expunge(ctx, a, m, sortedUIDs(uids), nil)
}

// ExpungeDeleted removes those of the messages that have \Deleted when they go; among nil is all of the mailbox. It
// gives what it removed, as Expunge.
func (s *Store) ExpungeDeleted(ctx context.Context, a mail.AccountID, m MailboxID, among []UID) ([]UID, error) {
	deleted := func(e *entryRow) bool { return e.flags.Has(Deleted) }
	uids := sortedUIDs(among)
	if among == nil {
		st, err := s.Status(ctx, a, m)
		if err != nil || st.Deleted == 0 {
			return nil, err
		}
		if uids, err = s.uids(ctx, a, m, deleted); err != nil {
			return nil, err
		}
	}
	return s.expunge(ctx, a, m, uids, deleted)
}

func (s *Store) expunge(ctx context.Context, a mail.AccountID, m MailboxID, uids []UID, want func(*entryRow) bool) ([]UID, error) {
	var gone []UID
	for step := range slices.Chunk(uids, s.steps.expunge) {
		some, err := s.removeStep(ctx, a, m, step, want)
		gone = append(gone, some...)
		if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

// uids lists the messages of a mailbox that want; nil wants all. Kind NotFound.
func (s *Store) uids(ctx context.Context, a mail.AccountID, m MailboxID, want func(*entryRow) bool) ([]UID, error) {
	var uids []UID
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		uids = nil
		b, err := readBox(r, a, m)
		if err != nil {
			return err
		}
		for row, err := range r.Scan(keyEntry(a, m, 0), keyEntry(a, m, b.uidNext), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			e, err := decodeEntry(row.Value)
			if err != nil {
				return err
			}
			if uid := UID(lastUint32(row.Key)); (want == nil || want(&e)) && !b.hidden(uid) {
				uids = append(uids, uid)
			}
		}
		return nil
	})
	return uids, mail.Wrap("store.uids", err)
}

// doomed is a message that may be about to go, and what must be known beforehand, because dropping a link of a blob
// needs the blob's lock. An entry's email and an email's row never change, so that this holds until the transaction.
type doomed struct {
	uid   UID
	email EmailID
	head  emailHead
}

// removeStep removes some messages of a mailbox in one transaction; want may spare them at the last moment.
func (s *Store) removeStep(ctx context.Context, a mail.AccountID, m MailboxID, uids []UID, want func(*entryRow) bool) ([]UID, error) {
	var plan []doomed
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		b, err := readBox(r, a, m)
		if err != nil {
			return err
		}
		plan, err = s.doom(r, a, m, &b, uids)
		return err
	})
	if err != nil || len(plan) == 0 {
		return nil, mail.Wrap("store.expunge", err)
	}
	var gone []UID
	err = s.freeing(ctx, a, []MailboxID{m}, func(c *change) error {
		var err error
		gone, err = c.remove(c.boxes[0], m, plan, want)
		return err
	}, s.blobLocks(plan)...)
	if err != nil {
		return nil, err
	}
	return gone, nil
}

// doom plans the removal of entries; b is nil for those that are no part of a mailbox.
func (s *Store) doom(r kv.Reader, a mail.AccountID, m MailboxID, b *boxRow, uids []UID) ([]doomed, error) {
	entries, err := readEntries(r, a, m, b, uids)
	if err != nil {
		return nil, err
	}
	var plan []doomed
	for i, e := range entries {
		if e.email == 0 {
			continue
		}
		// One by one: of a large row only the front is kept.
		v, err := r.Get(keyEmail(a, e.email))
		if errors.Is(err, kv.ErrNotFound) {
			return nil, damaged("em")
		}
		if err != nil {
			return nil, err
		}
		head, err := decodeEmailHead(v)
		if err != nil {
			return nil, err
		}
		plan = append(plan, doomed{uids[i], e.email, head})
	}
	return plan, nil
}

// blobLocks are needed to drop links of blobs; what is kept keeps its link.
func (s *Store) blobLocks(plan []doomed) []kv.Key {
	if s.o.Keep > 0 {
		return nil
	}
	locks := make([]kv.Key, len(plan))
	for i := range plan {
		locks[i] = kv.LockBlob(plan[i].head.blob)
	}
	return locks
}

// remove removes what is left of the plan: entries of mailbox m, or, when b is nil, entries that are no part of it
// and counted nowhere.
func (c *change) remove(b *box, m MailboxID, plan []doomed, want func(*entryRow) bool) ([]UID, error) {
	uids := make([]UID, len(plan))
	for i := range plan {
		uids[i] = plan[i].uid
	}
	var row *boxRow
	if b != nil {
		row = &b.boxRow
	}
	entries, err := readEntries(c.tx, c.a, m, row, uids)
	if err != nil {
		return nil, err
	}
	places, err := c.places(entries)
	if err != nil {
		return nil, err
	}
	var gone []UID
	for i := range entries {
		e, uid := &entries[i], uids[i]
		if e.email == 0 || want != nil && !want(e) {
			continue
		}
		gone = append(gone, uid)
		if b != nil {
			c.drop(b, uid, e)
		} else {
			c.tx.Delete(keyEntry(c.a, m, uid))
		}
		w := places[e.email]
		if !w.remove(place{m, uid}) {
			return nil, damaged("xe")
		}
		if len(w.places) > 0 {
			c.set(keyWhere(c.a, e.email), w.encode())
			op := c.op(opLeft, m)
			op.gone = append(op.gone, e.email)
			continue
		}
		op := c.op(opExpunge, m)
		op.gone = append(op.gone, e.email)
		if err := c.dropEmail(m, uid, e, w, &plan[i].head); err != nil {
			return nil, err
		}
	}
	return gone, nil
}

// places reads where the emails of entries are.
func (c *change) places(entries []entryRow) (map[EmailID]*whereRow, error) {
	emails := make([]EmailID, 0, len(entries))
	for i := range entries {
		if e := entries[i].email; e != 0 {
			emails = append(emails, e)
		}
	}
	slices.Sort(emails)
	emails = slices.Compact(emails)
	rows, err := where(c.tx, c.a, emails)
	if err != nil {
		return nil, err
	}
	places := make(map[EmailID]*whereRow, len(emails))
	for i, e := range emails {
		places[e] = &rows[i]
	}
	return places, nil
}

// dropEmail removes an email whose last place was this entry, or keeps it aside. In the former case the transaction
// holds the lock of its blob.
func (c *change) dropEmail(m MailboxID, uid UID, e *entryRow, w *whereRow, h *emailHead) error {
	c.tx.Delete(keyWhere(c.a, e.email))
	if err := c.dropThread(e.email, h); err != nil {
		return err
	}
	c.acct.bytes -= h.size
	c.acct.messages--
	if c.s.o.Keep > 0 {
		return c.keepExpunged(m, uid, e, w)
	}
	c.tx.Delete(keyEmail(c.a, e.email))
	return c.s.o.Blobs.Unlink(c.tx, h.blob, blob.Owner{Kind: blob.Email, A: uint64(c.a), ID: uint64(e.email)})
}
