package imap

import (
	"errors"
	"math"
	"strings"
	"unicode/utf8"

	"postel/internal/mail"
)

// maxNumber64 bounds the sizes of literals and offsets (RFC 9051 §9 number64).
const maxNumber64 = math.MaxInt64

// isAtomChar tells ATOM-CHAR (RFC 3501 §9): no space, control, wildcard, quote or closing bracket.
func isAtomChar(c byte) bool {
	switch c {
	case '(', ')', '{', ' ', '%', '*', '"', '\\', ']':
		return false
	}
	return c > 0x1f && c < 0x7f
}

func isAStringChar(c byte) bool { return isAtomChar(c) || c == ']' }

// isListChar also takes 8-bit octets: names in UTF-8 as they are, which many clients send.
func isListChar(c byte) bool { return isAStringChar(c) || c == '%' || c == '*' || c >= 0x80 }

// peek gives the next octet of the line, 0 at its end; lines hold no NUL.
func (d *Decoder) peek() byte {
	if d.failed() || d.pos >= len(d.line) {
		return 0
	}
	return d.line[d.pos]
}

// take steps over c when it is next.
func (d *Decoder) take(c byte) bool {
	if d.peek() != c || d.failed() {
		return false
	}
	d.pos++
	return true
}

func (d *Decoder) expect(c byte) bool {
	if d.take(c) {
		return true
	}
	if !d.failed() {
		d.invalid("expected " + charName(c))
	}
	return false
}

func charName(c byte) string {
	if c == ' ' {
		return "a space"
	}
	return string(rune(c))
}

// sp is exactly one space.
func (d *Decoder) sp() bool { return d.expect(' ') }

// word takes the octets that is says, at least one.
func (d *Decoder) word(is func(byte) bool, what string) string {
	start := d.pos
	for d.pos < len(d.line) && is(d.line[d.pos]) {
		d.pos++
	}
	if d.failed() || d.pos == start {
		d.invalid("expected " + what)
		return ""
	}
	return string(d.line[start:d.pos])
}

// tag is 1*<any ASTRING-CHAR except "+">, here of at most 128.
func (d *Decoder) tag() string {
	t := d.word(func(c byte) bool { return isAStringChar(c) && c != '+' }, "a tag")
	if len(t) > 128 {
		d.invalid("tag is too long")
		return ""
	}
	return t
}

func (d *Decoder) atom() string { return d.word(isAtomChar, "an atom") }

// keyword is an atom in capitals: names of items, options, keys.
func (d *Decoder) keyword() string { return strings.ToUpper(d.atom()) }

// astring is 1*ASTRING-CHAR or a string.
func (d *Decoder) astring() string {
	switch c := d.peek(); {
	case c == '"':
		return d.quoted()
	case c == '{':
		return d.literal()
	}
	return d.word(isAStringChar, "a string")
}

// string is quoted or a literal.
func (d *Decoder) string() string {
	switch d.peek() {
	case '"':
		return d.quoted()
	case '{':
		return d.literal()
	}
	d.invalid("expected a quoted string or a literal")
	return ""
}

// nstring is a string or NIL, which gives false.
func (d *Decoder) nstring() (string, bool) {
	if d.null() {
		return "", false
	}
	return d.string(), true
}

// null steps over NIL when it is next.
func (d *Decoder) null() bool {
	if len(d.line)-d.pos < 3 || d.failed() || !strings.EqualFold(string(d.line[d.pos:d.pos+3]), "NIL") {
		return false
	}
	if len(d.line) > d.pos+3 && isAStringChar(d.line[d.pos+3]) {
		return false
	}
	d.pos += 3
	return true
}

// quoted takes 8-bit octets too, which RFC 3501 §9 TEXT-CHAR has not: clients send UTF-8 here.
func (d *Decoder) quoted() string {
	if !d.expect('"') {
		return ""
	}
	var b strings.Builder
	for start := d.pos; d.pos < len(d.line); d.pos++ {
		switch d.line[d.pos] {
		case '"':
			b.Write(d.line[start:d.pos])
			d.pos++
			return b.String()
		case '\\':
			b.Write(d.line[start:d.pos])
			d.pos++
			start = d.pos
			if d.pos >= len(d.line) || d.line[d.pos] != '"' && d.line[d.pos] != '\\' {
				d.invalid("bad escape in a quoted string")
				return ""
			}
		}
	}
	d.invalid("quoted string without its end")
	return ""
}

var errNumber = errors.New("not a number within range")

// parseNumber reads decimal digits and nothing else.
func parseNumber(b []byte, most uint64) (int64, error) {
	if len(b) == 0 || len(b) > 19 {
		return 0, errNumber
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, errNumber
		}
		n = n*10 + uint64(c-'0')
	}
	if n > most {
		return 0, errNumber
	}
	return int64(n), nil
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number is an unsigned 32-bit integer.
func (d *Decoder) number() uint32 { return uint32(d.numberTo(math.MaxUint32)) }

// number64 is a 63-bit integer (RFC 9051 §9).
func (d *Decoder) number64() int64 { return d.numberTo(maxNumber64) }

func (d *Decoder) numberTo(most uint64) int64 {
	start := d.pos
	for isDigit(d.peek()) {
		d.pos++
	}
	n, err := parseNumber(d.line[start:d.pos], most)
	if err != nil {
		d.invalid("expected a number")
		return 0
	}
	return n
}

// nzNumber is a number that is not zero.
func (d *Decoder) nzNumber() uint32 {
	n := d.number()
	if n == 0 {
		d.invalid("expected a number that is not zero")
	}
	return n
}

// list is "(" [item *(SP item)] ")", of at most most items.
func (d *Decoder) list(most int, item func()) {
	if !d.expect('(') || d.take(')') {
		return
	}
	for n := 0; !d.failed(); n++ {
		if n >= most {
			d.fail(mail.TooMany, "more than %d items in a list", most)
			return
		}
		item()
		if d.take(')') {
			return
		}
		d.sp()
	}
}

// enter goes one level deeper; leave must follow.
func (d *Decoder) enter() bool {
	d.depth++
	if d.depth > maxDepth {
		d.fail(mail.TooMany, "nested more than %d deep", maxDepth)
	}
	return !d.failed()
}

func (d *Decoder) leave() { d.depth-- }

// text checks that s is UTF-8.
func (d *Decoder) text(s string) string {
	if !utf8.ValidString(s) {
		d.invalid("not UTF-8")
		return ""
	}
	return s
}
