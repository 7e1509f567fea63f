package store

import (
	"context"
	"encoding/binary"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
)

// SweepExpunged removes for good what was expunged longer than Options.Keep ago, of all accounts, and tells how many
// messages that were. Of an account it looks at the oldest rows only, so what is not due costs one seek an account. It
// may be stopped by ctx at any time.
func (s *Store) SweepExpunged(ctx context.Context) (removed int, err error) {
	return s.sweepExpunged(ctx, s.keptSince())
}

// GiveUpExpunged is SweepExpunged for what was expunged longer than age ago, however long it should be kept: for a disk
// that is nearly full.
func (s *Store) GiveUpExpunged(ctx context.Context, age time.Duration) (removed int, err error) {
	return s.sweepExpunged(ctx, s.now().Add(-age).Unix())
}

func (s *Store) sweepExpunged(ctx context.Context, before int64) (removed int, err error) {
	for a := mail.AccountID(0); ; a++ {
		if a, err = s.nextExpunged(ctx, a); err != nil || a == 0 {
			return removed, mail.Wrap("store.expire", err)
		}
		n, err := s.expire(ctx, a, before)
		if removed += n; err != nil {
			return removed, mail.Wrap("store.expire", err)
		}
	}
}

// PurgeExpunged removes for good all that can be brought back of one account, however young. It tells how many messages
// that were.
func (s *Store) PurgeExpunged(ctx context.Context, a mail.AccountID) (int, error) {
	n, err := s.expire(ctx, a, 1<<62)
	return n, mail.Wrap("store.purge", err)
}

// nextExpunged gives the next account from a on that keeps something expunged, 0 when there is none. What it reads is a
// hint: expire looks again under the lock.
func (s *Store) nextExpunged(ctx context.Context, a mail.AccountID) (next mail.AccountID, err error) {
	err = s.o.KV.View(ctx, nil, func(r kv.Reader) error {
		next = 0
		o := kv.ScanOptions{KeysOnly: true, Limit: 1}
		for row, err := range r.Scan(kv.K(kv.Expunged).Account(a), kv.K(kv.Expunged).End(), o) {
			if err != nil {
				return err
			}
			if len(row.Key) > 10 {
				next = mail.AccountID(binary.BigEndian.Uint64(row.Key[2:10]))
			}
		}
		return nil
	})
	return next, err
}

// expiring is an email that is to go, or, without an id, a row that cannot be read.
type expiring struct {
	key   kv.Key
	email EmailID
	head  emailHead
}

// expire removes what an account expunged before that time, in steps.
func (s *Store) expire(ctx context.Context, a mail.AccountID, before int64) (removed int, err error) {
	for {
		plan, err := s.planExpire(ctx, a, before)
		if err != nil {
			return removed, err
		}
		if len(plan) == 0 {
			return removed, s.forgetMailboxes(ctx, a, before)
		}
		locks := lockOf(a)
		for i := range plan {
			locks = append(locks, kv.LockBlob(plan[i].head.blob))
		}
		err = s.o.KV.Update(ctx, kv.Txn{Lock: locks, Frees: true}, func(tx kv.Tx) error { return s.expireStep(tx, a, plan) })
		if err != nil {
			return removed, err
		}
		removed += len(plan)
	}
}

func (s *Store) planExpire(ctx context.Context, a mail.AccountID, before int64) (plan []expiring, err error) {
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		plan = nil
		o := kv.ScanOptions{KeysOnly: true, Limit: s.steps.expunge}
		for row, err := range r.Scan(keyExpunged(a, 0, 0), keyExpunged(a, before, 0), o) {
			if err != nil {
				return err
			}
			x := expiring{key: append(kv.Key(nil), row.Key...)}
			_, x.email, _ = expungedKey(row.Key)
			plan = append(plan, x)
		}
		for i := range plan {
			rows, err := r.GetMulti([]kv.Key{keyEmail(a, plan[i].email)})
			if err != nil {
				return err
			}
			// One that is damaged goes without its body, which stays until its link is repaired.
			if plan[i].head, err = decodeEmailHead(rows[0]); err != nil {
				plan[i].email = 0
			}
		}
		return nil
	})
	return plan, err
}

// expireStep removes what is planned and still there.
func (s *Store) expireStep(tx kv.Tx, a mail.AccountID, plan []expiring) error {
	for i := range plan {
		x := &plan[i]
		rows, err := tx.GetMulti([]kv.Key{x.key, keyWhere(a, x.email)})
		if err != nil {
			return err
		}
		if rows[0] == nil {
			continue // brought back
		}
		tx.Delete(x.key)
		if x.email == 0 || rows[1] != nil {
			continue
		}
		tx.Delete(keyEmail(a, x.email))
		owner := blob.Owner{Kind: blob.Email, A: uint64(a), ID: uint64(x.email)}
		if err := s.o.Blobs.Unlink(tx, x.head.blob, owner); err != nil {
			return err
		}
	}
	return nil
}

// forgetMailboxes forgets the names of mailboxes that were deleted before that time and have nothing left to come back.
func (s *Store) forgetMailboxes(ctx context.Context, a mail.AccountID, before int64) error {
	var keys []kv.Key
	from := kv.K(kv.Expunged).Account(a).U8(udMailbox)
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		keys = nil
		used, err := expungedBoxes(r, a)
		if err != nil {
			return err
		}
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			g, err := decodeGone(row.Value)
			if err != nil || g.at < before && !used[MailboxID(lastUint32(row.Key))] {
				keys = append(keys, append(kv.Key(nil), row.Key...))
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		return err
	}
	return s.o.KV.Update(ctx, kv.Txn{Lock: lockOf(a), Frees: true}, func(tx kv.Tx) error {
		for _, k := range keys {
			tx.Delete(k)
		}
		return nil
	})
}

// expungedBoxes tells which mailboxes expunged messages were in. It reads them only where a mailbox is remembered.
func expungedBoxes(r kv.Reader, a mail.AccountID) (map[MailboxID]bool, error) {
	used := map[MailboxID]bool{}
	gone := kv.K(kv.Expunged).Account(a).U8(udMailbox)
	any := false
	for _, err := range r.Scan(gone, gone.End(), kv.ScanOptions{KeysOnly: true, Limit: 1}) {
		if err != nil {
			return nil, err
		}
		any = true
	}
	if !any {
		return used, nil
	}
	from := kv.K(kv.Expunged).Account(a).U8(udEmail)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		if v, err := decodeExpunged(row.Value); err == nil {
			used[v.m] = true
		}
	}
	return used, nil
}
