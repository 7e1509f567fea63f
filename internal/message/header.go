package message

import (
	"io"
	"iter"
	"slices"
	"strings"
)

// Limits of a header section.
const (
	// MaxHeader is the largest header section that is taken, in octets.
	MaxHeader = 1 << 20
	// MaxFields is the largest number of fields in one header section.
	MaxFields = 10000
)

// Field is one header field with its exact octets: name, colon, value, folding and line end. A line that is no
// field is kept as a Field without a name.
type Field struct {
	raw  string
	name int // length of the name; 0 when the line is no field
}

// Raw gives the octets of the field, line ends included.
func (f Field) Raw() string { return f.raw }

// Name gives the name as it was written; "" when the line is no field.
func (f Field) Name() string { return f.raw[:f.name] }

// Is tells whether the field has the given name, in any case.
func (f Field) Is(name string) bool {
	return f.name == len(name) && f.name > 0 && strings.EqualFold(f.raw[:f.name], name)
}

// Value gives what stands behind the colon, unfolded (RFC 5322 §2.2.3) and without blanks around it; encoded words
// are left alone. NUL octets are dropped. A line that is no field has the value "".
func (f Field) Value() string {
	if f.name == 0 {
		return ""
	}
	return unfold(f.raw[f.name:])
}

// Text gives the value with encoded words decoded, as valid UTF-8 without line ends.
func (f Field) Text() string { return DecodeText(f.Value()) }

// unfold takes the value out of s, which starts behind the name, before the colon.
func unfold(s string) string {
	s = s[strings.IndexByte(s, ':')+1:]
	s = strings.Trim(s, " \t\r\n")
	if strings.IndexByte(s, '\n') < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, 0) < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		if c := s[i]; c != '\r' && c != '\n' && c != 0 {
			b = append(b, c)
		}
	}
	return string(b)
}

// newField finds the name in raw (RFC 5322 §3.6.8; blanks before the colon are obsolete but taken, §4.5).
func newField(raw string) Field {
	for i := range len(raw) {
		switch c := raw[i]; {
		case c == ':':
			return Field{raw: raw, name: i}
		case c > ' ' && c < 0x7f:
		case (c == ' ' || c == '\t') && i > 0 && strings.HasPrefix(strings.TrimLeft(raw[i:], " \t"), ":"):
			return Field{raw: raw, name: i}
		default:
			return Field{raw: raw}
		}
	}
	return Field{raw: raw}
}

// cutField cuts the first field, continuation lines included, off a header section without its empty line.
func cutField(s string) (raw, rest string) {
	for i := 0; ; {
		n := strings.IndexByte(s[i:], '\n')
		if n < 0 {
			return s, ""
		}
		i += n + 1
		if i == len(s) || s[i] != ' ' && s[i] != '\t' {
			return s[:i], s[i:]
		}
	}
}

// Fields gives the fields of a header section, one after the other and without a Header, as ParseHeader would.
func Fields(section string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		n := 0
		for rest := section[:sectionEnd(section)]; rest != ""; n++ {
			var raw string
			if n >= MaxFields {
				yield(Field{raw: rest})
				return
			}
			if raw, rest = cutField(rest); !yield(newField(raw)) {
				return
			}
		}
	}
}

// Header is a header section: fields in order, and the empty line at its end. The zero value is an empty section
// that ends with an empty line when it is written. Not safe for concurrent changes.
type Header struct {
	fields []Field
	end    string // the empty line as read
	noEnd  bool   // the section was read and ended without an empty line
}

// ParseHeader reads the header section at the front of s and tells where the body starts. The section goes up to
// the first empty line, or to the end of s. Fields beyond MaxFields are kept together as one without a name.
func ParseHeader(s string) (h Header, body int) {
	end := sectionEnd(s)
	body = end
	switch {
	case strings.HasPrefix(s[end:], "\r\n"):
		h.end, body = s[end:end+2], end+2
	case strings.HasPrefix(s[end:], "\n"):
		h.end, body = s[end:end+1], end+1
	default:
		h.noEnd = true
	}
	if end > 0 { // room for a usual header at once
		h.fields = make([]Field, 0, min(strings.Count(s[:end], "\n")+1, 32))
	}
	for rest := s[:end]; rest != ""; {
		var raw string
		if len(h.fields) >= MaxFields {
			h.fields = append(h.fields, Field{raw: rest})
			break
		}
		raw, rest = cutField(rest)
		h.fields = append(h.fields, newField(raw))
	}
	return h, body
}

