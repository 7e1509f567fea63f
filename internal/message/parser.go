package message

import (
	"bytes"

	"postel/internal/mail"
)

// Limits bound what a Parser looks into; what lies beyond is an opaque leaf. Zero fields take the defaults.
type Limits struct {
	Depth  int // nesting of parts, 100
	Parts  int // parts of all levels, 10,000
	Header int // octets of one part's header section, 1 MiB
	Text   int // octets of text and list entries in the whole tree, 2 MiB; what does not fit is left out
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		field *int
		value int
	}{{&l.Depth, 100}, {&l.Parts, 10000}, {&l.Header, MaxHeader}, {&l.Text, 2 << 20}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	l.Depth = min(l.Depth, maxDecodeDepth-1)
	return l
}

// maxBoundary is the longest boundary that is taken; RFC 2046 §5.1.1 allows 70.
const maxBoundary = 250

// maxBoundaryLine is how much of a line's front must be seen to tell that it is no boundary: two hyphens, the
// boundary, two hyphens, and blanks.
const maxBoundaryLine = maxBoundary + 128

// Parser builds the MIME tree of one message that is written to it in pieces of any size. It keeps the header
// section at hand, the front of the text for the preview, and the tree. Lines end with CRLF or LF. Not safe for
// concurrent use; Reset makes it ready for another message.
type Parser struct {
	limits Limits
	keep   keeper
	pos    int64 // octets consumed
	lf     int64 // line ends consumed
	eol    int64 // length of the last line end, when pos is at the start of a line
	parts  int
	full   bool // the limit of parts is reached: the open leaf takes the rest

	stack      []frame        // the open parts from the root to the current one
	boundaries map[string]int // boundary to index in stack

	inHeader bool
	hdr      []byte // the current header section, as far as Limits.Header goes
	hdrLong  bool   // it went further

	lineLen int  // octets of the current line consumed
	first   byte // the first of them
	last    byte // the octet consumed last
	carry   []byte

	preview previewer
	content mail.Content
	ascii   bool             // what is being written has no octets above 127
	needs   map[*Part]*needs // only for Recode, which makes it
}

// frame is an open part.
type frame struct {
	part     *Part
	boundary string // of a multipart whose end was not seen
	shadowed int    // index of the frame that had the boundary before, -1 for none
	lines    int64  // Parser.lf at the body's start
}

// NewParser makes a Parser.
func NewParser(limits Limits) *Parser {
	p := &Parser{limits: limits.withDefaults(), hdr: make([]byte, 0, 4096)}
	p.Reset()
	return p
}

// Reset makes the parser ready for another message, with the same limits.
func (p *Parser) Reset() {
	clear(p.boundaries)
	*p = Parser{
		limits: p.limits, boundaries: p.boundaries, stack: p.stack[:0], hdr: p.hdr[:0], carry: p.carry[:0],
		preview: p.preview.reset(),
	}
	p.keep.room = p.limits.Text
	p.content = mail.ContentKnown
	p.open(nil)
}

// Content tells, once the Parser is closed, what the message asks of the way that it goes.
func (p *Parser) Content() mail.Content { return p.content }

// Write takes the next octets of the message. It never fails.
func (p *Parser) Write(b []byte) (int, error) {
	n := len(b)
	p.ascii = len(p.carry) == 0 && !isWide(b) // looked for at once: lines are short
	for len(b) > 0 {
		piece := b
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			piece = b[:i+1]
		}
		b = b[len(piece):]
		p.feed(piece)
	}
	return n, nil
}

// feed takes a whole line or a piece of one. The front of a line that may be a boundary is held back until it can be
// told.
func (p *Parser) feed(piece []byte) {
	done := piece[len(piece)-1] == '\n'
	if len(p.carry) > 0 || !done && p.lineLen == 0 && piece[0] == '-' && len(p.boundaries) > 0 {
		p.carry = append(p.carry, piece...)
		if !done && len(p.carry) <= maxBoundaryLine {
			return
		}
		piece = p.carry
		p.carry = p.carry[:0]
	}
	if done && p.lineLen == 0 && p.delimiter(piece) {
		p.lookDelimiter(piece)
		p.consume(piece, true)
		return
	}
	p.look(piece, done)
	if p.inHeader {
		p.header(piece, done)
		return
	}
	p.preview.write(piece)
	p.consume(piece, done)
}

