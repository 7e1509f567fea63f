package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// CRLF gives r with the line ends of mail: as it is when its first line ends in CRLF, else with each LF made CRLF.
func CRLF(r io.Reader) io.Reader {
	b := bufio.NewReaderSize(r, 64<<10)
	first, _ := b.Peek(b.Size())
	if i := bytes.IndexByte(first, '\n'); i > 0 && first[i-1] == '\r' {
		return b
	}
	return &toCRLF{r: b}
}

// toCRLF puts a CR before each LF that has none.
type toCRLF struct {
	r    *bufio.Reader
	cr   bool   // the octet before was a CR
	line []byte // what is to be given first
	err  error
}

func (c *toCRLF) Read(p []byte) (int, error) {
	if len(c.line) == 0 && c.err == nil {
		c.fill()
	}
	n := copy(p, c.line)
	if c.line = c.line[n:]; n == 0 && len(p) > 0 {
		return 0, c.err
	}
	return n, nil
}

func (c *toCRLF) fill() {
	part, err := c.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		c.err = err
	}
	n := len(part)
	if n == 0 {
		return
	}
	bare := part[n-1] == '\n' && (n == 1 && !c.cr || n > 1 && part[n-2] != '\r')
	c.cr = part[n-1] == '\r'
	c.line = part
	if bare {
		c.line = append(append(make([]byte, 0, n+1), part[:n-1]...), '\r', '\n')
	}
}

// lossless tells whether the lines of a content all end in CRLF, and CR and LF stand nowhere else.
type lossless struct {
	cr, bad bool
}

func (l *lossless) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !l.bad; {
		i := bytes.IndexAny(rest, "\r\n")
		if i < 0 {
			l.bad = l.cr
			break
		}
		switch {
		case l.cr && (i > 0 || rest[0] != '\n'), !l.cr && rest[i] == '\n':
			l.bad = true
		}
		l.cr = rest[i] == '\r'
		rest = rest[i+1:]
	}
	return len(p), nil
}

func (l *lossless) ok() bool { return !l.bad && !l.cr }

// toLF drops the CR of each CRLF; it is for contents that are lossless.
type toLF struct{ w io.Writer }

func (t toLF) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\r')
		if i < 0 {
			i = len(rest)
		}
		if _, err := t.w.Write(rest[:i]); err != nil {
			return 0, err
		}
		rest = rest[min(i+1, len(rest)):]
	}
	return len(p), nil
}
