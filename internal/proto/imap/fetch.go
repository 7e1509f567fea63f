package imap

import (
	"strconv"
	"strings"

	"postel/internal/mail"
)

// FetchItem is what one item of FETCH asks (RFC 3501 §6.4.5).
type FetchItem struct {
	Kind    FetchKind
	Section Section // of FetchBody
	Peek    bool    // BODY.PEEK: \Seen stays as it is
	Partial *Partial
}

// FetchKind is the kind of a FetchItem.
type FetchKind uint8

// The kinds. FetchRFC822 and its kin differ from their BODY[…] only in the name of the answer.
const (
	FetchFlags FetchKind = iota
	FetchUID
	FetchInternalDate
	FetchSize
	FetchEnvelope
	FetchBodyStructure
	FetchStructure // BODY without a section: the structure without extension data
	FetchBody      // BODY[section]<partial>
	FetchRFC822
	FetchRFC822Header
	FetchRFC822Text
)

var fetchNames = [...]string{
	"FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY", "BODY",
	"RFC822", "RFC822.HEADER", "RFC822.TEXT",
}

// SectionText is what of a part is asked.
type SectionText uint8

// The section texts (RFC 3501 §6.4.5). The zero value is the whole message or the part's body.
const (
	SectionWhole SectionText = iota
	SectionHeader
	SectionFields    // HEADER.FIELDS
	SectionFieldsNot // HEADER.FIELDS.NOT
	SectionBodyText  // TEXT
	SectionMIME
)

var sectionNames = [...]string{"", "HEADER", "HEADER.FIELDS", "HEADER.FIELDS.NOT", "TEXT", "MIME"}

// Section is section-spec: a part, empty for the message itself, and what of it.
type Section struct {
	Part   []uint32
	Text   SectionText
	Fields []string // as given
}

// Partial asks for a range of octets.
type Partial struct {
	Offset, Count uint32 // Count is not zero
}

// Fetch is the arguments of FETCH and UID FETCH.
type Fetch struct {
	Set   SeqSet
	Items []FetchItem
}

// Fetch is FETCH set SP ("ALL" / "FULL" / "FAST" / fetch-att / "(" … ")").
func (d *Decoder) Fetch() Fetch {
	var f Fetch
	d.sp()
	f.Set = d.sequenceSet()
	d.sp()
	if d.peek() == '(' {
		d.list(maxItems, func() { f.Items = append(f.Items, d.fetchAtt()) })
		if !d.failed() && len(f.Items) == 0 {
			d.invalid("no items to fetch")
		}
	} else {
		f.Items = d.fetchMacro()
	}
	d.end()
	return f
}

// fetchMacro is a macro or one item.
func (d *Decoder) fetchMacro() []FetchItem {
	fast := []FetchItem{{Kind: FetchFlags}, {Kind: FetchInternalDate}, {Kind: FetchSize}}
	switch d.peekWord() {
	case "FAST":
		d.keyword()
		return fast
	case "ALL":
		d.keyword()
		return append(fast, FetchItem{Kind: FetchEnvelope})
	case "FULL":
		d.keyword()
		return append(fast, FetchItem{Kind: FetchEnvelope}, FetchItem{Kind: FetchStructure})
	}
	return []FetchItem{d.fetchAtt()}
}

// fetchAtt is one fetch-att.
func (d *Decoder) fetchAtt() FetchItem {
	word := strings.ToUpper(d.word(func(c byte) bool { return isAtomChar(c) && c != '[' }, "an item to fetch"))
	if d.peek() == '[' {
		item := FetchItem{Kind: FetchBody, Peek: word == "BODY.PEEK"}
		if word != "BODY" && word != "BODY.PEEK" {
			d.invalid("unknown item to fetch")
		}
		item.Section = d.section()
		item.Partial = d.partial()
		return item
	}
	for k, n := range fetchNames {
		if n == word && FetchKind(k) != FetchBody {
			return FetchItem{Kind: FetchKind(k), Peek: FetchKind(k) == FetchRFC822Header}
		}
	}
	if !d.failed() {
		d.fail(mail.Invalid, "unknown item to fetch %s", clip(word))
	}
	return FetchItem{}
}

// section is "[" [section-spec] "]".
func (d *Decoder) section() Section {
	var s Section
	d.expect('[')
	for isDigit(d.peek()) {
		if len(s.Part) >= 128 {
			d.fail(mail.TooMany, "section is too deep")
			return s
		}
		s.Part = append(s.Part, d.nzNumber())
		if !d.take('.') {
			d.expect(']')
			return s
		}
	}
	if len(s.Part) == 0 && d.take(']') {
		return s
	}
	s.Text = d.sectionText(len(s.Part) > 0)
	if s.Text == SectionFields || s.Text == SectionFieldsNot {
		d.sp()
		d.list(maxFields, func() { s.Fields = append(s.Fields, d.headerFieldName()) })
		if !d.failed() && len(s.Fields) == 0 {
			d.invalid("no header fields")
		}
	}
	d.expect(']')
	return s
}

func (d *Decoder) sectionText(part bool) SectionText {
	word := d.keyword()
	for t, n := range sectionNames {
		if n == word && n != "" && (part || SectionText(t) != SectionMIME) {
			return SectionText(t)
		}
	}
	d.invalid("unknown section")
	return 0
}

// partial is "<" number "." nz-number ">", nil when it is not there.
func (d *Decoder) partial() *Partial {
	if !d.take('<') {
		return nil
	}
	var p Partial
	p.Offset = d.number()
	d.expect('.')
	p.Count = d.nzNumber()
	d.expect('>')
	return &p
}

// AppendName writes the item as a response names it: BODY[1.MIME]<0>.
func (i FetchItem) AppendName(b []byte) []byte {
	b = append(b, fetchNames[i.Kind]...)
	if i.Kind != FetchBody {
		return b
	}
	b = i.Section.appendTo(b)
	if i.Partial != nil {
		b = append(b, '<')
		b = strconv.AppendUint(b, uint64(i.Partial.Offset), 10)
		b = append(b, '>')
	}
	return b
}

func (s Section) appendTo(b []byte) []byte {
	b = append(b, '[')
	for n, p := range s.Part {
		if n > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendUint(b, uint64(p), 10)
	}
	if s.Text != SectionWhole {
		if len(s.Part) > 0 {
			b = append(b, '.')
		}
		b = append(b, sectionNames[s.Text]...)
	}
	if len(s.Fields) > 0 {
		b = append(b, ' ', '(')
		for n, f := range s.Fields {
			if n > 0 {
				b = append(b, ' ')
			}
			b = appendAString(b, f)
		}
		b = append(b, ')')
	}
	return append(b, ']')
}

// appendAString writes printable ASCII as an atom where it can be one, else quoted.
func appendAString(b []byte, s string) []byte {
	plain := s != "" && !strings.EqualFold(s, "NIL")
	for i := range len(s) {
		plain = plain && isAStringChar(s[i])
	}
	if plain {
		return append(b, s...)
	}
	return appendQuoted(b, s)
}

func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
