package backup

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"

	"postel/internal/mail"
	"postel/internal/store"
)

// Archive is an archive that is open for reading. Not safe for concurrent use.
type Archive struct {
	Head    Head
	Name    string // for people
	Damaged []Damage
	end     *total

	r        io.ReaderAt
	size     int64
	c        *codec
	accounts []*indexed
	byID     map[mail.AccountID]*indexed
	shared   []int64 // D
	queue    []int64 // Q
}

// Damage says what of an archive cannot be read.
type Damage struct {
	Archive string `json:"archive,omitempty"`
	Account string `json:"account,omitempty"`
	Message uint64 `json:"message,omitempty"` // its number in its account
	Offset  int64  `json:"offset,omitempty"`
	Text    string `json:"text"`
}

// String says it in a line.
func (d Damage) String() string {
	s := d.Text
	if d.Message != 0 {
		s = fmt.Sprintf("message %d: %s", d.Message, s)
	}
	if d.Account != "" {
		s = d.Account + ": " + s
	}
	if d.Archive != "" {
		s = d.Archive + ": " + s
	}
	return s
}

// indexed is an account in an archive.
type indexed struct {
	id       mail.AccountID
	info     account
	known    bool // info could be read
	rows     int64
	entries  []int64
	broken   bool // one of entries cannot be read
	gone     map[store.EmailID]bool
	messages []located
}

type located struct {
	email store.EmailID
	at    int64
}

// Open reads the index of an archive: the headers of its sections, and what describes accounts. What is damaged is in
// Damaged; an error is for what is no archive at all (Kind Invalid) or one of a later format (Unsupported).
func Open(name string, r io.ReaderAt, size int64) (*Archive, error) {
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	a := &Archive{Name: name, r: r, size: size, c: c, byID: map[mail.AccountID]*indexed{}}
	if err := a.index(); err != nil {
		c.close()
		return nil, err
	}
	return a, nil
}

// Close frees memory; the file is its owner's.
func (a *Archive) Close() { a.c.close() }

func (a *Archive) damage(d Damage) {
	d.Archive = a.Name
	if len(a.Damaged) < 1000 {
		a.Damaged = append(a.Damaged, d)
	}
}

// header reads the header at an offset.
func (a *Archive) header(at int64) (header, bool) {
	var b [headerSize]byte
	if n, _ := a.r.ReadAt(b[:], at); n < headerSize {
		return header{}, false
	}
	h, ok := parseHeader(b[:])
	return h, ok && at+headerSize+int64(h.stored) <= a.size
}

// payload reads the section at an offset.
func (a *Archive) payload(at int64) (header, []byte, error) {
	h, ok := a.header(at)
	if !ok {
		return h, nil, damaged("a section's header")
	}
	stored := make([]byte, h.stored)
	if _, err := a.r.ReadAt(stored, at+headerSize); err != nil && !errors.Is(err, io.EOF) {
		return h, nil, damaged("a section cannot be read")
	}
	b, err := a.c.open(&h, stored)
	return h, b, err
}

// seek finds the next section from an offset on; false at the end.
func (a *Archive) seek(from int64) (int64, bool) {
	buf := make([]byte, 64<<10)
	for from+headerSize <= a.size {
		n, _ := a.r.ReadAt(buf[:min(int64(len(buf)), a.size-from)], from)
		if n < len(mark) {
			return 0, false
		}
		i := bytes.Index(buf[:n], []byte(mark))
		if i < 0 {
			from += int64(n - len(mark) + 1)
			continue
		}
		if from += int64(i); from+headerSize > a.size {
			return 0, false
		}
		if _, ok := a.header(from); ok {
			return from, true
		}
		from++
	}
	return 0, false
}

// index goes through the headers.
func (a *Archive) index() error {
	if h, ok := a.header(0); ok && h.kind == secHead {
		_, b, err := a.payload(0)
		if err == nil && json.Unmarshal(b, &a.Head) == nil && a.Head.Format > 1 {
			return mail.E("backup.open", mail.Unsupported, "%s was written by a later version of this program", a.Name)
		}
	}
	sections, next := 0, uint64(0)
	for at := int64(0); at < a.size; {
		h, ok := a.header(at)
		if !ok {
			to, found := a.seek(at + 1)
			if !found {
				to = a.size
			}
			a.damage(Damage{Account: a.lastAddress(), Offset: at, Text: fmt.Sprintf("%d octets from %d on are damaged", to-at, at)})
			at = to
			continue
		}
		if h.number != next {
			a.damage(Damage{Account: a.lastAddress(), Offset: at, Text: fmt.Sprintf("sections %d to %d are missing", next, h.number-1)})
		}
		next = h.number + 1
		sections++
		a.note(&h, at)
		at += headerSize + int64(h.stored)
	}
	if sections == 0 {
		return mail.E("backup.open", mail.Invalid, "%s is no archive of postel backup", a.Name)
	}
	if a.end == nil {
		a.damage(Damage{Text: "it has no end: it was cut off, or its end is damaged"})
	}
	for _, x := range a.accounts {
		slices.SortStableFunc(x.messages, func(p, q located) int { return cmp.Compare(p.email, q.email) })
	}
	return nil
}

