package search

import (
	"unicode"
	"unicode/utf8"
)

const (
	// maxTerm is the length of the longest term in octets. A longer run is indexed as overlapping terms of that length,
	// one every half of it and one at its end.
	maxTerm  = 64
	halfTerm = maxTerm / 2
	// maxInside is the longest text that, wherever it stands in a run, lies within one of its terms.
	maxInside = halfTerm + 1
)

// class is what a character is to the index. Runs are maximal sequences of one class.
type class uint8

const (
	between  class = iota // belongs to no run
	letter                // letters, digits and the marks on them
	unspaced              // scripts that put no blanks between words: indexed as pairs of characters
)

// classOf gives the class of a folded character.
func classOf(r rune) class {
	switch {
	case r < utf8.RuneSelf:
		if r-'a' < 26 && r >= 'a' || r-'0' < 10 && r >= '0' {
			return letter
		}
		return between
	case r < 0x0e00 || r >= 0xac00 && r < 0xd7a4: // Latin, Greek, Cyrillic, Hebrew, Arabic, Indic, …
	case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer,
		unicode.Myanmar) || r == 0x3099 || r == 0x309a || r == 0x30fc: // voice marks and the long vowel belong to kana
		return unspaced
	}
	if unicode.In(r, unicode.Letter, unicode.Number, unicode.Mark) {
		return letter
	}
	return between
}

// tokenizer cuts folded text into terms. The zero value with emit is ready.
type tokenizer struct {
	emit func(term []byte) // the term is valid until emit returns
	kind class             // of the run that is open
	run  []byte            // letter: what of it may still be emitted; unspaced: the last character
	many bool              // unspaced: a pair was emitted
}

// write takes a piece of whole characters; last ends the text.
func (t *tokenizer) write(b []byte, last bool) {
	for i := 0; i < len(b); {
		if n := asciiRun(b[i:]); n > 0 {
			t.letters(b[i : i+n])
			i += n
			continue
		}
		if b[i] < utf8.RuneSelf {
			t.end()
			i++
			continue
		}
		r, size := utf8.DecodeRune(b[i:])
		switch classOf(r) {
		case letter:
			t.letters(b[i : i+size])
		case unspaced:
			t.pair(b[i : i+size])
		default:
			t.end()
		}
		i += size
	}
	if last {
		t.end()
	}
}

// asciiRun gives the length of the ASCII letters and digits at the front of b.
func asciiRun(b []byte) int {
	for i, c := range b {
		if c-'a' >= 26 && c-'0' >= 10 {
			return i
		}
	}
	return len(b)
}

func (t *tokenizer) letters(b []byte) {
	if t.kind != letter {
		t.end()
		t.kind = letter
	}
	for len(b) > 0 {
		n := min(len(b), maxTerm+halfTerm-len(t.run))
		t.run = append(t.run, b[:n]...)
		if b = b[n:]; len(b) > 0 { // so that more than maxTerm stays
			t.emit(t.run[:maxTerm])
			t.run = t.run[:copy(t.run, t.run[halfTerm:])]
		}
	}
}

func (t *tokenizer) pair(char []byte) {
	if t.kind != unspaced {
		t.end()
		t.kind, t.many = unspaced, false
	}
	before := len(t.run)
	t.run = append(t.run, char...)
	if before > 0 {
		t.emit(t.run)
		t.many = true
		t.run = t.run[:copy(t.run, t.run[before:])]
	}
}

// end ends the run that is open.
func (t *tokenizer) end() {
	switch {
	case t.kind == between:
		return
	case t.kind == letter:
		t.emit(t.run[:min(len(t.run), maxTerm)])
		if len(t.run) > maxTerm {
			t.emit(t.run[len(t.run)-maxTerm:])
		}
	case !t.many:
		t.emit(t.run)
	}
	t.kind, t.run = between, t.run[:0]
}
