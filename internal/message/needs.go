package message

import (
	"bytes"
	"encoding/binary"

	"postel/internal/mail"
)

// MaxLineOctets is how long a line may be without its end (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1).
const MaxLineOctets = 998

// need is what octets have that not every way carries.
type need uint8

const (
	wide     need = 1 << iota // octets above 127
	longLine                  // more than MaxLineOctets
	odd                       // NUL or a bare CR; only looked for on behalf of Recode
)

// needs is what Recode must know of a part beside its place in the tree.
type needs struct {
	header, body need // of a multipart, body is what stands around its parts
	fixed        bool // its header says something else than the tree, so that it cannot be encoded
}

// needsOf gives the needs of a part to write to; what is written is lost where nobody asked for it.
func (p *Parser) needsOf(part *Part) *needs {
	if p.needs == nil {
		return new(needs)
	}
	n := p.needs[part]
	if n == nil {
		n = new(needs)
		p.needs[part] = n
	}
	return n
}

// found notes a need of the current line.
func (p *Parser) found(n need) {
	switch {
	case n&wide != 0 && p.inHeader:
		p.content |= mail.EightBitHeader
	case n&wide != 0:
		p.content |= mail.EightBitBody
	}
	if n&longLine != 0 {
		p.content |= mail.LongLines
	}
	if p.needs == nil {
		return
	}
	of := p.needsOf(p.top().part)
	if p.inHeader {
		of.header |= n
	} else {
		of.body |= n
	}
}

// look notes what a piece of a line needs, before it is consumed.
func (p *Parser) look(piece []byte, done bool) {
	var n need
	if !p.ascii && isWide(piece) {
		n |= wide
	}
	length := p.lineLen + len(piece)
	if done {
		length--
		if k := len(piece); k > 1 && piece[k-2] == '\r' || k == 1 && p.lineLen > 0 && p.last == '\r' {
			length--
		}
	}
	if length > MaxLineOctets && (done || length > MaxLineOctets+1) { // the last octet may be the CR of its end
		n |= longLine
	}
	if p.needs != nil && p.isOdd(piece, done) {
		n |= odd
	}
	if n != 0 {
		p.found(n)
	}
}

// isOdd looks for NUL, and for CR without LF behind it; one at the end of a piece is told by the next piece.
func (p *Parser) isOdd(piece []byte, done bool) bool {
	if p.lineLen > 0 && p.last == '\r' && piece[0] != '\n' {
		return true
	}
	text := piece
	if done {
		text = bytes.TrimSuffix(piece[:len(piece)-1], lineEnd[:1])
	} else {
		text = bytes.TrimSuffix(piece, lineEnd[:1])
	}
	return bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0
}

var lineEnd = []byte("\r\n")

// lookDelimiter is look for a boundary line, which nothing can be changed of: the part behind it takes the blame.
func (p *Parser) lookDelimiter(line []byte) {
	if !isWide(line) && len(line) <= MaxLineOctets {
		return
	}
	p.content |= mail.EightBitBody
	p.needsOf(p.stack[0].part).fixed = true
	p.needsOf(p.stack[0].part).header |= wide
}

// isWide tells whether there is an octet above 127.
func isWide(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b)&0x8080808080808080 != 0 {
			return true
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
