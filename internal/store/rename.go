package store

import (
	"context"
	"slices"
	"strings"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Rename gives a mailbox and all its inferiors another name, and makes the new name's superiors. Renaming INBOX
// moves its messages to a new mailbox and leaves its inferiors alone (RFC 9051 §6.3.6). Kinds: Exists, also for its
// own name; Invalid, also for a name below itself; NotFound; TooMany.
func (s *Store) Rename(ctx context.Context, a mail.AccountID, m MailboxID, name string) error {
	name, err := CleanName(name)
	if err != nil {
		return err
	}
	if m == Inbox {
		return s.renameInbox(ctx, a, name)
	}
	return s.change(ctx, a, []MailboxID{m}, func(c *change) error {
		all, err := list(c.tx, a)
		if err != nil {
			return err
		}
		if _, ok := byName(all, name); ok {
			return mail.E("store.rename", mail.Exists, "mailbox exists already")
		}
		var old string
		for _, b := range all {
			if b.id == m {
				old = b.name
			}
		}
		return c.rename(all, old, name)
	})
}

// rename renames the mailbox old and its inferiors.
func (c *change) rename(all []listed, old, name string) error {
	if old == "" {
		return noMailbox()
	}
	if strings.HasPrefix(name, old+"/") {
		return mail.E("store.rename", mail.Invalid, "a mailbox cannot become its own inferior")
	}
	below := func(n string) bool { return n == old || strings.HasPrefix(n, old+"/") }
	taken := map[string]bool{}
	for _, b := range all {
		taken[b.name] = !below(b.name)
	}
	for i := range all {
		b := &all[i]
		if !below(b.name) {
			continue
		}
		b.name = name + b.name[len(old):]
		if clean, err := CleanName(b.name); err != nil || clean != b.name {
			return mail.E("store.rename", mail.Invalid, "name of an inferior becomes too long")
		}
		if taken[b.name] {
			return mail.E("store.rename", mail.Exists, "mailbox exists already")
		}
		c.set(keyMailbox(c.a, b.id), b.encode())
		c.op(opMailbox, b.id)
	}
	return c.createSuperiors(all, name)
}

// renameInbox makes the mailbox and moves all messages of INBOX there, in one commit or, when they are many, in steps of
// which the first leaves a job: after a crash between them ResumeJobs goes on. What arrives meanwhile stays.
func (s *Store) renameInbox(ctx context.Context, a mail.AccountID, name string) error {
	uids, err := s.uids(ctx, a, Inbox, nil)
	if err != nil {
		return err
	}
	first := uids[:min(len(uids), s.steps.move)]
	j, more := job{kind: jobInbox, a: a, first: 1}, len(uids) > len(first)
	var locks []kv.Key
	if more {
		j.end = uids[len(uids)-1] + 1
		locks = append(locks, kv.LockServer())
	}
	err = s.change(ctx, a, []MailboxID{Inbox}, func(c *change) error {
		all, err := list(c.tx, a)
		if err != nil {
			return err
		}
		if err := c.free(all, name); err != nil {
			return err
		}
		if err := c.createSuperiors(all, name); err != nil {
			return err
		}
		j.m = c.create(name, RoleNone).ID
		if _, err := c.move(c.loaded(Inbox), first, c.loaded(j.m)); err != nil {
			return err
		}
		if more {
			c.tx.Set(j.key(), j.encode())
		}
		return nil
	}, locks...)
	if err != nil || !more {
		return err
	}
	defer s.active.add(j)()
	return s.do(context.WithoutCancel(ctx), j)
}

// moveInbox does jobInbox. Messages whose new mailbox was deleted meanwhile stay in INBOX.
func (s *Store) moveInbox(ctx context.Context, j job) error {
	uids, err := s.uids(ctx, j.a, Inbox, nil)
	if err == nil {
		i, _ := slices.BinarySearch(uids, j.end)
		_, err = s.Move(ctx, j.a, Inbox, uids[:i], j.m)
	}
	if err != nil && !mail.Is(err, mail.NotFound) {
		return err
	}
	return s.endJob(ctx, j, func(kv.Tx) error { return nil })
}
