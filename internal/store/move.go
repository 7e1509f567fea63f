package store

import (
	"context"
	"slices"

	"postel/internal/mail"
)

// Move takes messages from one mailbox to another, where they get new UIDs in the order of the old ones; the two may
// be the same (RFC 6851 §3.3). Each message is at any time in exactly one of them. Absent ones are ignored. Many move
// in steps; an error leaves the steps before it done, and tells of them. Kind NotFound when a mailbox is gone.
func (s *Store) Move(ctx context.Context, a mail.AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	var all Copied
	var limit UID // what is there now: a later step must not meet what an earlier one put into the same mailbox
	for step := range slices.Chunk(sortedUIDs(uids), s.steps.move) {
		var some Copied
		var next UID
		err := s.freeing(ctx, a, []MailboxID{from, to}, func(c *change) (err error) {
			b := c.loaded(from)
			if next = limit; next == 0 {
				next = b.uidNext
			}
			i, _ := slices.BinarySearch(step, next)
			some, err = c.move(b, step[:i], c.loaded(to))
			return err
		})
		if err != nil {
			return all, err
		}
		limit = next
		all.add(some)
	}
	return all, nil
}

func (c *Copied) add(some Copied) {
	c.UIDValidity = some.UIDValidity
	c.From = append(c.From, some.From...)
	c.To = append(c.To, some.To...)
}

func (c *change) move(from *box, uids []UID, to *box) (Copied, error) {
	done := Copied{UIDValidity: to.validity}
	entries, err := c.entries(from, uids)
	if err != nil {
		return done, err
	}
	places, err := c.places(entries)
	if err != nil {
		return done, err
	}
	for i := range entries {
		e := &entries[i]
		if e.email == 0 {
			continue
		}
		uid, err := c.takeUID(to)
		if err != nil {
			return done, err
		}
		c.drop(from, uids[i], e)
		w := places[e.email]
		if !w.remove(place{from.id, uids[i]}) {
			return done, damaged("xe")
		}
		w.places = append(w.places, place{to.id, uid})
		c.set(keyWhere(c.a, e.email), w.encode())
		e.saved = c.now.Unix()
		c.put(to, uid, e)
		done.From, done.To = append(done.From, uids[i]), append(done.To, uid)
	}
	return done, nil
}
