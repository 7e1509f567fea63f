package message

import (
	"bytes"
	"io"
	"strings"
)

// DecodeReader gives the octets that a body stands for under its Content-Transfer-Encoding. It is tolerant and gives
// no errors but those of r; an unknown encoding is taken as none.
func DecodeReader(encoding string, r io.Reader) io.Reader {
	switch strings.ToLower(encoding) {
	case "base64":
		return newBase64Reader(r)
	case "quoted-printable":
		return &qpReader{r: r}
	}
	return r
}

// decodeBody is DecodeReader for a body in memory.
func decodeBody(encoding string, b []byte) []byte {
	switch encoding {
	case "base64":
		d := newBase64Decoder()
		return d.flush(d.decode(nil, b))
	case "quoted-printable":
		return decodeQP(make([]byte, 0, len(b)), b)
	}
	return b
}

// TextReader gives the text of a leaf as UTF-8: r is its body as it came, from BodyStart to End. HTML is stripped to
// its text. Parts that are no text are only decoded; the caller chooses which to read.
func TextReader(p *Part, r io.Reader) io.Reader {
	r = DecodeReader(p.Encoding, r)
	if p.Type != "text" {
		return r
	}
	r = CharsetReader(p.Param("charset"), r)
	if p.Subtype == "html" {
		return newHTMLReader(r)
	}
	return r
}

// qpReader decodes quoted-printable (RFC 2045 §6.7) tolerantly: what is no escape stands for itself, blanks at the end
// of a line go, a soft line break may have blanks behind it.
type qpReader struct {
	r   io.Reader
	in  [4096]byte
	n   int    // octets held in in
	out []byte // decoded, not yet read
	own []byte // room for out
	err error
}

func (d *qpReader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		n, err := d.r.Read(d.in[d.n:])
		d.n += n
		d.err = err
		d.decode()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// decode takes the whole lines that are held; of a line too long for the buffer, what cannot be a part of an escape;
// at the end, everything.
func (d *qpReader) decode() {
	held := d.in[:d.n]
	cut := bytes.LastIndexByte(held, '\n') + 1
	switch {
	case d.err != nil:
		cut = d.n
	case cut == 0 && d.n == len(d.in):
		switch cut = d.n; {
		case held[cut-1] == '=':
			cut--
		case held[cut-2] == '=':
			cut -= 2
		}
		d.own = appendQP(d.own[:0], held[:cut], false)
		d.out = d.own
		d.n = copy(d.in[:], held[cut:])
		return
	}
	d.own = decodeQP(d.own[:0], held[:cut])
	d.out = d.own
	d.n = copy(d.in[:], held[cut:])
}

// decodeQP appends what whole lines stand for.
func decodeQP(dst, lines []byte) []byte {
	for len(lines) > 0 {
		line := lines
		if i := bytes.IndexByte(lines, '\n'); i >= 0 {
			line = lines[:i+1]
		}
		dst = appendQP(dst, line, true)
		lines = lines[len(line):]
	}
	return dst
}

// appendQP decodes one line, its end included; or a piece of a line, in which case more follows.
func appendQP(b, line []byte, last bool) []byte {
	end := len(line)
	for end > 0 && (line[end-1] == '\n' || line[end-1] == '\r') {
		end--
	}
	eol := line[end:]
	if len(eol) > 0 {
		for end > 0 && (line[end-1] == ' ' || line[end-1] == '\t') {
			end--
		}
	}
	for i := 0; i < end; i++ {
		c := line[i]
		if c == '=' {
			if i+1 == end && last {
				return b // soft line break
			}
			if i+2 < end {
				if v, ok := unhex(line[i+1], line[i+2]); ok {
					c = v
					i += 2
				}
			}
		}
		b = append(b, c)
	}
	return append(b, eol...)
}
