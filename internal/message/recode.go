package message

import (
	"io"
	"strings"

	"postel/internal/mail"
)

// Form is what a way carries.
type Form uint8

// The forms.
const (
	SevenBit Form = iota // lines of at most 998 octets, none above 127 (RFC 5321 §2.4)
	EightBit             // such lines of any octets but NUL and bare CR (RFC 6152 §3)
)

// Recode gives a message in a form: leaves of its MIME tree that the form does not carry become quoted-printable when
// they are text and base64 otherwise (RFC 6152 §3, RFC 3030 §3), labels above them follow, and all else is as it was.
// A leaf labelled binary becomes base64. What is around the parts of a multipart is for nobody (RFC 2046 §5.1.1): it
// loses octets above 127. Long lines of a header are folded where they have blanks. The tree stays as it is.
//
// multipart/signed and multipart/encrypted (RFC 1847 §2.1), message/partial (RFC 2046 §5.2.2) and other messages that
// may not be encoded, unknown encodings and what was not looked into for its size are never altered: Kind Unsupported,
// 5.6.3, when one of them would have to be, and 5.6.9 when a header would. Other errors are those of open and its readers.
//
// open gives the message, twice. Memory is bounded by the limits of a Parser; bodies are streamed.
func Recode(open func() (io.ReadCloser, error), to Form) (io.ReadCloser, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	p := NewParser(Limits{})
	p.needs = map[*Part]*needs{}
	_, err = io.Copy(p, r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	root, err := p.Close()
	if err != nil {
		return nil, err
	}
	c := &recoder{to: to, needs: p.needs, size: root.End}
	if c.part(root); c.err != nil {
		return nil, c.err
	}
	c.copyTo(root.End)
	if r, err = open(); err != nil {
		return nil, err
	}
	return &recoded{src: r, steps: c.steps}, nil
}

// recoder plans how a message is changed.
type recoder struct {
	to    Form
	needs map[*Part]*needs
	size  int64
	pos   int64 // up to which there are steps
	steps []step
	err   error
}

// step says what becomes of the next n octets; do nil copies them.
type step struct {
	n  int64
	do func(io.Reader) io.Reader
}

func (c *recoder) copyTo(end int64) { c.do(end, nil) }

// do adds a step for what lies between the last one and end.
func (c *recoder) do(end int64, fn func(io.Reader) io.Reader) {
	n := end - c.pos
	if n <= 0 && fn == nil {
		return
	}
	c.pos = end
	if last := len(c.steps) - 1; fn == nil && last >= 0 && c.steps[last].do == nil {
		c.steps[last].n += n
		return
	}
	c.steps = append(c.steps, step{n, fn})
}

func (c *recoder) fail(code mail.Enhanced, text string) {
	if c.err == nil {
		c.err = &mail.Error{Op: "message.recode", Kind: mail.Unsupported, Code: code, Text: text}
	}
}

func (c *recoder) cannot(p *Part) {
	c.fail(mail.Enhanced{5, 6, 3}, "conversion of "+p.Type+"/"+p.Subtype+" content is needed and not allowed")
}

func (c *recoder) of(p *Part) needs {
	if n := c.needs[p]; n != nil {
		return *n
	}
	return needs{}
}

// lacks gives those of the needs that the form does not serve.
func (c *recoder) lacks(n need) need {
	if c.to == EightBit {
		n &^= wide
	}
	return n
}

// part plans for a part and all below it. The depth is bounded by that of the tree.
func (c *recoder) part(p *Part) {
	n := c.of(p)
	switch {
	case c.lacks(n.header)&wide != 0 && n.fixed:
		c.cannot(p)
	case c.lacks(n.header)&wide != 0:
		c.fail(mail.Enhanced{5, 6, 9}, "the header is not ASCII")
	case p.sealed():
		if c.touches(p) {
			c.cannot(p)
		}
	case p.Is("message/global") && c.to == SevenBit && c.wideHeader(p): // RFC 6532 §3.7 lets it be encoded
		c.encode(p, n, "base64")
	case len(p.Children) > 0:
		c.container(p, n)
	default:
		c.leaf(p, n)
	}
}

// sealed tells of parts that are never altered.
func (p *Part) sealed() bool {
	return p.Type == "multipart" && (p.Subtype == "signed" || p.Subtype == "encrypted") || p.Is("message/partial")
}

// touches tells whether something in the part needs a change, labels aside.
func (c *recoder) touches(p *Part) bool {
	return !p.Walk(func(q *Part) bool {
		n := c.of(q)
		return c.lacks(n.header|n.body) == 0 && (len(q.Children) > 0 || q.Encoding != "binary" || q.Size() == 0)
	})
}

func (c *recoder) wideHeader(p *Part) bool {
	return !p.Walk(func(q *Part) bool { return q == p || c.of(q).header&wide == 0 })
}

// container plans for a multipart or message: its label, what is around the parts, and the parts.
func (c *recoder) container(p *Part, n needs) {
	label := p.Encoding
	switch {
	case c.to == SevenBit && (label == "8bit" || label == "binary"):
		label = "7bit"
	case label == "binary":
		label = "8bit"
	}
	c.header(p, n, label)
	for _, child := range p.Children {
		c.around(child.HeaderStart, n)
		c.part(child)
		c.copyTo(child.End)
	}
	c.around(p.End, n)
}

// around plans for what is no part of a multipart.
func (c *recoder) around(end int64, n needs) {
	if n := c.lacks(n.body &^ odd); n != 0 && end > c.pos {
		c.do(end, func(r io.Reader) io.Reader { return newCleaner(r, n&wide != 0) })
		return
	}
	c.copyTo(end)
}

// leaf plans for a part without parts.
func (c *recoder) leaf(p *Part, n needs) {
	if (p.Encoding == "binary" || c.lacks(n.body) != 0) && p.Size() > 0 {
		c.encode(p, n, p.encodingFor())
		return
	}
	label := p.Encoding
	if c.to == SevenBit && (label == "8bit" || label == "binary") {
		label = "7bit"
	}
	c.header(p, n, label)
}

// encodingFor gives the encoding for a leaf that cannot stay as it is, "" when it cannot have one.
func (p *Part) encodingFor() string {
	switch {
	case p.Encoding == "base64", p.Encoding == "quoted-printable":
		return p.Encoding // it holds what it should not: the same, said properly
	case p.Encoding != "7bit" && p.Encoding != "8bit" && p.Encoding != "binary":
		return ""
	case p.Type == "message" && !strings.HasPrefix(p.Subtype, "global"):
		return "" // RFC 2046 §5.2, RFC 3464 §2.1
	case p.Type == "text" && p.Encoding != "binary":
		return "quoted-printable"
	}
	return "base64"
}

// encode plans for a leaf, or for a message/global as if it were one.
func (c *recoder) encode(p *Part, n needs, encoding string) {
	if encoding == "" || n.fixed {
		c.cannot(p)
		return
	}
	c.header(p, n, encoding)
	was, last := p.Encoding, p.End == c.size
	lines := p.Type == "text" && was != encoding && was != "binary"
	c.do(p.End, func(r io.Reader) io.Reader {
		r = DecodeReader(was, r)
		if encoding == "base64" {
			return &base64Encoder{r: r, end: last}
		}
		return newQPEncoder(r, lines)
	})
}

// header plans for the header of a part, whose encoding is to be label.
func (c *recoder) header(p *Part, n needs, label string) {
	c.copyTo(p.HeaderStart)
	if label == p.Encoding && n.header&longLine == 0 {
		c.copyTo(p.BodyStart)
		return
	}
	c.do(p.BodyStart, func(r io.Reader) io.Reader {
		return &lazyReader{open: func() (io.Reader, error) {
			b, err := io.ReadAll(r) // a section within the limits of the Parser, or its part would be opaque
			if err != nil {
				return nil, err
			}
			return strings.NewReader(relabel(string(b), p, label)), nil
		}}
	})
}

// relabel gives the header section of a part with another encoding, and its long lines folded.
func relabel(section string, p *Part, label string) string {
	h, _ := ParseHeader(section)
	if label != p.Encoding {
		h.Del("Content-Transfer-Encoding")
		if p.Envelope != nil && !h.Has("MIME-Version") {
			h.Add("MIME-Version", "1.0")
		}
		h.Add("Content-Transfer-Encoding", label)
	}
	for i, f := range h.fields {
		h.fields[i] = newField(foldLong(f.raw))
	}
	return h.String()
}

// foldLong breaks lines that are too long at their last blank that allows it.
func foldLong(raw string) string {
	var b strings.Builder
	for line := range strings.Lines(raw) {
		for len(strings.TrimRight(line, "\r\n")) > MaxLineOctets && !strings.HasPrefix(line, "--") { // that may be no boundary
			at := strings.LastIndexAny(line[:MaxLineOctets+1], " \t")
			if strings.Trim(line[:max(at, 0)], " \t") == "" || strings.Trim(line[at:], " \t\r\n") == "" {
				break // a line of blanks ends no header, but nobody should write one
			}
			b.WriteString(line[:at] + "\r\n")
			line = line[at:]
		}
		b.WriteString(line)
	}
	return b.String()
}
