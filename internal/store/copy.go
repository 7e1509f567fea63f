package store

import (
	"context"

	"postel/internal/mail"
)

// Copy copies messages into a mailbox, with their flags and in the order of their UIDs; the two may be the same.
// Absent ones are ignored. Others see all of the copies at once or none. Copies share the email. Kinds: NotFound when
// a mailbox is gone; TooMany; Busy when too many large copies into the mailbox are under way.
func (s *Store) Copy(ctx context.Context, a mail.AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	uids = sortedUIDs(uids)
	if len(uids) > s.steps.copy {
		return s.copyStaged(ctx, a, from, uids, to)
	}
	var done Copied
	err := s.change(ctx, a, []MailboxID{from, to}, func(c *change) (err error) {
		done, err = c.copy(c.loaded(from), uids, c.loaded(to))
		return err
	})
	if err != nil {
		return Copied{}, err
	}
	return done, nil
}

func (c *change) copy(from *box, uids []UID, to *box) (Copied, error) {
	done := Copied{UIDValidity: to.validity}
	err := c.eachCopy(from, uids, func(i int, e *entryRow, w *whereRow) error {
		uid, err := c.takeUID(to)
		if err != nil {
			return err
		}
		w.places = append(w.places, place{to.id, uid})
		c.put(to, uid, e)
		done.From, done.To = append(done.From, uids[i]), append(done.To, uid)
		return nil
	})
	return done, err
}

// eachCopy gives fn each visible entry, made a copy with a number of its own, and the places of its email, to which
// fn adds one; these are written behind it.
func (c *change) eachCopy(from *box, uids []UID, fn func(i int, e *entryRow, w *whereRow) error) error {
	entries, err := c.entries(from, uids)
	if err != nil {
		return err
	}
	places, err := c.places(entries)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		if e.email == 0 {
			continue
		}
		w := places[e.email]
		if w.nextCopy >= maxCopies {
			return mail.E("store.copy", mail.TooMany, "message was copied too often")
		}
		e.copy, e.saved = w.nextCopy, c.now.Unix()
		w.nextCopy++
		if err := fn(i, e, w); err != nil {
			return err
		}
		c.set(keyWhere(c.a, e.email), w.encode())
	}
	return nil
}
