package dsn

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
)

// original is what is returned of a message.
type original struct {
	body []byte // message or header section, its last line ended
	full bool
	cut  bool // less is returned than there was to return
	utf8 bool // its header is not ASCII
	bits bool // it holds octets above 127
	odd  bool // it holds what 8BITMIME does not carry: NUL, bare CR or LF, lines over 998 octets
	// sealed: it has octets above 127 where they can neither stay nor be encoded on the way.
	sealed bool
}

// readOriginal takes the original up to limit octets: all of it when that is wanted and it fits, else the header
// section, cut after a whole field. A nil reader has nothing.
func readOriginal(r io.Reader, want Return, limit int64) (original, error) {
	if r == nil {
		return original{}, nil
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return original{}, err
	}
	over := int64(len(b)) > limit
	o := original{full: want == ReturnFull && !over, cut: want == ReturnFull && over}
	header := headerLen(b)
	switch {
	case o.full:
	case int64(header) > min(limit, headerLimit):
		o.cut = true
		header = cutFields(b[:min(limit, headerLimit)])
		b = b[:header]
	default:
		b = b[:header]
	}
	if n := len(b); n > 0 && b[n-1] != '\n' {
		b = append(b[:n:n], "\r\n"...)
	}
	o.body = b
	o.utf8 = !isASCII(string(b[:min(header, len(b))]))
	o.bits = !isASCII(string(b))
	o.odd = isOdd(b)
	return o, nil
}

// headerLen gives the length of the header section without its empty line, len(b) when it has no end.
func headerLen(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] == '\n' || bytes.HasPrefix(b[i:], []byte("\r\n")) {
			return i
		}
		n := bytes.IndexByte(b[i:], '\n')
		if n < 0 {
			break
		}
		i += n + 1
	}
	return len(b)
}

// cutFields gives the length of the whole fields in a header section whose end is missing.
func cutFields(b []byte) int {
	for i := len(b) - 1; i > 0; i-- {
		if b[i-1] == '\n' && b[i] != ' ' && b[i] != '\t' {
			return i
		}
	}
	return 0
}

// isOdd tells whether b needs more than 8BITMIME (RFC 6152 §3).
func isOdd(b []byte) bool {
	for line := range bytes.Lines(b) {
		text, ok := bytes.CutSuffix(line, []byte("\r\n"))
		if !ok || len(text) > 998 || bytes.IndexByte(text, '\r') >= 0 || bytes.IndexByte(text, 0) >= 0 {
			return true
		}
	}
	return false
}

// part gives media type, transfer encoding and content of the third part. message/rfc822 knows no encoding that
// hides its lines (RFC 2046 §5.2.1), message/global does (RFC 6532 §3.7), and text may have any.
func (o original) part(allow8 bool) (mediaType, encoding string, body []byte) {
	encoding = "7bit"
	if o.bits {
		encoding = "8bit"
	}
	switch {
	case o.full && o.utf8:
		mediaType = "message/global"
	case o.full && (o.odd || o.sealed):
		mediaType = "application/octet-stream" // a message that cannot travel as lines, or not to everyone
	case o.full:
		return "message/rfc822", encoding, o.body
	case o.utf8:
		mediaType = "message/global-headers"
	default:
		mediaType = "text/rfc822-headers"
	}
	if o.odd || o.sealed || o.utf8 && !allow8 {
		return mediaType, "base64", base64Lines(o.body)
	}
	return mediaType, encoding, o.body
}

// base64Lines encodes with lines of 76 characters (RFC 2045 §6.8).
func base64Lines(b []byte) []byte {
	text := base64.StdEncoding.EncodeToString(b)
	out := make([]byte, 0, len(text)+len(text)/38+2)
	for len(text) > 76 {
		out = append(append(out, text[:76]...), "\r\n"...)
		text = text[76:]
	}
	if text != "" {
		out = append(append(out, text...), "\r\n"...)
	}
	return out
}
