package store

import (
	"context"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Dump is an account's mail at one moment, as backups keep it; its messages' rows and bodies never change and are read
// apart. Its JSON is part of the format of archives: fields may come, and none goes or changes its meaning.
type Dump struct {
	NextEmail     EmailID         `json:"next_email"`
	ModSeq        ModSeq          `json:"modseq"`
	LastValidity  uint32          `json:"last_validity"`
	Keywords      []string        `json:"keywords,omitempty"` // by slot
	Subscriptions []string        `json:"subscriptions,omitempty"`
	Mailboxes     []DumpedMailbox `json:"mailboxes"`
	Entries       []DumpedEntry   `json:"-"`
}

// DumpedMailbox is a mailbox of a Dump.
type DumpedMailbox struct {
	ID          MailboxID `json:"id"`
	Name        string    `json:"name"`
	Role        Role      `json:"role,omitempty"`
	UIDValidity uint32    `json:"uidvalidity"`
	UIDNext     UID       `json:"uidnext"`
}

// DumpedEntry is a message in a mailbox of a Dump.
type DumpedEntry struct {
	Mailbox MailboxID
	UID     UID
	Email   EmailID
	Copy    uint32
	Flags   Flags // keywords by their slots
	Saved   int64 // Unix seconds
}

// Dump reads an account, all of one moment. Kind NotFound.
func (s *Store) Dump(ctx context.Context, a mail.AccountID) (*Dump, error) {
	var d *Dump
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		row, err := readAccount(r, a)
		if err != nil {
			return err
		}
		d = &Dump{NextEmail: row.nextEmail, ModSeq: row.modSeq, LastValidity: row.lastValidity, Entries: make([]DumpedEntry, 0, row.messages)}
		if d.Keywords, err = readKeywords(r, a); err != nil {
			return err
		}
		if d.Subscriptions, err = subscriptions(r, a); err != nil {
			return err
		}
		all, err := list(r, a)
		if err != nil {
			return err
		}
		for _, m := range all {
			if err := d.mailbox(r, a, m); err != nil {
				return err
			}
		}
		return nil
	})
	return d, mail.Wrap("store.dump", err)
}

func (d *Dump) mailbox(r kv.Reader, a mail.AccountID, m listed) error {
	b, err := readBox(r, a, m.id)
	if err != nil {
		return err
	}
	d.Mailboxes = append(d.Mailboxes, DumpedMailbox{ID: m.id, Name: m.name, Role: m.role, UIDValidity: b.validity, UIDNext: b.uidNext})
	for row, err := range r.Scan(keyEntry(a, m.id, 0), keyEntry(a, m.id, b.uidNext), kv.ScanOptions{}) {
		if err != nil {
			return err
		}
		e, err := decodeEntry(row.Value)
		if err != nil {
			return err
		}
		if uid := UID(lastUint32(row.Key)); !b.hidden(uid) {
			d.Entries = append(d.Entries, DumpedEntry{Mailbox: m.id, UID: uid, Email: e.email, Copy: e.copy, Flags: e.flags, Saved: e.saved})
		}
	}
	return nil
}

// RawEmail gives the row of an email as it is, for ParseEmailRow and Return, and the email without its tree. Kind
// NotFound when it is gone.
func (s *Store) RawEmail(ctx context.Context, a mail.AccountID, id EmailID) ([]byte, *Email, error) {
	var row []byte
	err := s.o.KV.View(ctx, nil, func(r kv.Reader) error {
		v, err := r.Get(keyEmail(a, id))
		row = append([]byte(nil), v...)
		return err
	})
	if err != nil {
		return nil, nil, mail.Wrap("store.email", err)
	}
	e, err := emailOfRow(row, id)
	return row, e, err
}

func emailOfRow(row []byte, id EmailID) (*Email, error) {
	r, err := decodeEmail(row)
	if err != nil {
		return nil, err
	}
	r.tree = nil
	return r.email(id, message.Decode)
}

// ParseEmailRow reads what RawEmail gave; Root is nil when the row has no tree. Kind Internal when it is damaged.
func ParseEmailRow(row []byte, id EmailID) (*Email, error) {
	r, err := decodeEmail(row)
	if err != nil {
		return nil, err
	}
	return r.email(id, message.Decode)
}
