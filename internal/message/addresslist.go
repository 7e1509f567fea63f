package message

import (
	"strings"

	"postel/internal/mail"
)

// ParseAddressList reads an unfolded address list (RFC 5322 §3.4 with the obsolete forms of §4.4 and UTF-8 of
// RFC 6532). It takes whatever it gets: what breaks the grammar yields the nearest address, with an empty Local or
// Host when there is none. Comments are dropped; one behind a bare address is its name. At most MaxAddresses
// entries are given.
func ParseAddressList(s string) []Address {
	p := addressParser{s: s, max: MaxAddresses}
	p.list()
	return p.out
}

// CheckAddressList is ParseAddressList for what our own users send: anything outside of the grammar, and an
// address without a domain, is refused with Kind Invalid, 5.1.3, and a text that says what is wrong. An empty list
// is none.
func CheckAddressList(s string) ([]Address, error) {
	p := addressParser{s: s, max: MaxAddresses}
	p.list()
	if p.flaw != "" {
		e := mail.E("message.address", mail.Invalid, "%s", p.flaw)
		e.Code = mail.Enhanced{5, 1, 3}
		return nil, e
	}
	return p.out, nil
}

// token is an atom, a quoted string, a literal, a dot or an at sign.
type token struct {
	kind       byte // 'a', '"', '[', '.' or '@'
	text       string
	start, end int // in the source
}

type addressParser struct {
	s         string
	i         int
	max       int
	out       []Address
	flaw      string // the first departure from the grammar
	inGroup   bool
	toks      []token
	sawAt     bool // toks hold an at sign
	room      [16]token
	comment   string // the last comment that was skipped
	noQuote   bool   // no closing quote is left
	noComment bool   // no closing parenthesis is left
	noLiteral bool   // no closing bracket is left
}

func (p *addressParser) bad(flaw string) {
	if p.flaw == "" {
		p.flaw = flaw
	}
}

func (p *addressParser) list() {
	for p.skipBlank(); p.i < len(p.s); p.skipBlank() {
		if len(p.out) >= p.max {
			p.bad("too many addresses")
			return
		}
		switch p.s[p.i] {
		case ',':
			p.i++
		case ';':
			p.i++
			if !p.inGroup {
				p.bad("a semicolon outside of a group")
				continue
			}
			p.inGroup = false
			p.out = append(p.out, Address{Kind: GroupEnd})
		default:
			p.element()
		}
	}
	if p.inGroup {
		p.bad("a group without its semicolon")
		p.out = append(p.out, Address{Kind: GroupEnd})
	}
}

// element reads one mailbox, or the name of a group with its colon. It leaves the separator.
func (p *addressParser) element() {
	p.toks, p.sawAt, p.comment = p.room[:0], false, ""
	for p.skipBlank(); p.i < len(p.s); p.skipBlank() {
		switch c := p.s[p.i]; c {
		case ',', ';':
			p.bare()
			return
		case ':':
			p.i++
			if p.inGroup || p.sawAt || len(p.toks) == 0 {
				p.bad("a colon that starts no group")
				continue
			}
			p.inGroup = true
			p.out = append(p.out, Address{Kind: GroupStart, Name: p.phrase()})
			return
		case '<':
			p.angle()
			return
		default:
			p.token(c)
		}
	}
	p.bare()
}

// bare ends an element that had no angle brackets: addr-spec, with a comment as its name.
func (p *addressParser) bare() {
	if len(p.toks) == 0 {
		return
	}
	a := p.spec(p.toks)
	a.Name = p.comment
	p.out = append(p.out, a)
}

// angle reads angle-addr with its obsolete route (RFC 5322 §4.4) behind a display name.
func (p *addressParser) angle() {
	if p.sawAt {
		p.bad("an unquoted @ in a display name")
	}
	name := p.phrase()
	p.i++
	if p.skipBlank(); p.i < len(p.s) && p.s[p.i] == '@' {
		p.route()
	}
	p.toks = p.room[:0]
	closed := false
	for p.skipBlank(); p.i < len(p.s) && !closed; p.skipBlank() {
		switch c := p.s[p.i]; c {
		case '>':
			p.i++
			closed = true
		case ',', ';':
			p.bad("an angle bracket that is not closed")
			closed = true
		case '<', ':':
			p.bad("a stray character in angle brackets")
			p.i++
		default:
			p.token(c)
		}
	}
	if !closed {
		p.bad("an angle bracket that is not closed")
	}
	if len(p.toks) == 0 {
		p.bad("empty angle brackets")
	}
	if name != "" || len(p.toks) > 0 {
		a := p.spec(p.toks)
		a.Name = name
		p.out = append(p.out, a)
	}
	p.behindAngle()
}

