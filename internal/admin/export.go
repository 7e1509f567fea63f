package admin

import (
	"net/http"
	"strings"

	"postel/internal/mail"
	"postel/internal/store"
	"postel/internal/transfer"
)

// exportMail answers the messages of an account, or of one mailbox and what is below it, as the stream of package
// transfer. Each mailbox is told first, by a Meta without a UID. What cannot be read is told by its Problem.
func (a *api) exportMail(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	boxes, err := a.Store.Mailboxes(r.Context(), acc.ID)
	if err != nil {
		return err
	}
	if only := r.URL.Query().Get("mailbox"); only != "" {
		b, err := a.Store.Mailbox(r.Context(), acc.ID, only)
		if err != nil {
			return mail.E("admin.export", mail.NotFound, "no mailbox %q", only)
		}
		var some []store.Mailbox
		for _, m := range boxes {
			if m.ID == b.ID || strings.HasPrefix(m.Name, b.Name+"/") {
				some = append(some, m)
			}
		}
		boxes = some
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	e := &exporting{a: a, r: r, acc: acc.ID, w: transfer.NewWriter(w)}
	for _, b := range boxes {
		if err := e.mailbox(b); err != nil {
			return a.cut(r, err)
		}
	}
	return a.cut(r, e.w.Flush())
}

// exporting is one request.
type exporting struct {
	a   *api
	r   *http.Request
	acc mail.AccountID
	w   *transfer.Writer
}

// mailbox writes one mailbox. Only what ends the answer is an error.
func (e *exporting) mailbox(b store.Mailbox) error {
	head := transfer.Meta{Mailbox: b.Name, Role: string(b.Role), Subscribed: b.Subscribed}
	v, err := e.a.Store.Open(e.r.Context(), e.acc, b.ID, true)
	if err != nil {
		head.Problem = "the mailbox cannot be read: " + said(err)
		return e.w.Put(head, nil)
	}
	defer v.Close()
	snap, err := v.Latest(e.r.Context())
	if err != nil {
		head.Problem = "the mailbox cannot be read: " + said(err)
		return e.w.Put(head, nil)
	}
	if err := e.w.Put(head, nil); err != nil {
		return err
	}
	for seq := 1; seq <= snap.Len(); seq++ {
		if err := e.message(v, snap, snap.At(seq)); err != nil {
			return err
		}
		if err := e.r.Context().Err(); err != nil {
			return err
		}
	}
	return nil
}

// message writes one message; its row and its body are read apart from all others, so that damage stays its own.
func (e *exporting) message(v *store.View, snap *store.Snapshot, en store.Entry) error {
	m := transfer.Meta{Mailbox: v.Mailbox().Name, UID: uint32(en.UID), Size: en.Size, Flags: flagNames(snap, en.Flags)}
	email, err := e.a.Store.EmailRow(e.r.Context(), e.acc, en.Email)
	if mail.Is(err, mail.NotFound) {
		if now, err := v.Latest(e.r.Context()); err == nil && now.Seq(en.UID) == 0 {
			return nil // expunged meanwhile
		}
	}
	if err != nil {
		m.Problem = "it cannot be read: " + said(err)
		return e.w.Put(m, nil)
	}
	m.Date = email.InternalDate.UTC()
	body, err := e.a.Store.OpenBody(e.r.Context(), email, 0, -1)
	if err != nil {
		m.Problem = "its content cannot be read: " + said(err)
		return e.w.Put(m, nil)
	}
	defer func() { _ = body.Close() }()
	return e.w.Put(m, body)
}

// flagNames gives flags as IMAP writes them.
func flagNames(snap *store.Snapshot, f store.Flags) []string {
	var names []string
	for _, s := range systemFlags {
		if f.Has(s.flag) {
			names = append(names, s.name)
		}
	}
	return append(names, f.Keywords(snap.Keywords())...)
}
