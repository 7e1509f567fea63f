package store

import (
	"context"
	"slices"

	"postel/internal/mail"
)

// SetFlags changes the flags of messages: f are system flags, keywords names. Absent messages are ignored. Many are
// changed in steps, each with a MODSEQ of its own; an error leaves the steps before it done. Flags that are as they
// should be raise nothing. Kinds: NotFound for no mailbox, Invalid for a bad keyword, TooMany when the account has no
// slot left for a new one.
func (s *Store) SetFlags(ctx context.Context, a mail.AccountID, m MailboxID, uids []UID, op FlagOp, f Flags, keywords []string) error {
	if err := checkKeywords(keywords); err != nil {
		return err
	}
	for step := range slices.Chunk(sortedUIDs(uids), s.steps.flags) {
		err := s.freeing(ctx, a, []MailboxID{m}, func(c *change) error {
			slots, err := c.slots(keywords, op != Remove)
			if err != nil {
				return err
			}
			return c.setFlags(c.boxes[0], step, op, f&SystemFlags|slots)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *change) setFlags(b *box, uids []UID, op FlagOp, f Flags) error {
	entries, err := c.entries(b, uids)
	if err != nil {
		return err
	}
	for i := range entries {
		e, uid := &entries[i], uids[i]
		flags := op.apply(e.flags, f)
		if e.email == 0 || flags == e.flags {
			continue
		}
		b.count(e, uid, -1)
		e.flags, e.modSeq = flags, c.seq
		b.count(e, uid, 1)
		b.touched(c)
		c.set(keyEntry(c.a, b.id, uid), e.encode())
		c.log(opFlags, b.id, uid)
	}
	return nil
}

func (op FlagOp) apply(old, f Flags) Flags {
	switch op {
	case Add:
		return old | f
	case Remove:
		return old &^ f
	}
	return f
}
