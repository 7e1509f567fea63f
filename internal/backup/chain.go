package backup

import (
	"cmp"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/store"
)

// Chain is archives that build on one another, the newest first.
type Chain []*Archive

// NewChain puts archives in order. Kind Invalid when they do not build on one another, or one is missing.
func NewChain(list []*Archive) (Chain, error) {
	c := Chain(slices.Clone(list))
	slices.SortFunc(c, func(a, b *Archive) int { return b.Head.Made.Compare(a.Head.Made) })
	for i, a := range c {
		switch last := i == len(c)-1; {
		case a.Head.ID.IsZero(): // its head is damaged: what it is, only its owner knows
		case last && !a.Head.Since.IsZero():
			return nil, mail.E("backup.chain", mail.Invalid, "%s builds on an archive that was not named, made before %s", a.Name, a.Head.Made.Format(time.DateTime))
		case !last && a.Head.Since != c[i+1].Head.ID && !c[i+1].Head.ID.IsZero():
			return nil, mail.E("backup.chain", mail.Invalid, "%s does not build on %s", a.Name, c[i+1].Name)
		}
	}
	return c, nil
}

// Selection says what is wanted of a chain. Zero fields narrow nothing.
type Selection struct {
	Account string    // its address in the archive
	Mailbox string    // a name
	Message string    // m-…, the number of the email, or a Message-ID in angle brackets
	Since   time.Time // internal date
	Before  time.Time
}

func (s *Selection) partial() bool {
	return s.Mailbox != "" || s.Message != "" || !s.Since.IsZero() || !s.Before.IsZero()
}

// Selected says what was found.
type Selected struct {
	Accounts int      `json:"accounts"`
	Messages int      `json:"messages"`
	Bytes    int64    `json:"bytes"`
	Queue    int      `json:"queue,omitempty"`
	Damaged  []Damage `json:"damaged,omitempty"`
}

// Stream writes what is selected as one whole archive, for Apply, and names what is damaged: that is left out. A nil
// error with an empty Selected.Damaged says that all that was wanted is there and whole; with io.Discard it is how a
// chain is verified.
func (c Chain) Stream(w io.Writer, sel Selection) (Selected, error) {
	x := &streaming{chain: c, sel: sel, s: &sections{w: w, c: c[0].c}}
	err := x.run()
	for _, a := range c {
		x.done.Damaged = append(a.Damaged, x.done.Damaged...)
	}
	return x.done, err
}

type streaming struct {
	chain Chain
	sel   Selection
	s     *sections
	done  Selected
}

func (x *streaming) json(kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return mail.Wrap("backup.stream", err)
	}
	return x.s.write(kind, 0, 0, b)
}

func (x *streaming) damage(d Damage) {
	if len(x.done.Damaged) < 1000 {
		x.done.Damaged = append(x.done.Damaged, d)
	}
}

func (x *streaming) run() error {
	newest := x.chain[0]
	if err := x.json(secHead, newest.Head); err != nil {
		return err
	}
	whole := x.sel.Account == "" && !x.sel.partial()
	if whole {
		if err := x.copy(newest, newest.shared, "what is shared of the directory is damaged"); err != nil {
			return err
		}
	}
	for _, a := range newest.accounts {
		if x.sel.Account != "" && !strings.EqualFold(x.sel.Account, a.info.Address) {
			continue
		}
		if err := x.account(newest, a); err != nil {
			return err
		}
	}
	x.s.account = 0
	if whole {
		if err := x.queue(newest); err != nil {
			return err
		}
	}
	return x.json(secEnd, total{Accounts: x.done.Accounts, Messages: x.done.Messages, Bytes: x.done.Bytes, Queue: x.done.Queue})
}

// copy passes sections on as they are.
func (x *streaming) copy(a *Archive, list []int64, text string) error {
	for _, at := range list {
		h, b, err := a.payload(at)
		if err != nil {
			x.damage(Damage{Archive: a.Name, Offset: at, Text: text})
			continue
		}
		if err := x.s.write(h.kind, h.id, h.part, b); err != nil {
			return err
		}
	}
	return nil
}

