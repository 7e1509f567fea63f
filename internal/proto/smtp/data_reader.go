package smtp

import (
	"bufio"
	"errors"
	"io"
)

// DataReader decodes the content behind DATA (RFC 5321 §4.5.2): it ends at CRLF "." CRLF and at nothing else,
// and loses the dot that was put in front of a line's dot. What is read holds only whole CRLF, neither bare CR,
// bare LF nor NUL: at the first such octet, or beyond the size limit, Read takes in the rest of the message and
// then gives an error of Kind Rejected (5.5.2) or TooLarge (5.3.4). The connection is in step again after io.EOF
// and after these errors, unless Lost. Not safe for concurrent use.
type DataReader struct {
	content
	r     *bufio.Reader
	left  int64 // octets that may yet be drained of a bad message
	final error // io.EOF at the end of the message, bad at the end of a bad one, or why the connection is lost
	lost  bool
}

// NewDataReader reads a message of at most limit octets from r. A bad message is drained up to twice its limit
// and a little, to be answered in step; beyond that the connection is Lost.
func NewDataReader(r *bufio.Reader, limit int64, bare BareLF) *DataReader {
	return &DataReader{content: newContent(limit, bare), r: r, left: limit + MaxJunk}
}

// Lost tells that the end of the message was not found, so that the connection has to be closed.
func (d *DataReader) Lost() bool { return d.lost }

// Read gives decoded content.
func (d *DataReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.bad == nil {
		switch {
		case d.pend != "":
			c := copy(p[n:], d.pend)
			n, d.pend = n+c, d.pend[c:]
			continue
		case n > 0 && (d.final != nil || d.r.Buffered() == 0):
			return n, nil // what is here is better than waiting for more
		case d.final != nil:
			return 0, d.final
		}
		n += copy(p[n:], d.next(len(p)-n))
	}
	if d.bad == nil {
		return n, nil
	}
	if err := d.Drain(); err != nil {
		return 0, err
	}
	return 0, d.bad
}

// Drain takes in the rest of the message unseen: nil when it was in order, else what Read would say of it.
func (d *DataReader) Drain() error {
	for d.final == nil {
		n := len(d.next(d.r.Size()))
		if d.bad == nil {
			continue
		}
		if d.left -= int64(n) + 1; d.left < 0 {
			d.final, d.lost = d.bad, true
		}
	}
	if errors.Is(d.final, io.EOF) {
		return nil
	}
	return d.final
}

// next takes a run of at most limit octets of decoded content from the connection; it is valid until the next
// call. It may be empty.
func (d *DataReader) next(limit int) []byte {
	if d.bol && !d.dot() {
		return nil
	}
	if _, err := d.peek(1); err != nil {
		return nil
	}
	chunk, err := d.peek(min(d.r.Buffered(), limit))
	if err != nil {
		return nil
	}
	n, bareLF := d.scan(chunk)
	_, _ = d.r.Discard(d.took(n, bareLF)) // it is buffered: nothing is read, chunk stays
	return chunk[:n]
}

// dot looks for a dot at the beginning of a line. It gives false at the end of the message or of the connection.
func (d *DataReader) dot() bool {
	b, err := d.peek(1)
	if err != nil || b[0] != '.' {
		return err == nil
	}
	if b, err = d.peek(2); err == nil && b[1] == '\r' {
		b, err = d.peek(3)
	}
	if err != nil {
		return false
	}
	d.bol = false
	if string(b) != ".\r\n" {
		_, _ = d.r.Discard(1)
		return true
	}
	_, _ = d.r.Discard(3)
	d.final = io.EOF
	if d.bad != nil {
		d.final = d.bad
	}
	return false
}

// peek gives n octets, waiting for them.
func (d *DataReader) peek(n int) ([]byte, error) {
	b, err := d.r.Peek(n)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		d.final, d.lost = err, true
	}
	return b, err
}
