package message

import (
	"io"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/ianaindex"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
	"golang.org/x/text/transform"
)

// charsetDecoder gives a new decoder to UTF-8 for a charset's name in any case; false when it is not known.
// US-ASCII, which mailers claim for anything, is taken as UTF-8 where it is that, else as Windows-1252.
func charsetDecoder(name string) (transform.Transformer, bool) {
	name = strings.ToLower(strings.TrimSpace(name))
	switch name {
	case "utf-8", "utf8":
		return unicode.UTF8.NewDecoder(), true
	case "", "us-ascii", "ascii", "ansi_x3.4-1968", "646", "iso646-us", "8bit", "7bit", "default", "x-unknown", "unknown-8bit":
		return lenientDecoder{}, true
	case "utf-7", "unicode-1-1-utf-7", "x-unicode-2-0-utf-7", "utf7":
		return &utf7Decoder{}, true
	case "iso-2022-kr", "csiso2022kr":
		return transform.Chain(&iso2022krDecoder{}, korean.EUCKR.NewDecoder()), true
	}
	if e := namedEncoding(name); e != nil {
		return e.NewDecoder(), true
	}
	return nil, false
}

// namedEncoding finds the charsets that x/text has, with the names that mailers use.
func namedEncoding(name string) encoding.Encoding {
	switch name {
	case "cp437", "ibm437":
		return charmap.CodePage437
	case "cp850", "ibm850":
		return charmap.CodePage850
	case "cp932", "ms932", "windows-932", "x-ms-cp932":
		return japanese.ShiftJIS
	case "hz-gb-2312", "hz":
		return simplifiedchinese.HZGB2312
	case "utf-16": // RFC 2781 §4.3: without a mark, big endian
		return unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	case "utf-32":
		return utf32.UTF32(utf32.BigEndian, utf32.UseBOM)
	case "iso-2022-cn", "iso-2022-cn-ext", "replacement":
		return nil
	}
	if len(name) > 64 || !isASCII(name) {
		return nil
	}
	if rest, ok := strings.CutPrefix(name, "cp125"); ok && len(rest) == 1 {
		name = "windows-125" + rest
	}
	if e, err := htmlindex.Get(name); err == nil {
		return e
	}
	if e, err := ianaindex.MIME.Encoding(name); err == nil && e != nil {
		return e
	}
	return nil
}

// DecodeCharset decodes b to valid UTF-8. An unknown charset is taken as UTF-8 where it is that, else as
// Windows-1252, and known is false.
func DecodeCharset(charset string, b []byte) (text string, known bool) {
	d, known := charsetDecoder(charset)
	if !known {
		d = lenientDecoder{}
	}
	if utf8.Valid(b) && (strings.EqualFold(charset, "utf-8") || isLenient(d)) {
		return string(b), known
	}
	out, _, err := transform.Bytes(d, b)
	if err != nil {
		return lenientUTF8(string(b)), known
	}
	return strings.ToValidUTF8(string(out), "\uFFFD"), known
}

func isLenient(d transform.Transformer) bool {
	_, ok := d.(lenientDecoder)
	return ok
}

// CharsetReader gives the UTF-8 text of r; an unknown charset as in DecodeCharset.
func CharsetReader(charset string, r io.Reader) io.Reader {
	d, ok := charsetDecoder(charset)
	if !ok {
		d = lenientDecoder{}
	}
	return transform.NewReader(r, d)
}

// lenientUTF8 gives s when it is valid UTF-8, else with each invalid octet taken as Windows-1252.
func lenientUTF8(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	out, _, err := transform.String(lenientDecoder{}, s)
	if err != nil {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return out
}

// lenientDecoder passes UTF-8 and takes every other octet as Windows-1252.
type lenientDecoder struct{ transform.NopResetter }

func (lenientDecoder) Transform(dst, src []byte, atEOF bool) (nDst, nSrc int, err error) {
	for nSrc < len(src) {
		if c := src[nSrc]; c < utf8.RuneSelf {
			if nDst == len(dst) {
				return nDst, nSrc, transform.ErrShortDst
			}
			dst[nDst] = c
			nDst++
			nSrc++
			continue
		}
		if !atEOF && !utf8.FullRune(src[nSrc:]) {
			return nDst, nSrc, transform.ErrShortSrc
		}
		r, size := utf8.DecodeRune(src[nSrc:])
		if r == utf8.RuneError && size == 1 {
			r = charmap.Windows1252.DecodeByte(src[nSrc])
		}
		if nDst+utf8.RuneLen(r) > len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		nDst += utf8.EncodeRune(dst[nDst:], r)
		nSrc += size
	}
	return nDst, nSrc, nil
}