// account passes an account on.
func (x *streaming) account(newest *Archive, a *indexed) error {
	x.s.account = a.id
	if !a.known {
		return nil // named already; without its mailboxes nobody knows where its messages were
	}
	info := a.info
	info.Partial = x.sel.partial()
	if err := x.json(secAccount, info); err != nil {
		return err
	}
	if a.rows >= 0 {
		if err := x.copy(newest, []int64{a.rows}, info.Address+": its settings and password are damaged"); err != nil {
			return err
		}
	} else {
		x.damage(Damage{Archive: newest.Name, Account: info.Address, Text: "its settings and password are missing"})
	}
	x.done.Accounts++
	names := map[store.MailboxID]string{}
	for _, m := range info.Mail.Mailboxes {
		names[m.ID] = m.Name
	}
	list := newest.listed(a)
	slices.SortStableFunc(list, func(p, q store.DumpedEntry) int { return cmp.Compare(p.Email, q.Email) })
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].Email == list[i].Email {
			j++
		}
		places := list[i:j]
		i = j
		if x.sel.Mailbox != "" {
			places = slices.DeleteFunc(slices.Clone(places), func(e store.DumpedEntry) bool { return !sameMailbox(names[e.Mailbox], x.sel.Mailbox) })
		}
		if len(places) == 0 || a.gone[places[0].Email] {
			continue
		}
		if err := x.message(&info, a.id, places); err != nil {
			return err
		}
	}
	return x.json(secAccounted, total{})
}

func sameMailbox(name, wanted string) bool {
	clean, err := store.CleanName(wanted)
	return err == nil && clean == name
}

// message passes one message on, from whichever archive has it whole.
func (x *streaming) message(info *account, id mail.AccountID, places []store.DumpedEntry) error {
	e := places[0].Email
	d := Damage{Account: info.Address, Message: uint64(e), Text: "it is in none of the archives"}
	for _, a := range x.chain {
		of := a.byID[id]
		if of == nil {
			continue
		}
		at, ok := of.find(e)
		if !ok {
			continue
		}
		d.Archive, d.Offset = a.Name, at
		whole, err := x.from(a, at, places)
		if err != nil || whole {
			return err
		}
		d.Text = "it is damaged"
	}
	x.damage(d)
	return nil
}

// from passes on the message at an offset; false when it is damaged. It reads all of it before it writes.
func (x *streaming) from(a *Archive, at int64, places []store.DumpedEntry) (whole bool, err error) {
	h, b, err := a.payload(at)
	if err != nil {
		return false, nil
	}
	l, err := decodeLetter(b)
	if err != nil {
		return false, nil
	}
	var size int64
	if h.kind == secMessage {
		e, err := store.ParseEmailRow(l.row, places[0].Email)
		if err != nil {
			return false, nil
		}
		if !x.sel.wants(e) {
			return true, nil
		}
		size = e.Size
	}
	rest := l.size - int64(len(l.body))
	if a.bodyParts(&h, at, rest, func(uint32, []byte) error { return nil }) != nil {
		return false, nil
	}
	l.entries = places
	if err := x.s.write(h.kind, h.id, 0, l.encode()); err != nil {
		return true, err
	}
	x.done.Bytes += size
	if h.kind == secMessage {
		x.done.Messages++
	} else {
		x.done.Queue++
	}
	return true, a.bodyParts(&h, at, rest, func(part uint32, b []byte) error { return x.s.write(secBody, h.id, part, b) })
}

func (x *streaming) queue(a *Archive) error {
	for _, at := range a.queue {
		ok, err := x.from(a, at, nil)
		if err != nil {
			return err
		}
		if !ok {
			x.damage(Damage{Archive: a.Name, Offset: at, Text: "an item of the queue is damaged"})
		}
	}
	return nil
}

// wants tells whether a message is selected.
func (s *Selection) wants(e *store.Email) bool {
	if !s.Since.IsZero() && e.InternalDate.Before(s.Since) || !s.Before.IsZero() && !e.InternalDate.Before(s.Before) {
		return false
	}
	return s.Message == "" || named(e, s.Message)
}

func named(e *store.Email, name string) bool {
	if id, ok := mail.ParseID(name); ok {
		return id == e.Blob
	}
	if strings.HasPrefix(name, "<") {
		return e.Root != nil && e.Root.Envelope != nil && strings.TrimSpace(e.Root.Envelope.MessageID) == name
	}
	n, err := parseNumber(name)
	return err == nil && n == uint64(e.ID)
}
