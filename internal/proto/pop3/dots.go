package pop3

import (
	"bytes"
	"io"
)

// DotWriter writes the lines of a multi-line response: dots at the start of lines are doubled (RFC 1939 §3). A line
// starts behind every LF, whether a CR stands before it or not, since there are clients that cut lines there; all
// other octets stay as they are.
type DotWriter struct {
	W    io.Writer
	tail [2]byte // the last octets written; zero at the start, which is a start of a line too
	n    int64
}

// Write writes a piece of the content.
func (d *DotWriter) Write(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	if p[0] == '.' && (d.tail[1] == '\n' || d.n == 0) {
		if _, err := d.W.Write([]byte{'.'}); err != nil {
			return 0, err
		}
	}
	from := 0
	for at := 1; at < len(p); at++ { // dots are rarer than line ends, above all in base64
		i := bytes.IndexByte(p[at:], '.')
		if i < 0 {
			break
		}
		if at += i; p[at-1] != '\n' {
			continue
		}
		if _, err := d.W.Write(p[from : at+1]); err != nil {
			return from, err
		}
		from = at // the dot once more
	}
	if _, err := d.W.Write(p[from:]); err != nil {
		return from, err
	}
	d.keep(p)
	return len(p), nil
}

func (d *DotWriter) keep(p []byte) {
	d.n += int64(len(p))
	if len(p) == 1 {
		d.tail[0], d.tail[1] = d.tail[1], p[0]
		return
	}
	copy(d.tail[:], p[len(p)-2:])
}

// Close ends the response; content that does not end in CRLF gets one.
func (d *DotWriter) Close() error {
	end := ".\r\n"
	if d.n > 0 && d.tail != [2]byte{'\r', '\n'} {
		end = "\r\n.\r\n"
	}
	_, err := io.WriteString(d.W, end)
	return err
}

// CopyLines copies the first lines of r, or all there are, and gives the octets copied.
func CopyLines(w io.Writer, r io.Reader, lines int) (n int64, err error) {
	buf := make([]byte, 8192)
	for lines > 0 {
		m, rerr := r.Read(buf)
		p := buf[:m]
		for at := 0; at < len(p); {
			i := bytes.IndexByte(p[at:], '\n')
			if i < 0 {
				break
			}
			at += i + 1
			if lines--; lines == 0 {
				p = p[:at]
				break
			}
		}
		m, err = w.Write(p)
		n += int64(m)
		switch {
		case err != nil:
			return n, err
		case rerr == io.EOF:
			return n, nil
		case rerr != nil:
			return n, rerr
		}
	}
	return n, nil
}
