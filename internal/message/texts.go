package message

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"
)

// Scope says where in a message a text stands; scopes form a set.
type Scope uint8

// The scopes: what SEARCH TEXT looks at is both, what BODY looks at is InBody (RFC 3501 §6.4.4).
const (
	InHeader Scope = 1 << iota // a field of the message's own header
	InBody                     // text in its body, and the headers of messages within it
	Anywhere = InHeader | InBody
)

// Sections gives the octets of a message.
type Sections interface {
	// Section gives n octets from off on; what it gave before is of no more use then.
	Section(off, n int64) (io.Reader, error)
}

// Texts walks over the texts of messages: the one definition of what a search sees. A text is a field with its name,
// decoded, or the decoded text of a part; nothing matches across two of them. The text index is built from the same
// walk, so that both always agree. The zero value is ready; it is for one goroutine.
type Texts struct {
	in, folded, line []byte
	header           bytes.Buffer
	readers          textReaders
}

// Piece is a part of one text, folded as by Fold: whole characters, in order, and Last with the last one.
type Piece struct {
	Scope Scope
	Text  []byte // valid until the next piece
	Last  bool
}

const (
	textBuffer = 16 << 10
	maxTexts   = 1 << 20 // octets that a Texts keeps from one message to the next
)

var errEnough = errors.New("enough")

// Each gives fn the texts of a message within a scope, until fn gives false: the fields of its header first, in
// order, then those of its body. Errors are those of src.
func (t *Texts) Each(root *Part, src Sections, scope Scope, fn func(Piece) bool) error {
	w := textWalk{t: t, src: src, fn: fn}
	var err error
	if scope&InHeader != 0 {
		err = w.fields(root, InHeader)
	}
	if err == nil && scope&InBody != 0 {
		err = w.part(root)
	}
	if t.header.Cap() > maxTexts {
		t.header = bytes.Buffer{}
	}
	if cap(t.folded) > maxTexts {
		t.folded = nil
	}
	if cap(t.line) > maxTexts {
		t.line = nil
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// textWalk is one walk.
type textWalk struct {
	t   *Texts
	src Sections
	fn  func(Piece) bool
}

func (w *textWalk) give(s Scope, text []byte, last bool) error {
	if !w.fn(Piece{s, text, last}) {
		return errEnough
	}
	return nil
}

// fields gives each field of a part's header, with its name.
func (w *textWalk) fields(p *Part, s Scope) error {
	r, err := w.src.Section(p.HeaderStart, min(p.BodyStart-p.HeaderStart, MaxHeader))
	if err != nil {
		return err
	}
	t := w.t
	t.header.Reset()
	if _, err := t.header.ReadFrom(r); err != nil {
		return err
	}
	for f := range Fields(t.header.String()) {
		t.line = append(append(append(t.line[:0], f.Name()...), ": "...), f.Text()...)
		t.folded = AppendFold(t.folded[:0], t.line)
		if err := w.give(s, t.folded, true); err != nil {
			return err
		}
	}
	return nil
}

// part gives the texts of the parts below p, or of p when it has none. The depth is bounded by that of the tree.
func (w *textWalk) part(p *Part) error {
	if len(p.Children) == 0 {
		return w.leaf(p)
	}
	for _, c := range p.Children {
		if p.IsMessage() {
			if err := w.fields(c, InBody); err != nil {
				return err
			}
		}
		if err := w.part(c); err != nil {
			return err
		}
	}
	return nil
}

func (w *textWalk) leaf(p *Part) error {
	if p.Type != "text" || p.Size() <= 0 {
		return nil
	}
	r, err := w.src.Section(p.BodyStart, p.Size())
	if err != nil {
		return err
	}
	return w.t.read(w.t.readers.reader(p, r), func(text []byte, last bool) error { return w.give(InBody, text, last) })
}

// read gives the text of r, folded, in pieces of whole characters.
func (t *Texts) read(r io.Reader, give func(piece []byte, last bool) error) error {
	if t.in == nil {
		t.in = make([]byte, textBuffer)
	}
	for held := 0; ; {
		n, err := r.Read(t.in[held:])
		if held += n; err != nil && err != io.EOF {
			return err
		}
		whole := held
		if err == nil {
			whole = wholeRunes(t.in[:held])
		}
		t.folded = AppendFold(t.folded[:0], t.in[:whole])
		if whole > 0 || err != nil {
			if err := give(t.folded, err != nil); err != nil {
				return err
			}
		}
		held = copy(t.in, t.in[whole:held])
		if err != nil {
			return nil
		}
	}
}

// wholeRunes gives the length of b without a character that is cut at its end.
func wholeRunes(b []byte) int {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if utf8.FullRune(b[len(b)-i:]) {
				return len(b)
			}
			return len(b) - i
		}
	}
	return len(b)
}
