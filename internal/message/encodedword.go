package message

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// encodedWord is =?charset*language?encoding?payload?= (RFC 2047 §2, RFC 2231 §5), the language dropped.
type encodedWord struct {
	charset string
	base64  bool
	payload string
}

// cutEncodedWord reads an encoded word at the front of s. Blanks in the payload, which RFC 2047 forbids and mailers
// write, are taken.
func cutEncodedWord(s string) (w encodedWord, rest string, ok bool) {
	body, ok := strings.CutPrefix(s, "=?")
	if !ok {
		return w, s, false
	}
	i := strings.IndexByte(body, '?')
	if i < 1 || i > 64 || len(body) < i+3 || body[i+2] != '?' || !isToken(body[:i]) {
		return w, s, false
	}
	if w.charset, _, _ = strings.Cut(body[:i], "*"); w.charset == "" {
		return w, s, false
	}
	switch body[i+1] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, s, false
	}
	body = body[i+3:]
	end := strings.IndexByte(body, '?')
	if end < 0 || end+1 >= len(body) || body[end+1] != '=' {
		return w, s, false
	}
	w.payload = body[:end]
	if w.base64 && !isBase64Text(w.payload) {
		return w, s, false
	}
	return w, body[end+2:], true
}

// isBase64Text tells whether s is nothing but digits, padding and blanks.
func isBase64Text(s string) bool {
	for i := range len(s) {
		if base64Value(s[i]) > 64 && s[i] != ' ' {
			return false
		}
	}
	return true
}

// isToken tells whether s may be a charset's name here: printable, without blanks, quotes and equal signs.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' || s[i] == '"' {
			return false
		}
	}
	return s != ""
}

// appendTo appends the octets that the word stands for.
func (w encodedWord) appendTo(b []byte) []byte {
	if w.base64 {
		return appendBase64(b, w.payload)
	}
	for i := 0; i < len(w.payload); i++ {
		c := w.payload[i]
		switch {
		case c == '_':
			c = ' '
		case c == '=' && i+2 < len(w.payload):
			if v, ok := unhex(w.payload[i+1], w.payload[i+2]); ok {
				c = v
				i += 2
			}
		}
		b = append(b, c)
	}
	return b
}

func unhex(a, b byte) (byte, bool) {
	x, y := hexValue(a), hexValue(b)
	return x<<4 | y, x < 16 && y < 16
}

func hexValue(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// appendBase64 decodes what it can: octets outside of the alphabet are skipped, padding may be missing.
func appendBase64(b []byte, s string) []byte {
	var d base64State
	for i := range len(s) {
		b = d.put(b, s[i])
	}
	return d.flush(b)
}

// DecodeText decodes the encoded words of an unfolded header value (RFC 2047 §6). Words of an unknown charset or
// broken syntax stay as they are; octets above 127 outside of words are taken as UTF-8, else as Windows-1252.
// Adjacent words of one charset are joined before their charset is decoded, because many mailers cut characters in
// two. The result is valid UTF-8 without line ends and NUL.
func DecodeText(s string) string {
	if !strings.Contains(s, "=?") {
		return cleanText(s)
	}
	var d textDecoder
	for {
		i := strings.Index(s, "=?")
		if i < 0 {
			d.plain(s)
			break
		}
		w, rest, ok := cutEncodedWord(s[i:])
		if !ok {
			i += 2
			d.plain(s[:i])
			s = s[i:]
			continue
		}
		d.plain(s[:i])
		d.word(w, s[i:len(s)-len(rest)])
		s = rest
	}
	d.flush()
	return cleanText(d.out.String())
}

// textDecoder joins plain text and runs of encoded words.
type textDecoder struct {
	out     strings.Builder
	charset string // of the open run; "" when none is open
	raw     []byte // the octets of the open run
	blank   string // the blanks behind the open run
}

func (d *textDecoder) plain(s string) {
	if d.charset != "" && strings.Trim(s, " \t") == "" {
		d.blank += s
		return
	}
	d.flush()
	d.out.WriteString(lenientUTF8(s))
}

func (d *textDecoder) word(w encodedWord, source string) {
	if _, ok := charsetDecoder(w.charset); !ok {
		d.flush()
		d.out.WriteString(source)
		return
	}
	if !strings.EqualFold(d.charset, w.charset) {
		d.blank = ""
		d.flush()
	}
	d.charset, d.blank = w.charset, ""
	d.raw = w.appendTo(d.raw)
}

func (d *textDecoder) flush() {
	if d.charset != "" {
		text, _ := DecodeCharset(d.charset, d.raw)
		d.out.WriteString(text)
		d.out.WriteString(d.blank)
	}
	d.charset, d.blank, d.raw = "", "", d.raw[:0]
}

// cleanText makes s valid UTF-8 and turns control characters that could end a line into blanks.
func cleanText(s string) string {
	s = lenientUTF8(s)
	if strings.ContainsAny(s, "\r\n\x00") {
		s = strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ", "\x00", "").Replace(s)
	}
	return s
}

// EncodeText writes text for an unstructured field: as it is when it is ASCII, else as encoded words in UTF-8
// parted by spaces (RFC 2047 §5 (1)). Line ends become blanks. See FoldText.
func EncodeText(s string) string {
	s = cleanText(s)
	if isASCII(s) && !strings.Contains(s, "=?") && !hasControls(s) {
		return s
	}
	return encodeWords(s, isTextSafe)
}

// EncodePhrase writes s as encoded words for a phrase (RFC 2047 §5 (3)).
func EncodePhrase(s string) string { return encodeWords(cleanText(s), isPhraseSafe) }

func hasControls(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// maxWord is the room for the payload of an encoded word. RFC 2047 §2 allows words of 75 octets on lines of 76; ours
// have 64, so that a field's name fits in front.
const maxWord = 64 - len("=?utf-8?q??=")

// encodeWords uses the shorter of the two encodings and never cuts a character.
func encodeWords(s string, safe func(byte) bool) string {
	q := 0
	for i := range len(s) {
		if q++; !safe(s[i]) && s[i] != ' ' {
			q += 2
		}
	}
	if q <= base64.StdEncoding.EncodedLen(len(s)) {
		return encodeQ(s, safe)
	}
	var words []string
	for s != "" {
		n := 0
		for n < len(s) {
			_, size := utf8.DecodeRuneInString(s[n:])
			if base64.StdEncoding.EncodedLen(n+size) > maxWord {
				break
			}
			n += size
		}
		words = append(words, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		s = s[n:]
	}
	return strings.Join(words, " ")
}

func encodeQ(s string, safe func(byte) bool) string {
	const hex = "0123456789ABCDEF"
	var out, word []byte
	flush := func() {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = append(append(append(out, "=?utf-8?q?"...), word...), "?="...)
		word = word[:0]
	}
	for s != "" {
		_, size := utf8.DecodeRuneInString(s)
		var enc []byte
		for _, c := range []byte(s[:size]) {
			switch {
			case c == ' ':
				enc = append(enc, '_')
			case safe(c):
				enc = append(enc, c)
			default:
				enc = append(enc, '=', hex[c>>4], hex[c&15])
			}
		}
		if len(word)+len(enc) > maxWord {
			flush()
		}
		word = append(word, enc...)
		s = s[size:]
	}
	flush()
	return string(out)
}

func isTextSafe(c byte) bool { return c > ' ' && c < 0x7f && c != '=' && c != '?' && c != '_' }

func isPhraseSafe(c byte) bool { return isAlnum(c) || strings.IndexByte("!*+-/", c) >= 0 }
