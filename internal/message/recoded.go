package message

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"io"
)

// recoded reads a message by the steps of a recoder.
type recoded struct {
	src   io.ReadCloser
	steps []step
	part  *io.LimitedReader // of src, for the step that is going on
	cur   io.Reader
}

// Read implements io.Reader.
func (r *recoded) Read(p []byte) (int, error) {
	for {
		if r.cur == nil {
			if len(r.steps) == 0 {
				return 0, io.EOF
			}
			s := r.steps[0]
			r.steps = r.steps[1:]
			r.part = &io.LimitedReader{R: r.src, N: s.n}
			r.cur = r.part
			if s.do != nil {
				r.cur = s.do(r.part)
			}
		}
		n, err := r.cur.Read(p)
		if err == io.EOF {
			if r.part.N > 0 {
				return n, io.ErrUnexpectedEOF
			}
			r.cur, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Close closes the message that is read.
func (r *recoded) Close() error { return r.src.Close() }

// lazyReader opens its reader at the first Read.
type lazyReader struct {
	open func() (io.Reader, error)
	r    io.Reader
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := l.open()
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

// cleaner makes what nobody reads fit to be sent: "?" for octets above 127, and lines that are not too long. A line of
// which something was changed never begins with a hyphen, so that it is no boundary that was none before.
type cleaner struct {
	r     *bufio.Reader
	ascii bool
	col   int // octets of the current line written
	room  []byte
	out   []byte
	err   error
}

func newCleaner(r io.Reader, ascii bool) *cleaner {
	return &cleaner{r: bufio.NewReader(r), ascii: ascii}
}

func (c *cleaner) Read(p []byte) (int, error) {
	for len(c.out) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		piece, err := c.r.ReadSlice('\n')
		if err != bufio.ErrBufferFull {
			c.err = err
		}
		c.room = c.clean(c.room[:0], piece)
		c.out = c.room
	}
	n := copy(p, c.out)
	c.out = c.out[n:]
	return n, nil
}

// clean writes a line, or a piece of one that is too long.
func (c *cleaner) clean(out, piece []byte) []byte {
	end := bytes.TrimRight(piece, "\r\n")
	if c.col == 0 && len(piece) > 0 && piece[0] == '-' && (c.ascii && isWide(piece) || len(end) > MaxLineOctets) {
		out, c.col = append(out, ' '), 1
	}
	for _, b := range piece {
		if c.ascii && b >= 0x80 {
			b = '?'
		}
		if c.col++; b == '\n' {
			c.col = 0
		} else if c.col > MaxLineOctets && b != '\r' {
			out = append(out, "\r\n "...)
			c.col = 2
		}
		out = append(out, b)
	}
	return out
}

// base64Encoder encodes with lines of 76 digits (RFC 2045 §6.8); the last has an end when end says so.
type base64Encoder struct {
	r   io.Reader
	end bool

	in   [57 * 32]byte
	room [78 * 32]byte
	out  []byte
	some bool
	err  error
}

func (e *base64Encoder) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.fill()
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

// fill encodes the next lines, each with a line end in front but the very first.
func (e *base64Encoder) fill() {
	n, err := io.ReadFull(e.r, e.in[:])
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	e.err = err
	out := e.room[:0]
	for in := e.in[:n]; len(in) > 0; {
		line := in[:min(57, len(in))]
		in = in[len(line):]
		if e.some {
			out = append(out, lineEnd...)
		}
		e.some = true
		out = base64.StdEncoding.AppendEncode(out, line)
	}
	if err == io.EOF && e.end && e.some {
		out = append(out, lineEnd...)
	}
	e.out = out
}

// qpEncoder encodes as quoted-printable (RFC 2045 §6.7). With lines, a bare LF is the end of a line too.
type qpEncoder struct {
	r     *bufio.Reader
	lines bool
	col   int
	room  []byte
	out   []byte
	err   error
}

func newQPEncoder(r io.Reader, lines bool) *qpEncoder {
	return &qpEncoder{r: bufio.NewReader(r), lines: lines}
}

func (e *qpEncoder) Read(p []byte) (int, error) {
	for len(e.out) == 0 {
		if e.err != nil {
			return 0, e.err
		}
		e.room = e.room[:0]
		for e.err == nil && len(e.room) < 2048 {
			e.room = e.next(e.room)
		}
		e.out = e.room
	}
	n := copy(p, e.out)
	e.out = e.out[n:]
	return n, nil
}

// next encodes an octet, or a line end.
func (e *qpEncoder) next(out []byte) []byte {
	var c byte
	if c, e.err = e.r.ReadByte(); e.err != nil {
		return out
	}
	switch {
	case c == '\n' && e.lines, c == '\r' && e.follows("\n"):
		if c == '\r' {
			_, _ = e.r.Discard(1)
		}
		e.col = 0
		return append(out, lineEnd...)
	case c == ' ' || c == '\t':
		return e.put(out, c, e.ends())
	}
	return e.put(out, c, c < ' ' || c > '~' || c == '=')
}

// put writes an octet, as an escape or as it is, on a line that has room for it and for a soft end. No line begins with
// a hyphen: it could be a boundary.
func (e *qpEncoder) put(out []byte, c byte, escape bool) []byte {
	const hex = "0123456789ABCDEF"
	width := 1
	if escape {
		width = 3
	}
	if e.col+width > 75 {
		out = append(out, "=\r\n"...)
		e.col = 0
	}
	if e.col == 0 && c == '-' {
		escape, width = true, 3
	}
	e.col += width
	if escape {
		return append(out, '=', hex[c>>4], hex[c&15])
	}
	return append(out, c)
}

// ends tells whether the line, or the text, ends here.
func (e *qpEncoder) ends() bool {
	b, _ := e.r.Peek(1)
	return len(b) == 0 || e.lines && b[0] == '\n' || e.follows("\r\n")
}

func (e *qpEncoder) follows(s string) bool {
	b, _ := e.r.Peek(len(s))
	return string(b) == s
}