// consume counts octets and line ends.
func (p *Parser) consume(piece []byte, done bool) {
	if p.lineLen == 0 {
		p.first = piece[0]
	}
	p.lineLen += len(piece)
	p.pos += int64(len(piece))
	if !done {
		p.last = piece[len(piece)-1]
		return
	}
	p.lf++
	p.eol = 1
	if n := len(piece); n > 1 && piece[n-2] == '\r' || n == 1 && p.lineLen > 1 && p.last == '\r' {
		p.eol = 2
	}
	p.lineLen = 0
}

// header takes a piece of a header section and notices its end.
func (p *Parser) header(piece []byte, done bool) {
	if room := p.limits.Header - len(p.hdr); room < len(piece) {
		p.hdrLong = true
		piece := piece[:max(room, 0)]
		p.hdr = append(p.hdr, piece...)
	} else {
		p.hdr = append(p.hdr, piece...)
	}
	n, first := p.lineLen+len(piece), p.first
	if p.lineLen == 0 {
		first = piece[0]
	}
	p.consume(piece, done)
	if done && isBlankLine(n, first) {
		p.endHeader()
	}
}

// open starts a part below parent at the current position; parent nil makes the root.
func (p *Parser) open(parent *Part) {
	part := &Part{HeaderStart: p.pos}
	p.parts++
	if parent != nil {
		parent.Children = append(parent.Children, part)
	}
	p.stack = append(p.stack, frame{part: part, shadowed: -1})
	p.inHeader, p.hdr, p.hdrLong = true, p.hdr[:0], false
}

// top gives the innermost open part.
func (p *Parser) top() *frame { return &p.stack[len(p.stack)-1] }

// parent gives the part above the innermost one, nil for the root.
func (p *Parser) parent() *Part {
	if len(p.stack) < 2 {
		return nil
	}
	return p.stack[len(p.stack)-2].part
}

// endHeader ends the header section of the innermost part at the current position and decides what its body is.
func (p *Parser) endHeader() {
	f := p.top()
	part := f.part
	p.inHeader = false
	part.BodyStart, f.lines = p.pos, p.lf
	boundary := p.readFields(part)
	if part.Type == "multipart" && boundary == "" && !p.hdrLong {
		part.Type, part.Subtype, part.Params = "text", "plain", nil
		p.needsOf(part).fixed = true
	}
	container := part.Type == "multipart" || p.wantsMessage(part)
	if container && (p.hdrLong || len(p.stack) >= p.limits.Depth || p.parts >= p.limits.Parts) {
		p.opaque(part)
		container = false
	}
	switch {
	case !container:
		p.leaf(part)
	case part.Type == "multipart":
		p.preview.leaf = nil
		p.push(f, boundary)
	default:
		p.open(part)
	}
}

// wantsMessage tells whether the body is to be parsed as a message. An encoded one cannot be.
func (p *Parser) wantsMessage(part *Part) bool {
	if part.Type != "message" || part.Subtype != "rfc822" && part.Subtype != "global" {
		return false
	}
	switch part.Encoding {
	case "7bit", "8bit", "binary":
		return true
	}
	part.Type, part.Subtype, part.Params = "application", "octet-stream", nil
	return false
}

// opaque makes the part a leaf that is not looked into because of a limit.
func (p *Parser) opaque(part *Part) {
	part.Type, part.Subtype, part.Params, part.Truncated = "application", "octet-stream", nil, true
	p.needsOf(part).fixed = true
	p.stack[0].part.Truncated = true
}

// leaf lets the preview see the body of the part, unless it lies within an attached message.
func (p *Parser) leaf(part *Part) {
	embedded := 0
	for _, f := range p.stack {
		if f.part.Envelope != nil {
			embedded++
		}
	}
	p.preview.start(part, embedded <= 1)
}

// push makes the boundary of a multipart known.
func (p *Parser) push(f *frame, boundary string) {
	if p.boundaries == nil {
		p.boundaries = make(map[string]int)
	}
	f.boundary = boundary
	if i, ok := p.boundaries[boundary]; ok {
		f.shadowed = i
	}
	p.boundaries[boundary] = len(p.stack) - 1
}

// pop forgets the boundary of a multipart.
func (p *Parser) pop(f *frame) {
	switch {
	case f.boundary == "":
		return
	case f.shadowed >= 0:
		p.boundaries[f.boundary] = f.shadowed
	default:
		delete(p.boundaries, f.boundary)
	}
	f.boundary = ""
}

