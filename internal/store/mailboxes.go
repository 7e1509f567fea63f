package store

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"postel/internal/kv"
	"postel/internal/mail"
)

// listed is a mailbox and its row, as changes of names need them.
type listed struct {
	id MailboxID
	mailboxRow
}

// list reads all mailboxes of an account, in the order of their ids.
func list(r kv.Reader, a mail.AccountID) ([]listed, error) {
	from := kv.K(kv.Mailboxes).Account(a)
	var all []listed
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
		if err != nil {
			return nil, mail.Wrap("store.mailboxes", err)
		}
		m, err := decodeMailbox(row.Value)
		if err != nil {
			return nil, err
		}
		all = append(all, listed{MailboxID(lastUint32(row.Key)), m})
	}
	return all, nil
}

func byName(all []listed, name string) (listed, bool) {
	for _, m := range all {
		if m.name == name {
			return m, true
		}
	}
	return listed{}, false
}

func (m listed) mailbox() Mailbox {
	return Mailbox{ID: m.id, Name: m.name, Role: m.role, UIDValidity: m.validity}
}

// Mailboxes gives all mailboxes of an account: INBOX and what is below it first, the others by name, level by
// level. A level without a mailbox of its own, left by Delete, is not among them. Kind NotFound for no account.
func (s *Store) Mailboxes(ctx context.Context, a mail.AccountID) ([]Mailbox, error) {
	var all []Mailbox
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		all = nil
		if _, err := readAccount(r, a); err != nil {
			return err
		}
		rows, err := list(r, a)
		if err != nil {
			return err
		}
		names, err := subscriptions(r, a)
		if err != nil {
			return err
		}
		subscribed := make(map[string]bool, len(names))
		for _, n := range names {
			subscribed[n] = true
		}
		for _, m := range rows {
			b := m.mailbox()
			b.Subscribed = subscribed[b.Name]
			all = append(all, b)
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Mailbox) int { return compareNames(a.Name, b.Name) })
	return all, err
}

// compareNames orders names level by level, INBOX first.
func compareNames(a, b string) int {
	if x, y := inInbox(a), inInbox(b); x != y {
		if x {
			return -1
		}
		return 1
	}
	for {
		x, restX, moreX := strings.Cut(a, "/")
		y, restY, moreY := strings.Cut(b, "/")
		if c := strings.Compare(x, y); c != 0 {
			return c
		}
		if !moreX || !moreY {
			return cmp.Compare(len(a), len(b))
		}
		a, b = restX, restY
	}
}

func inInbox(name string) bool { return name == "INBOX" || strings.HasPrefix(name, "INBOX/") }

// Mailbox finds a mailbox by its name; "inbox" in any case. Kind NotFound, also for names that cannot be.
func (s *Store) Mailbox(ctx context.Context, a mail.AccountID, name string) (Mailbox, error) {
	clean, err := CleanName(name)
	if err != nil {
		return Mailbox{}, noMailbox()
	}
	var found Mailbox
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		rows, err := list(r, a)
		if err != nil {
			return err
		}
		m, ok := byName(rows, clean)
		if !ok {
			return noMailbox()
		}
		found = m.mailbox()
		found.Subscribed, err = subscribed(r, a, clean)
		return err
	})
	return found, err
}

// MailboxAgain is Mailbox for one who names the same mailbox time after time: before is what was found last, and only its
// row is read while it has the name. Whether it is subscribed is then not told anew.
func (s *Store) MailboxAgain(ctx context.Context, a mail.AccountID, name string, before Mailbox) (Mailbox, error) {
	clean, err := CleanName(name)
	if err != nil || clean != before.Name {
		return s.Mailbox(ctx, a, name)
	}
	still := false
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		v, err := r.Get(keyMailbox(a, before.ID))
		if mail.Is(err, mail.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		m, err := decodeMailbox(v)
		still = err == nil && m.name == clean && m.validity == before.UIDValidity
		before.Role = m.role
		return err
	})
	if err != nil || !still {
		return s.Mailbox(ctx, a, name)
	}
	return before, nil
}

// Status gives a mailbox's counters. Kind NotFound.
func (s *Store) Status(ctx context.Context, a mail.AccountID, m MailboxID) (Status, error) {
	var st Status
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		b, err := readBox(r, a, m)
		st = Status{
			Messages: b.exists, Recent: b.recent, Unseen: b.unseen, Deleted: b.deleted, UIDNext: b.uidNext,
			UIDValidity: b.validity, HighestModSeq: b.highest, Size: b.size,
		}
		return err
	})
	return st, err
}

// Create makes a mailbox and those superiors that do not exist (RFC 3501 §6.3.3). role is what it is for; not
// RoleInbox. Kinds: Exists, Invalid, TooMany, NotFound for no account.
func (s *Store) Create(ctx context.Context, a mail.AccountID, name string, role Role) (Mailbox, error) {
	name, err := CleanName(name)
	if err != nil {
		return Mailbox{}, err
	}
	if !role.settable() {
		return Mailbox{}, mail.E("store.create", mail.Invalid, "no such use of a mailbox")
	}
	var made Mailbox
	err = s.change(ctx, a, nil, func(c *change) error {
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
		made = c.create(name, role)
		made.Subscribed, err = subscribed(c.tx, a, name)
		return err
	})
	return made, err
}

func (r Role) settable() bool {
	return slices.Contains([]Role{RoleNone, RoleSent, RoleDrafts, RoleTrash, RoleJunk, RoleArchive}, r)
}

// free fails with Kind Exists when the name is taken, TooMany when there is no room for it.
func (c *change) free(all []listed, name string) error {
	if _, ok := byName(all, name); ok {
		return mail.E("store.create", mail.Exists, "mailbox exists already")
	}
	if len(all) >= c.s.o.Mailboxes {
		return mail.E("store.create", mail.TooMany, "more than %d mailboxes", c.s.o.Mailboxes)
	}
	return nil
}

// createSuperiors makes the mailboxes above name that are missing.
func (c *change) createSuperiors(all []listed, name string) error {
	n := len(all)
	for _, up := range superiors(name) {
		if _, ok := byName(all, up); ok {
			continue
		}
		if n++; n >= c.s.o.Mailboxes {
			return mail.E("store.create", mail.TooMany, "more than %d mailboxes", c.s.o.Mailboxes)
		}
		c.create(up, RoleNone)
	}
	return nil
}
