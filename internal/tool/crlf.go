package tool

import (
	"bufio"
	"io"
)

// CRLF gives text with every line ended by CRLF: a bare LF gets its CR, a last line without an end gets one; a CR
// that no LF follows is dropped, since no mail may hold it (RFC 5321 §2.3.8).
func CRLF(r io.Reader) io.Reader { return &crlf{r: bufio.NewReaderSize(r, 32<<10), start: true} }

type crlf struct {
	r     *bufio.Reader
	buf   []byte // converted, not yet read
	start bool   // at the start of a line
	err   error
}

func (c *crlf) Read(p []byte) (int, error) {
	for len(c.buf) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.fill()
	}
	n := copy(p, c.buf)
	c.buf = c.buf[n:]
	return n, nil
}

// fill converts up to one line, or one buffer of a longer one.
func (c *crlf) fill() {
	line, err := c.r.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		c.err = err
	}
	out := make([]byte, 0, len(line)+2)
	for _, b := range line {
		if b != '\r' && b != '\n' {
			out = append(out, b)
		}
	}
	ended := len(line) > 0 && line[len(line)-1] == '\n'
	if len(line) > 0 {
		c.start = ended
	}
	if ended || c.err == io.EOF && !c.start {
		out = append(out, '\r', '\n')
		c.start = true
	}
	c.buf = out
}
