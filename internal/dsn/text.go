package dsn

import (
	"fmt"
	"strings"
	"unicode"
)

// text gives the part for people, with LF line ends: for each language what to do, of whom, and what the hosts said.
func (r *Report) text(o original) string {
	list := in(r.Languages)
	var b strings.Builder
	for i, l := range list {
		if i > 0 {
			b.WriteString("\n---- " + l.name + " ----\n\n")
		}
		r.write(&b, l, o)
	}
	return b.String()
}

// write tells all in one language.
func (r *Report) write(b *strings.Builder, l *language, o original) {
	for k := range classes {
		r.section(b, l, k)
	}
	switch {
	case o.full:
		paragraph(b, "", l.whole)
	case o.cut:
		paragraph(b, "", l.large)
	case len(o.body) > 0:
		paragraph(b, "", l.header)
	}
	paragraph(b, "", fmt.Sprintf(l.system, r.ReportingMTA))
	if !r.Arrival.IsZero() {
		paragraph(b, "", fmt.Sprintf(l.came, l.date(r.Arrival)))
	}
}

// section tells of the recipients of one class.
func (r *Report) section(b *strings.Builder, l *language, k class) {
	title := true
	for _, c := range r.Recipients {
		if c.classOf() != k {
			continue
		}
		if title {
			advice := l.advice[k]
			if c.Action == Failed {
				advice += " " + l.given
			}
			paragraph(b, "", advice)
			b.WriteString("\n")
			title = false
		}
		b.WriteString("  <" + oneLine(c.Final.String()) + ">\n")
		if _, addr, ok := strings.Cut(c.Original, ";"); ok && !strings.EqualFold(strings.TrimSpace(addr), c.Final.String()) {
			b.WriteString("    " + fmt.Sprintf(l.wrote, oneLine(strings.TrimSpace(addr))) + "\n")
		}
		for _, line := range c.lines(l) {
			paragraph(b, "    ", line)
		}
		b.WriteString("\n")
	}
}

// textWidth is the most octets that a line takes in quoted-printable, where its words allow: so none is broken within.
const textWidth = 74

// paragraph writes a text in lines.
func paragraph(b *strings.Builder, indent, text string) {
	used := 0
	for word := range strings.FieldsSeq(text) {
		n := encodedLen(word)
		switch {
		case used == 0:
			b.WriteString(indent)
			used = len(indent)
		case used+1+n > textWidth && len(word) > 1: // what is shorter is punctuation, which French parts by a blank
			b.WriteString("\n" + indent)
			used = len(indent)
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += n
	}
	b.WriteByte('\n')
}

// encodedLen is how many octets a word takes in quoted-printable.
func encodedLen(word string) (n int) {
	for i := range len(word) {
		if n++; word[i] >= 0x7f || word[i] == '=' {
			n += 2
		}
	}
	return n
}

// lines gives what there is to say of a recipient.
func (c Recipient) lines(l *language) []string {
	var list []string
	if c.Reason != "" {
		list = append(list, said(c.Reason))
	}
	switch {
	case c.Diagnostic != "" && c.RemoteMTA != "":
		list = append(list, said(fmt.Sprintf(l.said, c.RemoteMTA, c.Diagnostic)))
	case c.Diagnostic != "":
		list = append(list, said(c.Diagnostic))
	case c.Reason == "":
		list = append(list, fmt.Sprintf(l.status, c.Status))
	}
	if c.Action == Delayed && !c.WillRetry.IsZero() {
		list = append(list, fmt.Sprintf(l.until, l.date(c.WillRetry)))
	}
	return list
}

// Bounds of foreign text, in octets: what a reply can be made of, and what has no blank to be folded at.
const (
	maxForeign = 4096
	maxWord    = 900
)

// said gives what a host said for people to read: nothing in it commands a terminal, or turns the direction of what we say.
func said(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, oneLine(s))
}

// oneLine keeps foreign text within one line that can be folded to lines of 998 octets.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\t' || r == '\r' || r == '\n' {
			return ' '
		}
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s[:min(len(s), maxForeign)], "?"))
	for word := range strings.FieldsSeq(s) {
		if len(word) > maxWord {
			return strings.ToValidUTF8(s[:maxWord], "")
		}
	}
	return s
}