// sectionEnd gives the position of the first empty line, or the length of s.
func sectionEnd(s string) int {
	for i := 0; i < len(s); {
		if s[i] == '\n' || s[i] == '\r' && i+1 < len(s) && s[i+1] == '\n' {
			return i
		}
		n := strings.IndexByte(s[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
	}
	return len(s)
}

// Len gives the number of fields, lines that are no fields included.
func (h *Header) Len() int { return len(h.fields) }

// Size gives the number of octets that WriteTo writes.
func (h *Header) Size() int {
	n := len(h.ending())
	for _, f := range h.fields {
		n += len(f.raw)
	}
	return n
}

// All gives the fields in order.
func (h *Header) All() iter.Seq[Field] { return slices.Values(h.fields) }

// Fields gives the fields of one name in order.
func (h *Header) Fields(name string) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for _, f := range h.fields {
			if f.Is(name) && !yield(f) {
				return
			}
		}
	}
}

// Has tells whether there is a field of that name.
func (h *Header) Has(name string) bool { return h.Count(name) > 0 }

// Count gives the number of fields of that name.
func (h *Header) Count(name string) int {
	n := 0
	for range h.Fields(name) {
		n++
	}
	return n
}

// Get gives the unfolded value of the first field of that name, or "".
func (h *Header) Get(name string) string {
	for f := range h.Fields(name) {
		return f.Value()
	}
	return ""
}

// Text is Get with encoded words decoded.
func (h *Header) Text(name string) string { return DecodeText(h.Get(name)) }

// ASCII tells whether the section holds no octet above 127, so that it needs no SMTPUTF8 (RFC 6531 §3.4).
func (h *Header) ASCII() bool {
	for _, f := range h.fields {
		if !isASCII(f.raw) {
			return false
		}
	}
	return true
}

// Add puts a field behind the others. The value is written as it is, save that line ends in it become folding, so
// that no value can start another field; see FoldText for text that needs encoding.
func (h *Header) Add(name, value string) {
	if n := len(h.fields); n > 0 && !strings.HasSuffix(h.fields[n-1].raw, "\n") {
		h.fields[n-1].raw += "\r\n"
	}
	h.fields = append(h.fields, formatField(name, value))
}

// Prepend puts a field in front of all others, as trace fields want it (RFC 5322 §3.6.7). The value is written as
// with Add. It calls Mend.
func (h *Header) Prepend(name, value string) {
	h.Mend()
	h.fields = slices.Insert(h.fields, 0, formatField(name, value))
}

// Mend gives a first line that starts with a blank the name X-Stray, and tells whether there was one. Such a line
// continues a field that is not there; put behind a field of ours, as Authentication-Results, it would speak in our
// name.
func (h *Header) Mend() bool {
	if len(h.fields) == 0 || h.fields[0].raw[0] != ' ' && h.fields[0].raw[0] != '\t' {
		return false
	}
	h.fields[0] = newField("X-Stray:" + h.fields[0].raw)
	return true
}

// Del removes all fields of that name and gives their number.
func (h *Header) Del(name string) int {
	return h.DelFunc(func(f Field) bool { return f.Is(name) })
}

// DelFunc removes the fields for which drop is true and gives their number.
func (h *Header) DelFunc(drop func(Field) bool) int {
	n := len(h.fields)
	h.fields = slices.DeleteFunc(h.fields, drop)
	return n - len(h.fields)
}

// formatField builds a field whose lines all belong to it.
func formatField(name, value string) Field {
	value = strings.Trim(value, " \t\r\n")
	if strings.ContainsAny(value, "\r\n\x00") {
		value = refold(value)
	}
	return newField(name + ": " + value + "\r\n")
}

// refold turns every run of line ends, with the blanks behind it, into CRLF and these blanks or one space.
func refold(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "\r\n\x00")
		if i < 0 {
			i = len(s)
		}
		b.WriteString(s[:i])
		rest := strings.TrimLeft(s[i:], "\r\n\x00")
		blank := rest[:len(rest)-len(strings.TrimLeft(rest, " \t"))]
		s = rest[len(blank):]
		if s == "" || strings.ContainsAny(s[:1], "\r\n\x00") {
			continue // nothing but blanks on that line
		}
		if blank == "" {
			blank = " "
		}
		b.WriteString("\r\n" + blank)
	}
	return b.String()
}

func (h *Header) ending() string {
	switch {
	case h.noEnd:
		return ""
	case h.end == "":
		return "\r\n"
	}
	return h.end
}

// WriteTo writes all fields and the empty line. A section that was read without an empty line is written so.
func (h *Header) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, h.String())
	return int64(n), err
}

// String gives the octets that WriteTo writes.
func (h *Header) String() string {
	var b strings.Builder
	b.Grow(h.Size())
	for _, f := range h.fields {
		b.WriteString(f.raw)
	}
	b.WriteString(h.ending())
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
