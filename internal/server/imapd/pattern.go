package imapd

import "strings"

// pattern is a compiled pattern of LIST: * stands for anything, % for anything but "/" (RFC 3501 §6.3.8). It is
// matched as an automaton whose states are bits, so that no pattern takes long.
type pattern struct {
	inbox   bool // is INBOX in any case
	n       int
	exactly map[byte][]uint64 // positions of a character
	star    []uint64
	wild    []uint64 // star or percent
}

func newPattern(s string) *pattern {
	s = collapse(s)
	words := len(s)/64 + 1
	p := &pattern{
		n: len(s), exactly: map[byte][]uint64{}, star: make([]uint64, words), wild: make([]uint64, words),
		inbox: strings.EqualFold(s, "INBOX"),
	}
	for i := range len(s) {
		switch c := s[i]; c {
		case '*':
			set64(p.star, i)
			set64(p.wild, i)
		case '%':
			set64(p.wild, i)
		default:
			if p.exactly[c] == nil {
				p.exactly[c] = make([]uint64, words)
			}
			set64(p.exactly[c], i)
		}
	}
	return p
}

// collapse makes one wildcard of several in a row, and the first level INBOX capitals.
func collapse(s string) string {
	if len(s) >= 6 && strings.EqualFold(s[:6], "INBOX/") {
		s = "INBOX" + s[5:]
	}
	b := make([]byte, 0, len(s))
	for i := range len(s) {
		n := len(b)
		if wild := s[i] == '*' || s[i] == '%'; wild && n > 0 && (b[n-1] == '*' || b[n-1] == '%') {
			if s[i] == '*' {
				b[n-1] = '*'
			}
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

func set64(b []uint64, i int) { b[i/64] |= 1 << (i % 64) }

// match tells whether a name matches as a whole.
func (p *pattern) match(name string) bool {
	if p.inbox {
		return name == "INBOX"
	}
	now, next := make([]uint64, len(p.star)), make([]uint64, len(p.star))
	now[0] = 1
	p.skipWild(now)
	for i := range len(name) {
		stay := p.wild
		if name[i] == '/' {
			stay = p.star
		}
		exactly := p.exactly[name[i]]
		carry := uint64(0)
		for w := range now {
			step := uint64(0)
			if exactly != nil {
				step = now[w] & exactly[w]
			}
			next[w] = step<<1 | carry | now[w]&stay[w]
			carry = step >> 63
		}
		p.skipWild(next)
		now, next = next, now
	}
	return now[p.n/64]&(1<<(p.n%64)) != 0
}

// skipWild lets a wildcard stand for nothing; there are never two in a row.
func (p *pattern) skipWild(states []uint64) {
	carry := uint64(0)
	for w := range states {
		step := states[w] & p.wild[w]
		states[w] |= step<<1 | carry
		carry = step >> 63
	}
}
