package store

import (
	"context"
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// A COPY of more messages than one transaction takes:
//
//	reserve   nm.staged gets a range of UIDs some way above UIDNEXT; a job row remembers to clear it
//	step…     entries are written there; they are no part of the mailbox, and carry a MODSEQ some way ahead
//	publish   UIDNEXT and MODSEQ move behind them, the range leaves nm.staged, the counters grow, the job row goes
//
// Deliveries go on meanwhile with the UIDs in between. When they, or the account's changes, have used up that room,
// publishing would break the order: then all is cleared and begun again with more of it. A crash leaves the job row.

// maxStaged bounds the ranges that one mailbox has at a time.
const maxStaged = 8

// staging is one attempt.
type staging struct {
	s        *Store
	a        mail.AccountID
	from, to MailboxID
	room     uidRange // its last UID stays free: see clearStaged
	seq      ModSeq
	done     Copied
	total    boxRow // what the entries add to the counters
}

func (s *Store) copyStaged(ctx context.Context, a mail.AccountID, from MailboxID, uids []UID, to MailboxID) (Copied, error) {
	gap := s.steps.gap
	for range 4 {
		g := &staging{s: s, a: a, from: from, to: to}
		ok, err := g.attempt(ctx, uids, gap)
		if ok || err != nil {
			return g.done, err
		}
		gap *= 16
	}
	return Copied{}, mail.E("store.copy", mail.Busy, "too many messages arrive meanwhile")
}

// attempt gives false when it had to be given up for want of room.
func (g *staging) attempt(ctx context.Context, uids []UID, gap UID) (bool, error) {
	j, release := job{kind: jobStaged, a: g.a, m: g.to}, func() {}
	defer func() { release() }()
	err := g.s.change(ctx, g.a, []MailboxID{g.to}, func(c *change) error {
		if err := g.reserve(c.boxes[0], UID(len(uids)), gap); err != nil {
			return err
		}
		g.seq = c.acct.modSeq + g.s.steps.ahead
		j.first, j.end = g.room.first, g.room.end
		release()
		release = g.s.active.add(j)
		c.set(j.key(), j.encode())
		return nil
	}, kv.LockServer())
	if err != nil {
		return false, err
	}
	ok, err := g.fill(ctx, uids)
	if ok && err == nil {
		ok, err = g.publish(ctx, j)
	}
	if ok && err == nil {
		return true, nil
	}
	g.done = Copied{}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if cleanErr := g.s.clearStaged(clean, j); cleanErr != nil && err == nil {
		err = cleanErr
	}
	return false, err
}

func (g *staging) reserve(b *box, n, gap UID) error {
	if len(b.staged) >= maxStaged {
		return mail.E("store.copy", mail.Busy, "too many copies into the mailbox are under way")
	}
	next := b.uidNext
	for _, r := range b.staged {
		next = max(next, r.end)
	}
	if uint64(next)+uint64(gap)+uint64(n)+1 >= 1<<32-1 {
		return mail.E("store.copy", mail.TooMany, "the mailbox has no UID left")
	}
	g.room = uidRange{next + gap, next + gap + n + 1}
	b.staged = append(b.staged, g.room)
	b.dirty = true
	return nil
}

// fill writes the entries in steps; false when somebody has cleared the room.
func (g *staging) fill(ctx context.Context, uids []UID) (bool, error) {
	next, ok := g.room.first, true
	for step := range slices.Chunk(uids, g.s.steps.copy) {
		var some Copied
		var total boxRow
		err := g.s.change(ctx, g.a, []MailboxID{g.from, g.to}, func(c *change) error {
			some, total = Copied{UIDValidity: c.loaded(g.to).validity}, boxRow{}
			if ok = slices.Contains(c.loaded(g.to).staged, g.room); !ok {
				return nil
			}
			uid := next
			return c.eachCopy(c.loaded(g.from), step, func(i int, e *entryRow, w *whereRow) error {
				w.places = append(w.places, place{g.to, uid})
				e.modSeq = g.seq
				c.set(keyEntry(g.a, g.to, uid), e.encode())
				total.count(e, uid, 1)
				some.From, some.To = append(some.From, step[i]), append(some.To, uid)
				uid++
				return nil
			})
		})
		if err != nil || !ok {
			return ok, err
		}
		next += UID(len(some.To))
		g.done.add(some)
		g.total.exists += total.exists
		g.total.unseen += total.unseen
		g.total.deleted += total.deleted
		g.total.size += total.size
	}
	return true, nil
}

// publish makes the entries part of the mailbox; false when it is too late for that.
func (g *staging) publish(ctx context.Context, j job) (ok bool, err error) {
	end := g.room.first + UID(len(g.done.To))
	err = g.s.change(ctx, g.a, []MailboxID{g.to}, func(c *change) error {
		b := c.boxes[0]
		i := slices.Index(b.staged, g.room)
		if ok = i >= 0 && b.uidNext <= g.room.first && c.acct.modSeq < g.seq; !ok {
			return nil
		}
		b.staged = slices.Delete(b.staged, i, i+1)
		b.dirty = true
		c.tx.Delete(j.key())
		if end == g.room.first {
			return nil
		}
		c.seq = g.seq
		b.uidNext = end
		b.exists += g.total.exists
		b.unseen += g.total.unseen
		b.deleted += g.total.deleted
		b.recent += g.total.exists
		b.size += g.total.size
		b.touched(c)
		op := c.op(opAdd, b.id)
		op.uids = append(op.uids, uidRange{g.room.first, end})
		return nil
	}, kv.LockServer())
	return ok, err
}
