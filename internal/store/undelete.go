package store

import (
	"context"
	"errors"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// restoredName is the mailbox for what was in one that nobody remembers.
const restoredName = "Restored"

// Undeleted is what Undelete did.
type Undeleted struct {
	Messages  int
	Mailboxes map[string]int // how many went where
	Full      int            // how many stay away because there is no room for them; they are kept as long as before
}

// Undelete brings expunged messages back into their mailboxes, which it makes anew where they are gone. They get new
// UIDs and keep their flags but for \Deleted, their dates and their EMAILID. Each is a new copy of its email: a POP3
// client that knew it, and perhaps took it for done with, sees a new message. What the quota has no room for stays
// away; a domain's number of messages is overrun by one step at most. It goes in steps; an error leaves those before it
// done, and tells of them. Kinds as Expunged, TooMany when a mailbox cannot be made.
func (s *Store) Undelete(ctx context.Context, a mail.AccountID, f ExpungedFilter) (Undeleted, error) {
	done := Undeleted{Mailboxes: map[string]int{}}
	var from kv.Key
	for {
		page, next, err := s.expungedPage(ctx, a, f, from)
		if err != nil {
			return done, mail.Wrap("store.undelete", err)
		}
		for step := range slices.Chunk(page, MaxImport) {
			if err := s.undeleteStep(ctx, a, step, &done); err != nil {
				return done, mail.Wrap("store.undelete", err)
			}
		}
		if next == nil {
			return done, nil
		}
		from = next
	}
}

// undeleteStep brings some back, again when a mailbox was deleted meanwhile.
func (s *Store) undeleteStep(ctx context.Context, a mail.AccountID, step []Expunged, done *Undeleted) error {
	fit, quota, err := s.undeleteRoom(ctx, a, step)
	if err != nil {
		return err
	}
	done.Full += len(step) - len(fit)
	for tries := 0; len(fit) > 0; tries++ {
		err := s.bringBack(ctx, a, fit, quota, done)
		if err == nil {
			break
		}
		if !mail.Is(err, mail.NotFound) || tries == 3 {
			return err
		}
	}
	return nil
}

// undeleteRoom gives those for which the domain has room, and the account's limit, 0 for none.
func (s *Store) undeleteRoom(ctx context.Context, a mail.AccountID, step []Expunged) (fit []Expunged, quota int64, err error) {
	if s.o.Quota == nil {
		return step, 0, nil
	}
	sizes, err := s.emailSizes(ctx, a, step)
	if err != nil {
		return nil, 0, err
	}
	total := int64(0)
	for i := range step {
		q, err := s.o.Quota(ctx, a, total+sizes[i])
		if mail.Is(err, mail.OverQuota) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		quota = q
		total += sizes[i]
		fit = append(fit, step[i])
	}
	return fit, quota, nil
}

// emailSizes gives the size of each; 0 for one whose email is gone or damaged.
func (s *Store) emailSizes(ctx context.Context, a mail.AccountID, step []Expunged) (sizes []int64, err error) {
	keys := make([]kv.Key, len(step))
	for i := range step {
		keys[i] = keyEmail(a, step[i].Email)
	}
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		rows, err := r.GetMulti(keys)
		if err != nil {
			return err
		}
		sizes = make([]int64, len(step))
		for i, row := range rows {
			if row == nil {
				continue
			}
			if head, err := decodeEmailHead(row); err == nil {
				sizes[i] = head.size
			}
		}
		return nil
	})
	return sizes, err
}

// bringBack brings some back in one transaction.
func (s *Store) bringBack(ctx context.Context, a mail.AccountID, step []Expunged, quota int64, done *Undeleted) error {
	targets, err := s.targets(ctx, a, step)
	if err != nil {
		return err
	}
	boxes := make([]MailboxID, 0, len(targets))
	names := make(map[MailboxID]string, len(targets))
	for name, m := range targets {
		boxes, names[m] = append(boxes, m), name
	}
	var back map[MailboxID]int
	full := 0
	err = s.change(ctx, a, boxes, func(c *change) error {
		back, full = map[MailboxID]int{}, 0
		for i := range step {
			to := targets[targetName(&step[i])]
			ok, err := c.undelete(&step[i], c.loaded(to), quota)
			switch {
			case mail.Is(err, mail.OverQuota):
				full++
			case err != nil:
				return err
			case ok:
				back[to]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	done.Full += full
	for m, n := range back {
		done.Messages += n
		done.Mailboxes[names[m]] += n
	}
	return nil
}

func targetName(x *Expunged) string {
	if x.Mailbox == "" {
		return restoredName
	}
	return x.Mailbox
}

// targets gives the mailboxes that the messages go to, by name; what is missing is made.
func (s *Store) targets(ctx context.Context, a mail.AccountID, page []Expunged) (map[string]MailboxID, error) {
	targets := map[string]MailboxID{}
	for i := range page {
		name := targetName(&page[i])
		if _, ok := targets[name]; ok {
			continue
		}
		m, err := s.Mailbox(ctx, a, name)
		if mail.Is(err, mail.NotFound) {
			m, err = s.Create(ctx, a, name, RoleNone)
		}
		if mail.Is(err, mail.Exists) {
			m, err = s.Mailbox(ctx, a, name)
		}
		if err != nil {
			return nil, err
		}
		targets[name] = m.ID
	}
	return targets, nil
}

// undelete brings one message back; false when it is there no more, or back already. Kind OverQuota, with nothing done,
// when the account has no room for it; a quota of 0 is none.
func (c *change) undelete(x *Expunged, to *box, quota int64) (bool, error) {
	key := keyExpunged(c.a, x.At.Unix(), x.Email)
	rows, err := c.tx.GetMulti([]kv.Key{key, keyEmail(c.a, x.Email), keyWhere(c.a, x.Email)})
	if err != nil {
		return false, mail.Wrap("store.undelete", err)
	}
	if rows[0] == nil || rows[1] == nil || rows[2] != nil {
		return false, nil
	}
	head, err := decodeEmailHead(rows[1])
	if err != nil {
		return false, err
	}
	if quota > 0 && c.acct.bytes+head.size > quota {
		return false, mail.E("store.undelete", mail.OverQuota, "no room in the account")
	}
	r := &x.row
	flags, err := c.slots(r.keywords, true)
	if mail.Is(err, mail.TooMany) {
		flags, err = c.slots(r.keywords, false) // rather without some keywords than not at all
	}
	if err != nil {
		return false, err
	}
	uid, err := c.takeUID(to)
	if err != nil {
		return false, err
	}
	c.tx.Delete(key)
	where := whereRow{nextCopy: r.nextCopy + 1, places: []place{{to.id, uid}}}
	c.set(keyWhere(c.a, x.Email), where.encode())
	c.put(to, uid, &entryRow{
		email: x.Email, copy: r.nextCopy, flags: r.flags&^Deleted | flags, saved: c.now.Unix(), size: head.size,
	})
	return true, c.readmit(x.Email, &head)
}

// readmit counts an email that is in a mailbox again and puts it back into its thread.
func (c *change) readmit(e EmailID, h *emailHead) error {
	c.acct.bytes += h.size
	c.acct.messages++
	c.set(keyThread(c.a, h.thread, e), nil)
	for _, ref := range h.refs {
		row := referenceRow{thread: h.thread}
		v, err := c.tx.Get(keyReference(c.a, ref))
		if err == nil {
			row, err = decodeReference(v)
		} else if errors.Is(err, kv.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return mail.Wrap("store.thread", err)
		}
		row.emails++
		c.set(keyReference(c.a, ref), row.encode())
	}
	return nil
}