func (a *Archive) lastAddress() string {
	if n := len(a.accounts); n > 0 && a.end == nil {
		return a.accounts[n-1].info.Address
	}
	return ""
}

// of gives the account of a section, which is noted where its A is damaged.
func (a *Archive) of(id mail.AccountID) *indexed {
	if x := a.byID[id]; x != nil {
		return x
	}
	x := &indexed{id: id, rows: -1}
	a.byID[id] = x
	a.accounts = append(a.accounts, x)
	return x
}

// note takes a section into the index.
func (a *Archive) note(h *header, at int64) {
	switch h.kind {
	case secHead:
		if _, b, err := a.payload(at); err != nil || json.Unmarshal(b, &a.Head) != nil {
			a.damage(Damage{Offset: at, Text: "its head is damaged"})
		}
	case secDirectory:
		a.shared = append(a.shared, at)
	case secAccount:
		x := a.of(h.account)
		_, b, err := a.payload(at)
		if err != nil || json.Unmarshal(b, &x.info) != nil {
			a.damage(Damage{Offset: at, Text: fmt.Sprintf("the mailboxes of account number %d are damaged", h.account)})
			x.info = account{}
			return
		}
		x.known = true
	case secRows:
		a.of(h.account).rows = at
	case secEntries:
		x := a.of(h.account)
		x.entries = append(x.entries, at)
	case secMessage:
		x := a.of(h.account)
		x.messages = append(x.messages, located{store.EmailID(h.id), at})
	case secAccounted:
		var t total
		if _, b, err := a.payload(at); err == nil && json.Unmarshal(b, &t) == nil {
			x := a.of(h.account)
			x.gone = map[store.EmailID]bool{}
			for _, e := range t.Gone {
				x.gone[store.EmailID(e)] = true
			}
		}
	case secQueue:
		a.queue = append(a.queue, at)
	case secEnd:
		var t total
		if _, b, err := a.payload(at); err == nil && json.Unmarshal(b, &t) == nil {
			a.end = &t
		}
	}
}

// find gives where a message lies.
func (x *indexed) find(e store.EmailID) (int64, bool) {
	i, ok := slices.BinarySearchFunc(x.messages, e, func(l located, e store.EmailID) int { return cmp.Compare(l.email, e) })
	if !ok {
		return 0, false
	}
	return x.messages[i].at, true
}

// listed reads the entries of an account.
func (a *Archive) listed(x *indexed) []store.DumpedEntry {
	var all []store.DumpedEntry
	x.broken = false
	for _, at := range x.entries {
		_, b, err := a.payload(at)
		var some []store.DumpedEntry
		if err == nil {
			some, err = decodeEntries(b)
		}
		if err != nil {
			x.broken = true
			a.damage(Damage{Account: x.info.Address, Offset: at, Text: "a list of its entries is damaged"})
			continue
		}
		all = append(all, some...)
	}
	return all
}

// bodyParts calls fn with each further part of the body of the message at an offset, checked.
func (a *Archive) bodyParts(h *header, at, left int64, fn func(part uint32, b []byte) error) error {
	stored := h.stored
	for part := uint32(1); left > 0; part++ {
		at += headerSize + int64(stored)
		next, b, err := a.payload(at)
		if err != nil {
			return err
		}
		if next.kind != secBody || next.account != h.account || next.id != h.id || next.part != part || int64(len(b)) > left || len(b) == 0 {
			return damaged("a part of the body is missing")
		}
		left -= int64(len(b))
		stored = next.stored
		if err := fn(part, b); err != nil {
			return err
		}
	}
	return nil
}

// Base gives what an archive that builds on this one needs. Kind Invalid when it is damaged.
func (a *Archive) Base() (*Base, error) {
	b := &Base{Head: a.Head, accounts: map[mail.AccountID]baseAccount{}}
	for _, x := range a.accounts {
		list := a.listed(x)
		emails := make([]store.EmailID, 0, len(list))
		for i := range list {
			emails = append(emails, list[i].Email)
		}
		slices.Sort(emails)
		b.accounts[x.id] = baseAccount{inboxValidity(&x.info.Mail), slices.Compact(emails)}
	}
	if len(a.Damaged) > 0 {
		return nil, mail.E("backup.base", mail.Invalid, "%s: build on a whole archive, or make one that builds on none", a.Damaged[0])
	}
	return b, nil
}
