package message

import (
	"strings"
	"unicode/utf8"
)

// maxTokens is the largest number of words and signs that one address is made of; what follows is left out.
const maxTokens = 4096

// token reads one token that starts with c and is neither blank, comment, nor one of , ; : < >.
func (p *addressParser) token(c byte) {
	start := p.i
	t := token{kind: 'a'}
	switch c {
	case '@', '.':
		p.i++
		t.kind, t.text = c, p.s[start:p.i]
		p.sawAt = p.sawAt || c == '@'
	case '"':
		if text, ok := p.quoted(); ok {
			t.kind, t.text = c, text
			break
		}
		p.atom()
	case '[':
		if p.literal() {
			t.kind, t.text = c, p.s[start:p.i]
			break
		}
		p.atom()
	case ',', ';', ':', '<', '>':
		if c == '>' {
			p.bad("a stray >")
			p.i++
		}
		return
	default:
		p.atom()
	}
	if t.kind == 'a' {
		t.text = p.s[start:p.i]
	}
	if len(p.toks) >= maxTokens {
		p.bad("an address that is too long")
		return
	}
	t.start, t.end = start, p.i
	p.toks = append(p.toks, t)
}

// atom skips at least one octet, and then as many as may belong to a word.
func (p *addressParser) atom() {
	start := p.i
	for p.i++; p.i < len(p.s) && strings.IndexByte("()<>[]:;@,.\" \t\r\n", p.s[p.i]) < 0; p.i++ {
	}
	if p.flaw != "" {
		return
	}
	for _, r := range p.s[start:p.i] {
		if r == utf8.RuneError || r < utf8.RuneSelf && !isAtext(byte(r)) {
			p.bad("a character that needs quotes")
		}
	}
}

// quoted reads a quoted string at p.i; false when it is not closed, so that the quote stands for itself.
func (p *addressParser) quoted() (string, bool) {
	if p.noQuote {
		return "", false
	}
	escaped := false
	for i := p.i + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			text := p.s[p.i+1 : i]
			p.i = i + 1
			if escaped {
				text = unescape(text)
			}
			return text, true
		}
	}
	p.noQuote = true
	p.bad("a quote that is not closed")
	return "", false
}

// unescape removes the backslash of each quoted pair (RFC 5322 §3.2.1).
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// literal skips a domain literal at p.i; false when it is not closed.
func (p *addressParser) literal() bool {
	n := -1
	if !p.noLiteral {
		n = strings.IndexByte(p.s[p.i:], ']')
	}
	if n < 0 {
		p.noLiteral = true
		p.bad("a bracket that is not closed")
		return false
	}
	p.i += n + 1
	return true
}

// skipBlank skips CFWS (RFC 5322 §3.2.2) and remembers the last comment.
func (p *addressParser) skipBlank() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
		case '(':
			if p.skipComment() {
				continue
			}
			p.bad("a comment that is not closed")
			p.i++ // the parenthesis stands for nothing
		case ')':
			p.bad("a stray )")
			p.i++
		default:
			return
		}
	}
}

func (p *addressParser) skipComment() bool {
	if p.noComment {
		return false
	}
	text, rest, ok := cutComment(p.s[p.i:])
	if !ok {
		p.noComment = true
		return false
	}
	p.i = len(p.s) - len(rest)
	if text != "" {
		p.comment = text
	}
	return true
}

// cutComment reads the comment, nested ones included, at the front of s and gives its text.
func cutComment(s string) (text, rest string, ok bool) {
	depth, escaped := 0, false
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				text = strings.TrimSpace(s[1:i])
				if escaped {
					text = unescape(text)
				}
				return text, s[i+1:], true
			}
		}
	}
	return "", s, false
}
