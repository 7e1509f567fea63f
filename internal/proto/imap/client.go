package imap

import "strings"

// Arguments are those of one command: Login, Fetch, Search and so on.
type Arguments interface{ encode(e *Encoder) }

// Command writes a command as a client does; the message of an Append follows with Message.
func (e *Encoder) Command(tag, name string, a Arguments) {
	e.raw(tag)
	e.byte(' ')
	e.raw(name)
	a.encode(e)
	if _, isAppend := a.(Append); !isAppend {
		e.crlf()
	}
}

func (None) encode(*Encoder) {}

func (l Login) encode(e *Encoder) {
	e.byte(' ')
	e.astr(l.User)
	e.byte(' ')
	e.astr(l.Password)
}

func (a Authenticate) encode(e *Encoder) {
	e.byte(' ')
	e.raw(a.Mechanism)
	if a.Initial != "" {
		e.byte(' ')
		e.raw(a.Initial)
	}
}

func (m Mailbox) encode(e *Encoder) {
	e.byte(' ')
	e.mailbox(m.Name)
}

func (c Create) encode(e *Encoder) {
	e.byte(' ')
	e.mailbox(c.Name)
	if len(c.Use) > 0 {
		e.raw(" (USE ")
		e.words(c.Use)
		e.byte(')')
	}
}

func (r Rename) encode(e *Encoder) {
	e.byte(' ')
	e.mailbox(r.From)
	e.byte(' ')
	e.mailbox(r.To)
}

// encode ends with the header of the message's literal.
func (a Append) encode(e *Encoder) {
	e.byte(' ')
	e.mailbox(a.Mailbox)
	if len(a.Flags) > 0 {
		e.byte(' ')
		e.words(a.Flags)
	}
	if !a.Date.IsZero() {
		e.byte(' ')
		e.room()
		e.buf = AppendDateTime(e.buf, a.Date)
	}
	e.byte(' ')
	e.literalHeader(a.Size)
}

func (s Store) encode(e *Encoder) {
	e.byte(' ')
	e.set(s.Set)
	e.byte(' ')
	e.raw([...]string{"FLAGS", "+FLAGS", "-FLAGS"}[s.Op])
	if s.Silent {
		e.raw(".SILENT")
	}
	e.byte(' ')
	e.words(s.Flags)
}

func (e *Encoder) set(s SeqSet) {
	for len(s) > 0 {
		n := min(len(s), 64)
		e.room()
		e.buf = s[:n].AppendTo(e.buf)
		if s = s[n:]; len(s) > 0 {
			e.byte(',')
		}
	}
}

func (c Copy) encode(e *Encoder) {
	e.byte(' ')
	e.set(c.Set)
	e.byte(' ')
	e.mailbox(c.Mailbox)
}

func (s Set) encode(e *Encoder) {
	e.byte(' ')
	e.set(s.Set)
}

func (id ID) encode(e *Encoder) {
	e.byte(' ')
	e.idFields(id.Fields)
}

func (n Enable) encode(e *Encoder) {
	for _, c := range n.Capabilities {
		e.byte(' ')
		e.raw(c)
	}
}

func (s Status) encode(e *Encoder) {
	e.byte(' ')
	e.mailbox(s.Mailbox)
	e.byte(' ')
	e.statusItems(s.Items)
}

func (e *Encoder) statusItems(items []StatusItem) {
	e.open()
	for _, i := range items {
		e.item()
		e.raw(i.String())
	}
	e.close()
}

func (l List) encode(e *Encoder) {
	e.byte(' ')
	if l.Extended && l.Select != 0 {
		e.listOptions(l.Select, nil)
		e.byte(' ')
	}
	e.mailbox(l.Reference)
	e.byte(' ')
	if l.Extended {
		e.open()
		for _, p := range l.Patterns {
			e.item()
			e.str(EncodeMailbox(p))
		}
		e.close()
		e.raw(" RETURN ")
		e.listOptions(l.Return, l.Status)
		return
	}
	for _, p := range l.Patterns {
		e.str(EncodeMailbox(p))
	}
}

func (e *Encoder) listOptions(o ListOption, status []StatusItem) {
	e.open()
	for i, n := range listOptionNames {
		if o&(1<<i) != 0 {
			e.item()
			e.raw(n)
		}
	}
	if len(status) > 0 {
		e.item()
		e.raw("STATUS ")
		e.statusItems(status)
		e.inItem = true
	}
	e.close()
}

func (f Fetch) encode(e *Encoder) {
	e.byte(' ')
	e.set(f.Set)
	e.byte(' ')
	e.open()
	for _, i := range f.Items {
		e.item()
		e.fetchAtt(i)
	}
	e.close()
}

func (e *Encoder) fetchAtt(i FetchItem) {
	if i.Kind != FetchBody {
		e.raw(fetchNames[i.Kind])
		return
	}
	if i.Peek {
		e.raw("BODY.PEEK")
	} else {
		e.raw("BODY")
	}
	e.room()
	e.buf = i.Section.appendTo(e.buf)
	if i.Partial != nil {
		e.byte('<')
		e.number(uint64(i.Partial.Offset))
		e.byte('.')
		e.number(uint64(i.Partial.Count))
		e.byte('>')
	}
}

func (s Search) encode(e *Encoder) {
	if s.Extended {
		e.raw(" RETURN ")
		e.open()
		for i, n := range returnNames {
			if s.Return&(1<<i) != 0 {
				e.item()
				e.raw(n)
			}
		}
		e.close()
	}
	if s.Charset != "" {
		e.raw(" CHARSET ")
		e.astr(s.Charset)
	}
	e.byte(' ')
	e.searchKey(s.Key)
}

func (e *Encoder) searchKey(k SearchKey) {
	switch k.Op {
	case SearchAnd:
		e.open()
		for _, sub := range k.Keys {
			e.item()
			e.searchKey(sub)
			e.inItem = true
		}
		e.close()
		return
	case SearchSeq:
		e.set(k.Set)
		return
	}
	e.raw(k.word())
	switch k.Op {
	case SearchUID:
		e.byte(' ')
		e.set(k.Set)
	case SearchNot, SearchOr:
		for _, sub := range k.Keys {
			e.byte(' ')
			e.searchKey(sub)
		}
	case SearchHeader:
		e.byte(' ')
		e.astr(k.Field)
		e.byte(' ')
		e.astr(k.Text)
	case SearchBody, SearchText:
		e.byte(' ')
		e.astr(k.Text)
	case SearchFlag, SearchNoFlag:
		if !strings.HasPrefix(k.Text, `\`) {
			e.byte(' ')
			e.raw(k.Text)
		}
	case SearchLarger, SearchSmaller:
		e.byte(' ')
		e.number(uint64(k.Number))
	case SearchBefore, SearchOn, SearchSince, SearchSentBefore, SearchSentOn, SearchSentSince:
		e.byte(' ')
		e.raw(k.Date.Format("2-Jan-2006"))
	}
}

// word gives the word that a key begins with.
func (k SearchKey) word() string {
	switch k.Op {
	case SearchHeader:
		return "HEADER"
	case SearchFlag, SearchNoFlag:
		if !strings.HasPrefix(k.Text, `\`) {
			return [...]string{"KEYWORD", "UNKEYWORD"}[k.Op-SearchFlag]
		}
	}
	for word, w := range searchWords {
		if w.Op == k.Op && w.Text == k.Text || w.Op == k.Op && k.Op != SearchFlag && k.Op != SearchNoFlag {
			return word
		}
	}
	return "ALL"
}