// behindAngle skips what stands between a closing angle bracket and the separator.
func (p *addressParser) behindAngle() {
	for p.skipBlank(); p.i < len(p.s); p.skipBlank() {
		c := p.s[p.i]
		if c == ',' || c == ';' {
			return
		}
		p.bad("text behind an angle bracket; addresses are parted by commas")
		if p.token(c); c == ':' || c == '<' {
			p.i++
		}
		p.toks = p.room[:0]
	}
}

// maxRoute is how far the end of a source route is searched.
const maxRoute = 1024

// route skips obs-route, "@a,@b:".
func (p *addressParser) route() {
	rest := p.s[p.i:min(len(p.s), p.i+maxRoute)]
	colon := strings.IndexByte(rest, ':')
	if end := strings.IndexByte(rest, '>'); colon < 0 || end >= 0 && end < colon {
		p.bad("a source route without its colon")
		return
	}
	p.i += colon + 1
}

// spec joins tokens into local part and domain, which the last at sign parts.
func (p *addressParser) spec(toks []token) Address {
	at := len(toks)
	for i, t := range toks {
		if t.kind == '@' {
			if at < len(toks) {
				p.bad("more than one @ in an address")
			}
			at = i
		}
	}
	if at == len(toks) {
		p.bad("an address without a domain")
		return Address{Local: p.join(toks)}
	}
	a := Address{Local: p.joinWords(toks[:at]), Host: p.joinWords(toks[at+1:])}
	p.checkDots(toks[:at], "local part")
	p.checkDots(toks[at+1:], "domain")
	return a
}

// checkDots notes when toks are no words parted by single dots.
func (p *addressParser) checkDots(toks []token, what string) {
	for i, t := range toks {
		if i%2 == 0 == (t.kind == '.') || t.kind == '@' || t.kind == '[' && (what != "domain" || len(toks) > 1) ||
			t.kind == '"' && what == "domain" {
			p.bad("a " + what + " that breaks the grammar")
		}
	}
	if len(toks)%2 == 0 {
		p.bad("an empty or unfinished " + what)
	}
}

// joinWords joins the words and dots of a local part or domain, without the blanks that obs-local-part and obs-domain
// allow.
func (p *addressParser) joinWords(toks []token) string {
	if len(toks) == 1 {
		return toks[0].text
	}
	blanks := false
	for i := 1; i < len(toks); i++ {
		blanks = blanks || toks[i-1].kind != '.' && toks[i].kind != '.'
	}
	if blanks { // neither of them: keep the blanks, it is for people to read
		return p.join(toks)
	}
	var b strings.Builder
	for _, t := range toks {
		b.WriteString(t.text)
	}
	return b.String()
}

// phrase joins the tokens of a display name and notes what RFC 5322 does not allow there.
func (p *addressParser) phrase() string {
	for i, t := range p.toks {
		if t.kind == '[' || t.kind == '.' && i == 0 {
			p.bad("a display name that needs quotes")
		}
	}
	return p.join(p.toks)
}

// join gives the text of the tokens, a space where the source had blanks.
func (p *addressParser) join(toks []token) string {
	if len(toks) == 0 {
		return ""
	}
	same := true // the source itself has that text
	for i, t := range toks {
		same = same && t.kind != '"' && (i == 0 || t.start == toks[i-1].end || t.start == toks[i-1].end+1 && p.s[t.start-1] == ' ')
	}
	if same {
		return p.s[toks[0].start:toks[len(toks)-1].end]
	}
	var b strings.Builder
	for i, t := range toks {
		if i > 0 && t.start > toks[i-1].end && toks[i].kind != '@' && toks[i-1].kind != '@' {
			b.WriteByte(' ')
		}
		b.WriteString(t.text)
	}
	return b.String()
}
