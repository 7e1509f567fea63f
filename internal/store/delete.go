package store

import (
	"context"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Delete removes a mailbox. It is gone for everyone at once; its messages are removed after that, by the time Delete
// returns or, when they are many, in the background. Its inferiors stay, and its name stays on the list of
// subscriptions (RFC 9051 §6.3.5, §6.3.7). Kinds: NotFound; Denied for INBOX.
func (s *Store) Delete(ctx context.Context, a mail.AccountID, m MailboxID) error {
	if m == Inbox {
		return mail.E("store.delete", mail.Denied, "INBOX cannot be deleted")
	}
	j := job{kind: jobEmpty, a: a, m: m}
	many := false
	err := s.freeing(ctx, a, []MailboxID{m}, func(c *change) error {
		many = int(c.boxes[0].exists) > s.steps.expunge
		if err := c.keepMailbox(m); err != nil {
			return err
		}
		c.tx.Delete(keyMailbox(a, m))
		c.tx.Delete(keyBox(a, m))
		c.op(opMailbox, m)
		c.set(j.key(), j.encode())
		return nil
	}, kv.LockServer())
	if err != nil {
		return err
	}
	if many {
		s.start(j)
		return nil
	}
	if err := s.do(context.WithoutCancel(ctx), j); err != nil {
		s.o.Log.Error("store: emptying a mailbox failed, the next start tries again", "err", err)
	}
	return nil
}

// DeleteAccount removes all that an account has here, for good: mailboxes, messages, subscriptions, scripts. When it
// fails on its way nobody can use the account any more, and ResumeJobs goes on. Kind NotFound.
func (s *Store) DeleteAccount(ctx context.Context, a mail.AccountID) error {
	j := job{kind: jobAccount, a: a}
	err := s.freeing(ctx, a, nil, func(c *change) error {
		all, err := list(c.tx, a)
		if err != nil {
			return err
		}
		for _, m := range all {
			c.tx.Delete(keyMailbox(a, m.id))
			c.tx.Delete(keyBox(a, m.id))
			c.op(opMailbox, m.id)
		}
		c.set(j.key(), j.encode())
		return nil
	}, kv.LockServer())
	if err != nil {
		return err
	}
	return s.do(ctx, j)
}

// clearAccount does jobAccount: the emails go one by one, for the sake of their blobs, everything else as it lies.
func (s *Store) clearAccount(ctx context.Context, j job) error {
	for {
		m, err := s.anyBox(ctx, j.a)
		if err != nil {
			return err
		}
		if m == 0 {
			break
		}
		if err := s.purge(ctx, j.a, m, uidRange{0, lastUID}); err != nil {
			return err
		}
	}
	if _, err := s.PurgeExpunged(ctx, j.a); err != nil {
		return err
	}
	return s.endJob(ctx, j, func(tx kv.Tx) error {
		for _, p := range []kv.Prefix{
			kv.Mailboxes, kv.Counters, kv.BoxCounters, kv.Entries, kv.Emails, kv.Where, kv.Threads, kv.References,
			kv.Keywords, kv.Log, kv.Objects, kv.Expunged, kv.TextIndex, kv.TextState,
		} {
			from := kv.K(p).Account(j.a)
			tx.DeleteRange(from, from.End())
		}
		return nil
	})
}

// anyBox gives a mailbox that has entries, hidden ones included; 0 when there is none.
func (s *Store) anyBox(ctx context.Context, a mail.AccountID) (m MailboxID, err error) {
	from := kv.K(kv.Entries).Account(a)
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		m = 0
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: 1}) {
			if err != nil {
				return err
			}
			m = MailboxID(lastUint32(row.Key[:len(row.Key)-4]))
		}
		return nil
	})
	return m, mail.Wrap("store.account", err)
}
