package message

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// asciiFirst is CharsetReader for charsets in which ASCII text stands for itself whatever came before: most text is
// that, and is passed on; from the first other octet on a decoder takes over.
type asciiFirst struct {
	charset string
	r       io.Reader
	decoder io.Reader // nil as long as all was ASCII
}

// startsASCII tells whether a charset is fit for asciiFirst.
func startsASCII(charset string) bool {
	switch strings.ToLower(charset) {
	case "", "us-ascii", "ascii", "utf-8", "utf8", "iso-8859-1", "iso-8859-2", "iso-8859-9", "iso-8859-15",
		"windows-1250", "windows-1251", "windows-1252", "koi8-r", "gb18030", "gbk", "gb2312", "big5", "euc-kr", "euc-jp":
		return true
	}
	return false
}

func (a *asciiFirst) Read(p []byte) (int, error) {
	if a.decoder != nil {
		return a.decoder.Read(p)
	}
	n, err := a.r.Read(p)
	ascii := asciiLen(p[:n])
	if ascii == n {
		return n, err
	}
	rest := a.r
	if err != nil {
		rest = errReader{err}
	}
	a.decoder = CharsetReader(a.charset, io.MultiReader(bytes.NewReader(bytes.Clone(p[ascii:n])), rest))
	if ascii > 0 {
		return ascii, nil
	}
	return a.decoder.Read(p)
}

// errReader gives an error.
type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// asciiLen gives the length of the ASCII text at the front of b.
func asciiLen(b []byte) int {
	const high = 0x8080808080808080
	i := 0
	for ; i+8 <= len(b); i += 8 {
		c := b[i : i+8 : i+8]
		v := uint64(c[0]) | uint64(c[1])<<8 | uint64(c[2])<<16 | uint64(c[3])<<24 |
			uint64(c[4])<<32 | uint64(c[5])<<40 | uint64(c[6])<<48 | uint64(c[7])<<56
		if v&high != 0 {
			break
		}
	}
	for i < len(b) && b[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// textReaders is the chain of TextReader, kept from one text to the next.
type textReaders struct {
	qp    qpReader
	ascii asciiFirst
	html  htmlReader
}

// reader is TextReader; what it gave before is of no more use.
func (t *textReaders) reader(p *Part, r io.Reader) io.Reader {
	if strings.EqualFold(p.Encoding, "quoted-printable") {
		t.qp.r, t.qp.n, t.qp.out, t.qp.err = r, 0, nil, nil
		r = &t.qp
	} else {
		r = DecodeReader(p.Encoding, r)
	}
	if p.Type != "text" {
		return r
	}
	if charset := p.Param("charset"); startsASCII(charset) {
		t.ascii = asciiFirst{charset: charset, r: r}
		r = &t.ascii
	} else {
		r = CharsetReader(charset, r)
	}
	if p.Subtype != "html" {
		return r
	}
	h := &t.html
	h.r, h.out, h.err, h.mode, h.quot, h.word, h.skip = r, nil, nil, htmlText, 0, h.word[:0], ""
	return h
}
