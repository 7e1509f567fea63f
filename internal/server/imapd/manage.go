package imapd

import (
	"context"
	"strings"

	"postel/internal/mail"
	"postel/internal/proto/imap"
	"postel/internal/store"
)

// uses are the special uses of RFC 6154 §2 that a mailbox can have.
var uses = []struct {
	role store.Role
	name string
}{
	{store.RoleSent, `\Sent`},
	{store.RoleDrafts, `\Drafts`},
	{store.RoleTrash, `\Trash`},
	{store.RoleJunk, `\Junk`},
	{store.RoleArchive, `\Archive`},
}

// create is CREATE, with USE (RFC 6154 §3).
func (s *session) create(ctx context.Context, c imap.Create) error {
	role := store.RoleNone
	for i, use := range c.Use {
		r := roleOf(use)
		if r == store.RoleNone || i > 0 {
			return coded{mail.E("imapd.create", mail.Unsupported, "a mailbox cannot have this use"), imap.CodeUseAttr}
		}
		role = r
	}
	_, err := s.srv.o.Store.Create(ctx, s.account(), c.Name, role)
	return err
}

func roleOf(use string) store.Role {
	for _, u := range uses {
		if strings.EqualFold(u.name, use) {
			return u.role
		}
	}
	return store.RoleNone
}

// delete is DELETE.
func (s *session) delete(ctx context.Context, m imap.Mailbox) error {
	found, err := s.srv.o.Store.Mailbox(ctx, s.account(), m.Name)
	if err != nil {
		return err
	}
	if found.ID == store.Inbox {
		return coded{mail.E("imapd.delete", mail.Denied, "INBOX cannot be deleted"), imap.CodeCannot}
	}
	if s.box != nil && s.box.id() == found.ID {
		s.leave() // nothing is selected any more
	}
	return s.srv.o.Store.Delete(ctx, s.account(), found.ID)
}

// rename is RENAME.
func (s *session) rename(ctx context.Context, r imap.Rename) error {
	found, err := s.srv.o.Store.Mailbox(ctx, s.account(), r.From)
	if err != nil {
		return err
	}
	return s.srv.o.Store.Rename(ctx, s.account(), found.ID, r.To)
}

func (s *session) subscribe(ctx context.Context, m imap.Mailbox) error {
	return s.srv.o.Store.Subscribe(ctx, s.account(), m.Name, true)
}

func (s *session) unsubscribe(ctx context.Context, m imap.Mailbox) error {
	return s.srv.o.Store.Subscribe(ctx, s.account(), m.Name, false)
}

// status is STATUS.
func (s *session) status(ctx context.Context, a imap.Status) error {
	m, err := s.srv.o.Store.Mailbox(ctx, s.account(), a.Mailbox)
	if err != nil {
		return err
	}
	return s.tellStatus(ctx, m, a.Items)
}

func (s *session) tellStatus(ctx context.Context, m store.Mailbox, items []imap.StatusItem) error {
	st, err := s.srv.o.Store.Status(ctx, s.account(), m.ID)
	if err != nil {
		return err
	}
	values := make([]uint64, len(items))
	for i, item := range items {
		values[i] = statusValue(st, item)
	}
	s.e.StatusData(m.Name, items, values)
	return nil
}

func statusValue(st store.Status, item imap.StatusItem) uint64 {
	switch item {
	case imap.StatusMessages:
		return uint64(st.Messages)
	case imap.StatusRecent:
		return uint64(st.Recent)
	case imap.StatusUIDNext:
		return uint64(st.UIDNext)
	case imap.StatusUIDValidity:
		return uint64(st.UIDValidity)
	case imap.StatusUnseen:
		return uint64(st.Unseen)
	}
	return uint64(max(st.Size, 0))
}
