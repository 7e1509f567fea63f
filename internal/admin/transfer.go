package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"postel/internal/mail"
	"postel/internal/store"
	"postel/internal/transfer"
)

// ImportResult says what became of one message of an import.
type ImportResult struct {
	Key       transfer.Key `json:"key"`
	Mailbox   string       `json:"mailbox"`
	State     string       `json:"state"` // imported, present, refused
	Reason    string       `json:"reason,omitempty"`
	Temporary bool         `json:"temporary,omitempty"` // it may be taken later
}

// importKeys answers the keys of what was imported before, one a line.
func (a *api) importKeys(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	return lines(w, a.Store.ImportKeys(r.Context(), acc.ID), func(k store.ImportKey) transfer.Key { return transfer.Key(k) })
}

// importing is one request of an import.
type importing struct {
	a       *api
	ctx     context.Context
	acc     mail.AccountID
	again   bool
	boxes   map[string]store.MailboxID
	roles   map[string]store.Mailbox
	items   []store.ImportItem
	names   []string // the mailboxes of items
	results []ImportResult
}

// importMail takes messages as the stream of package transfer and answers what became of each, one a line, once those
// that were taken are durable.
func (a *api) importMail(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	i := &importing{a: a, ctx: r.Context(), acc: acc.ID, again: r.URL.Query().Get("again") == "1"}
	defer i.discard()
	if err := i.loadBoxes(); err != nil {
		return err
	}
	in := transfer.NewReader(r.Body)
	for {
		m, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = i.take(m, in)
		}
		if err != nil {
			return err
		}
	}
	if err := i.flush(); err != nil {
		return err
	}
	return lines(w, each(i.results), func(v ImportResult) ImportResult { return v })
}

func (i *importing) discard() {
	for _, it := range i.items {
		it.Message.Discard()
	}
	i.items, i.names = i.items[:0], i.names[:0]
}

func (i *importing) loadBoxes() error {
	list, err := i.a.Store.Mailboxes(i.ctx, i.acc)
	if err != nil {
		return err
	}
	i.boxes, i.roles = map[string]store.MailboxID{}, map[string]store.Mailbox{}
	for _, b := range list {
		i.boxes[b.Name] = b.ID
		if _, ok := i.roles[string(b.Role)]; !ok {
			i.roles[string(b.Role)] = b
		}
	}
	return nil
}

// box gives the mailbox for a message: by its role where the source knows one, else by its name, made when missing.
func (i *importing) box(m *transfer.Meta) (store.MailboxID, error) {
	if b, ok := i.roles[m.Role]; ok && m.Role != "" {
		m.Mailbox = b.Name
		return b.ID, nil
	}
	name, err := store.CleanName(m.Mailbox)
	if err != nil {
		return 0, err
	}
	if id, ok := i.boxes[name]; ok {
		return id, nil
	}
	b, err := i.a.Store.Create(i.ctx, i.acc, name, store.RoleNone)
	if err != nil {
		return 0, err
	}
	return b.ID, i.loadBoxes()
}

// take reads one message. What is wrong with it alone is its result.
func (i *importing) take(m transfer.Meta, r io.Reader) error {
	refuse := func(err error) error {
		i.results = append(i.results, ImportResult{Key: m.Key, Mailbox: m.Mailbox, State: "refused", Reason: said(err), Temporary: passing(err)})
		return nil
	}
	if m.Key.IsZero() {
		return mail.E("admin.import", mail.Invalid, "a message without a key")
	}
	id, err := i.box(&m)
	if err != nil {
		return refuse(err)
	}
	in := i.a.Store.Incoming(i.ctx)
	if _, err := io.Copy(in, r); err != nil {
		in.Discard()
		if errors.Is(err, io.ErrUnexpectedEOF) || mail.Is(err, mail.Invalid) {
			return err
		}
		return refuse(err)
	}
	if in.Size() == 0 {
		in.Discard()
		return refuse(mail.E("admin.import", mail.Invalid, "the message is empty"))
	}
	msg, err := in.Seal()
	if err != nil {
		in.Discard()
		return refuse(err)
	}
	flags, keywords := flagsOf(m.Flags)
	i.items = append(i.items, store.ImportItem{
		Key: store.ImportKey(m.Key), Message: msg,
		Delivery: store.Delivery{Mailbox: id, Flags: flags, Keywords: keywords, InternalDate: m.Date},
	})
	i.names = append(i.names, m.Mailbox)
	if len(i.items) == store.MaxImport {
		return i.flush()
	}
	return nil
}

// flush commits what was taken.
func (i *importing) flush() error {
	if len(i.items) == 0 {
		return nil
	}
	defer i.discard()
	done, err := i.a.Store.Import(i.ctx, i.acc, i.items, i.again)
	if err != nil {
		return err
	}
	for n, d := range done {
		res := ImportResult{Key: transfer.Key(i.items[n].Key), Mailbox: i.names[n], State: "imported"}
		if d.Present {
			res.State = "present"
		}
		if d.Err != nil {
			res.State, res.Reason, res.Temporary = "refused", said(d.Err), passing(d.Err)
		}
		i.results = append(i.results, res)
	}
	return nil
}

// said is what an error says to people.
func said(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return mail.KindOf(err).String()
}

// passing tells whether trying later may help.
func passing(err error) bool {
	switch mail.KindOf(err) {
	case mail.Unavailable, mail.Busy, mail.OverQuota, mail.Full, mail.Canceled:
		return err != nil
	}
	return false
}

// systemFlags are those of RFC 9051 §2.3.2.
var systemFlags = []struct {
	name string
	flag store.Flags
}{
	{`\Seen`, store.Seen},
	{`\Answered`, store.Answered},
	{`\Flagged`, store.Flagged},
	{`\Deleted`, store.Deleted},
	{`\Draft`, store.Draft},
}

// flagsOf parts flags as IMAP writes them; words that can be no keyword are left out.
func flagsOf(words []string) (store.Flags, []string) {
	var f store.Flags
	var keywords []string
	for _, w := range words {
		known := false
		for _, s := range systemFlags {
			if strings.EqualFold(w, s.name) {
				f |= s.flag
				known = true
			}
		}
		if !known && store.ValidKeyword(w) {
			keywords = append(keywords, w)
		}
	}
	return f, keywords
}

// subscribe puts names on an account's list of subscriptions.
func (a *api) subscribe(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	var in struct{ Names []string }
	if err := read(r, &in); err != nil {
		return err
	}
	for _, n := range in.Names {
		if err := a.Store.Subscribe(r.Context(), acc.ID, n, true); err != nil {
			return err
		}
	}
	return answer(w, map[string]int{"subscribed": len(in.Names)})
}
