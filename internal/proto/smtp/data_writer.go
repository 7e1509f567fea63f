package smtp

import (
	"bufio"
	"bytes"
)

// DataWriter encodes content for DATA: dots are doubled at the beginning of lines and Close writes the end. As
// nothing but whole CRLF may be sent (RFC 5321 §2.3.8), a bare LF becomes CRLF and a bare CR a space; content
// without a final CRLF gets one.
type DataWriter struct {
	w     *bufio.Writer
	plain bool // for BDAT, which knows no dots
	bol   bool // at the beginning of a line
	cr    bool // a CR was taken and not yet written
}

// NewDataWriter writes to w. Close flushes it, and does not close what is below.
func NewDataWriter(w *bufio.Writer) *DataWriter { return &DataWriter{w: w, bol: true} }

// Write takes content in pieces of any size.
func (d *DataWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		if d.cr && rest[0] != '\n' {
			d.cr = false
			d.put(' ')
		}
		rest = d.line(rest)
	}
	// A bufio.Writer keeps its first error: asking once is enough.
	if _, err := d.w.Write(nil); err != nil {
		return 0, err
	}
	return len(p), nil
}

// line writes the front of p, up to a line's end or to a bare CR, and gives the rest.
func (d *DataWriter) line(p []byte) (rest []byte) {
	if d.bol && p[0] == '.' && !d.plain {
		d.put('.')
	}
	end := bytes.IndexByte(p, '\n')
	text := p
	if end >= 0 {
		text = p[:end]
	}
	if cr := bytes.IndexByte(text, '\r'); cr >= 0 {
		d.write(p[:cr])
		d.cr = true
		if p = p[cr+1:]; len(p) == 0 || p[0] != '\n' {
			return p
		}
		end, text = 0, nil
	}
	d.write(text)
	if end < 0 {
		return nil
	}
	d.write(crlf)
	d.bol, d.cr = true, false
	return p[end+1:]
}

func (d *DataWriter) write(b []byte) {
	if len(b) > 0 {
		_, _ = d.w.Write(b) // its error stays
		d.bol = false
	}
}

func (d *DataWriter) put(c byte) {
	_ = d.w.WriteByte(c)
	d.bol = false
}

// Close ends the message and flushes.
func (d *DataWriter) Close() error {
	d.end()
	d.write([]byte(".\r\n"))
	return d.w.Flush()
}

// end ends the last line.
func (d *DataWriter) end() {
	if d.cr {
		d.cr = false
		d.put(' ')
	}
	if !d.bol {
		d.write(crlf)
	}
}
