package message

import "io"

// base64Value gives the value of a base64 digit (RFC 4648 §4), 64 for padding, 65 for anything else.
func base64Value(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c - 'A'
	case c >= 'a' && c <= 'z':
		return c - 'a' + 26
	case c >= '0' && c <= '9':
		return c - '0' + 52
	case c == '+':
		return 62
	case c == '/':
		return 63
	case c == '=':
		return 64
	}
	return 65
}

// base64State collects digits. Octets outside of the alphabet are skipped (RFC 2045 §6.8); padding ends a quantum,
// and what follows starts anew, so that several encodings in a row are read.
type base64State struct {
	bits uint32
	n    int // digits held, up to 3
}

func (d *base64State) put(b []byte, c byte) []byte {
	v := base64Value(c)
	if v > 63 {
		if v == 64 {
			b = d.flush(b)
		}
		return b
	}
	d.bits = d.bits<<6 | uint32(v)
	if d.n++; d.n == 4 {
		b = append(b, byte(d.bits>>16), byte(d.bits>>8), byte(d.bits))
		d.bits, d.n = 0, 0
	}
	return b
}

// flush gives the octets of an unfinished quantum.
func (d *base64State) flush(b []byte) []byte {
	switch d.n {
	case 2:
		b = append(b, byte(d.bits>>4))
	case 3:
		b = append(b, byte(d.bits>>10), byte(d.bits>>2))
	}
	d.bits, d.n = 0, 0
	return b
}

// base64Decoder is a base64State with its alphabet as a table.
type base64Decoder struct {
	base64State
	table [256]byte
}

func newBase64Decoder() *base64Decoder {
	d := new(base64Decoder)
	for i := range d.table {
		d.table[i] = base64Value(byte(i))
	}
	return d
}

// decode appends what in stands for to out, an unfinished quantum aside.
func (d *base64Decoder) decode(out, in []byte) []byte {
	for i := 0; i < len(in); {
		if d.n == 0 && i+4 <= len(in) { // the common case: a whole quantum
			a, b, c, e := d.table[in[i]], d.table[in[i+1]], d.table[in[i+2]], d.table[in[i+3]]
			if a|b|c|e < 64 {
				out = append(out, a<<2|b>>4, b<<4|c>>2, c<<6|e)
				i += 4
				continue
			}
		}
		out = d.put(out, in[i])
		i++
	}
	return out
}

// base64Reader decodes tolerantly and never fails but with the errors of its source.
type base64Reader struct {
	base64Decoder
	r    io.Reader
	in   [4096]byte
	out  []byte // decoded, not yet read
	room [4096]byte
	err  error
}

func newBase64Reader(r io.Reader) *base64Reader {
	return &base64Reader{base64Decoder: *newBase64Decoder(), r: r}
}

func (d *base64Reader) Read(p []byte) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		n, err := d.r.Read(d.in[:])
		d.out = d.decode(d.room[:0], d.in[:n])
		if d.err = err; err != nil {
			d.out = d.flush(d.out)
		}
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}