// delimiter tells whether the line is a boundary of an open multipart, and if so ends the parts within and starts the
// next one. Blanks behind a boundary are padding (RFC 2046 §5.1.1).
func (p *Parser) delimiter(line []byte) bool {
	if len(line) < 3 || line[0] != '-' || line[1] != '-' || len(p.boundaries) == 0 || p.full {
		return false
	}
	text := bytes.TrimRight(line[2:], " \t\r\n")
	i, ok := p.boundaries[string(text)]
	closing := false
	if !ok && bytes.HasSuffix(text, []byte("--")) {
		i, ok = p.boundaries[string(text[:len(text)-2])]
		closing = true
	}
	if !ok {
		return false
	}
	p.closeTo(i+1, p.eol)
	p.inHeader = false
	p.preview.leaf = nil
	f := &p.stack[i]
	if closing {
		p.pop(f)
		return true
	}
	p.next(f.part, int64(len(line)))
	return true
}

// next starts the part behind a boundary line of n octets.
func (p *Parser) next(parent *Part, n int64) {
	p.pos += n // the part starts behind the line, which is counted by the caller
	p.open(parent)
	p.pos -= n
	if p.parts < p.limits.Parts {
		return
	}
	p.full = true
	part := p.top().part
	part.BodyStart, part.Encoding = part.HeaderStart, "binary"
	p.top().lines = p.lf + 1
	p.inHeader = false
	p.opaque(part)
}

// closeTo ends the parts from index from on at the current position, eol octets of a line end taken off.
func (p *Parser) closeTo(from int, eol int64) {
	if from >= len(p.stack) {
		return
	}
	if p.inHeader { // the innermost part has no body
		f := p.top()
		f.part.BodyStart, f.lines = p.pos, p.lf
		p.readFields(f.part)
		p.wantsMessage(f.part)
	}
	bound := p.pos
	for i := from; i < len(p.stack); i++ {
		f := &p.stack[i]
		p.pop(f)
		f.end(p.pos, eol, bound, p.lf)
		bound = f.part.End
	}
	for i := from; i < len(p.stack); i++ {
		p.mend(p.stack[i].part)
	}
	p.stack = p.stack[:from]
}

// end sets where a part ends: at pos less the line end that belongs to the boundary, never behind bound, the end of
// the part around it. A part that ended within its header gives way.
func (f *frame) end(pos, eol, bound, lf int64) {
	part := f.part
	part.End = min(max(part.BodyStart, pos-eol), bound)
	part.BodyStart = min(part.BodyStart, part.End)
	part.HeaderStart = min(part.HeaderStart, part.End)
	part.Lines = lf - f.lines
	if part.End < pos {
		part.Lines--
	}
	if part.Lines < 0 || part.Size() == 0 {
		part.Lines = 0
	}
}

// mend gives a container without content the form that BODYSTRUCTURE can tell.
func (p *Parser) mend(part *Part) {
	if len(part.Children) > 0 {
		return
	}
	switch {
	case part.Type == "multipart":
		part.Type, part.Subtype, part.Params = "text", "plain", nil
		p.needsOf(part).fixed = true
	case part.Type == "message" && (part.Subtype == "rfc822" || part.Subtype == "global"):
		child := &Part{HeaderStart: part.BodyStart, BodyStart: part.End, End: part.End, Envelope: new(Envelope)}
		child.setDefaults(false)
		part.Children = append(part.Children, child)
	}
}

// Close ends the message and gives the root of its tree. Write must not be called again before Reset.
func (p *Parser) Close() (*Part, error) {
	if len(p.carry) > 0 {
		line := p.carry
		p.carry, p.ascii = nil, false
		if p.delimiter(line) {
			p.lookDelimiter(line)
			p.pos += int64(len(line))
		} else {
			p.feedLast(line)
		}
	}
	if p.lineLen > MaxLineOctets {
		p.found(longLine)
	}
	root := p.stack[0].part
	p.closeTo(0, 0)
	if p.keep.out {
		root.Truncated = true
	}
	root.Summary.Preview = p.preview.text()
	root.Summary.Attachment = root.hasAttachment()
	return root, nil
}

// feedLast takes an unfinished line that is no boundary.
func (p *Parser) feedLast(line []byte) {
	p.look(line, false)
	if p.inHeader {
		p.header(line, false)
		return
	}
	p.preview.write(line)
	p.consume(line, false)
}
