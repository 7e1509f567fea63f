package message

import (
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/transform"
)

// utf7Decoder decodes UTF-7 (RFC 2152) to UTF-8. Broken input gives U+FFFD.
type utf7Decoder struct {
	shifted bool
	fresh   bool   // directly behind the plus sign
	bits    uint32 // not yet used bits of the base64 run
	nbits   int
	high    uint16 // a high surrogate that waits for its partner
}

func (d *utf7Decoder) Reset() { *d = utf7Decoder{} }

func (d *utf7Decoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if len(dst)-nDst < 2*utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += d.put(dst[nDst:], src[nSrc])
		nSrc++
	}
	if atEOF && d.high != 0 {
		if len(dst)-nDst < utf8.UTFMax {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], utf8.RuneError)
		d.high = 0
	}
	return nDst, nSrc, nil
}

// put takes one octet and writes up to two characters.
func (d *utf7Decoder) put(dst []byte, c byte) int {
	if !d.shifted {
		if c == '+' {
			*d = utf7Decoder{shifted: true, fresh: true}
			return 0
		}
		return putASCII(dst, c)
	}
	v := base64Value(c)
	if v >= 64 {
		return d.unshift(dst, c)
	}
	d.fresh = false
	d.bits, d.nbits = d.bits<<6|uint32(v), d.nbits+6
	if d.nbits < 16 {
		return 0
	}
	d.nbits -= 16
	unit := uint16(d.bits >> d.nbits)
	d.bits &= 1<<d.nbits - 1
	return d.unit(dst, unit)
}

// unshift ends a base64 run with the octet c.
func (d *utf7Decoder) unshift(dst []byte, c byte) int {
	fresh, n := d.fresh, 0
	if d.high != 0 {
		n = utf8.EncodeRune(dst, utf8.RuneError)
	}
	*d = utf7Decoder{}
	switch {
	case c == '-' && fresh:
		return n + putASCII(dst[n:], '+')
	case c == '-':
		return n
	}
	return n + putASCII(dst[n:], c)
}

// unit takes one UTF-16 code unit.
func (d *utf7Decoder) unit(dst []byte, u uint16) int {
	r := rune(u)
	n := 0
	if d.high != 0 {
		pair := utf16.DecodeRune(rune(d.high), r)
		d.high = 0
		if pair != utf8.RuneError {
			return utf8.EncodeRune(dst, pair)
		}
		n = utf8.EncodeRune(dst, utf8.RuneError)
	}
	if u >= 0xd800 && u < 0xdc00 {
		d.high = u
		return n
	}
	return n + utf8.EncodeRune(dst[n:], r)
}

func putASCII(dst []byte, c byte) int {
	if c >= utf8.RuneSelf {
		return utf8.EncodeRune(dst, utf8.RuneError)
	}
	dst[0] = c
	return 1
}

// iso2022krDecoder turns ISO-2022-KR (RFC 1557) into EUC-KR: the designator is dropped, and octets between SO and
// SI get their high bit.
type iso2022krDecoder struct{ shifted bool }

func (d *iso2022krDecoder) Reset() { d.shifted = false }

func (d *iso2022krDecoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		c := src[nSrc]
		switch {
		case c == 0x1b:
			if len(src)-nSrc < 4 && !atEOF {
				return nDst, nSrc, transform.ErrShortSrc
			}
			if len(src)-nSrc >= 4 && string(src[nSrc+1:nSrc+4]) == "$)C" {
				nSrc += 4
				continue
			}
		case c == 0x0e, c == 0x0f:
			d.shifted = c == 0x0e
			nSrc++
			continue
		case c == '\n':
			d.shifted = false
		case d.shifted && c > ' ' && c < 0x7f:
			c |= 0x80
		}
		if nDst == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		dst[nDst] = c
		nDst++
		nSrc++
	}
	return nDst, nSrc, nil
}
