package message

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Fold gives s in the form in which text is compared without regard to case, in the manner of i;unicode-casemap
// (RFC 5051): title case, compatibility decomposition, lower case. Invalid UTF-8 becomes U+FFFD.
func Fold(s string) string { return string(AppendFold(nil, []byte(s))) }

// AppendFold appends the folded form of b, which holds whole characters, to dst.
func AppendFold(dst, b []byte) []byte {
	dst = slices.Grow(dst, len(b))
	for len(b) > 0 {
		n := len(dst)
		room := dst[n:min(cap(dst), n+len(b))]
		ascii := foldASCII(room, b)
		dst, b = dst[:n+ascii], b[ascii:]
		if len(b) == 0 {
			break
		}
		if b[0] < utf8.RuneSelf { // no room was left
			dst = slices.Grow(dst, len(b))
			continue
		}
		r, size := utf8.DecodeRune(b)
		dst = appendFoldRune(dst, r)
		b = b[size:]
	}
	return dst
}

// foldASCII folds the ASCII text at the front of src into dst, as far as there is room, and gives its length.
func foldASCII(dst, src []byte) int {
	src = src[:min(len(src), len(dst))]
	for i, c := range src {
		if c >= utf8.RuneSelf {
			return i
		}
		if c-'A' < 26 {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
	return len(src)
}

func appendFoldRune(dst []byte, r rune) []byte {
	r = unicode.ToTitle(r)
	var room [utf8.UTFMax]byte
	full := norm.NFKD.Properties(room[:utf8.EncodeRune(room[:], r)]).Decomposition()
	if full == nil {
		return utf8.AppendRune(dst, unicode.ToLower(r))
	}
	for len(full) > 0 {
		d, size := utf8.DecodeRune(full)
		dst = utf8.AppendRune(dst, unicode.ToLower(d))
		full = full[size:]
	}
	return dst
}

// Finder looks for a text in pieces. It may be used again and again, but not concurrently.
type Finder struct {
	needle []byte
	folded []byte
	tail   []byte // what the pieces so far ended with, shorter than needle
}

// NewFinder makes a Finder for a text in UTF-8. The empty text is found in every piece.
func NewFinder(text string) *Finder { return &Finder{needle: AppendFold(nil, []byte(text))} }

// Needle gives the text, folded. Do not change it.
func (f *Finder) Needle() []byte { return f.needle }

// Reset forgets the text that was being looked at.
func (f *Finder) Reset() { f.tail = f.tail[:0] }

// Find tells whether the text ends in this piece of another one. After true, Reset is to be called.
func (f *Finder) Find(p Piece) bool {
	if len(f.tail) > 0 {
		joint := append(f.tail, p.Text[:min(len(p.Text), len(f.needle)-1)]...)
		if bytes.Contains(joint, f.needle) {
			return true
		}
		f.tail = joint
	}
	if bytes.Contains(p.Text, f.needle) {
		return true
	}
	if p.Last {
		f.tail = f.tail[:0]
		return false
	}
	f.keep(p.Text)
	return false
}

// FindString tells whether the text is in s.
func (f *Finder) FindString(s string) bool {
	if f.folded = AppendFold(f.folded[:0], []byte(s)); cap(f.folded) > maxTexts {
		defer func() { f.folded = nil }()
	}
	return bytes.Contains(f.folded, f.needle)
}

// keep makes tail the end of what was seen: of tail, which the beginning of text was put behind, and text.
func (f *Finder) keep(text []byte) {
	n := len(f.needle) - 1
	if n <= 0 {
		return
	}
	if len(text) >= n {
		f.tail = append(f.tail[:0], text[len(text)-n:]...)
		return
	}
	if len(f.tail) == 0 {
		f.tail = append(f.tail, text...)
	}
	if len(f.tail) > n {
		f.tail = slices.Delete(f.tail, 0, len(f.tail)-n)
	}
}
