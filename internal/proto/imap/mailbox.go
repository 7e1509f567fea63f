package imap

import (
	"encoding/base64"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMailboxName bounds a mailbox name in octets.
const maxMailboxName = 1024

// mailbox is the name of a mailbox, given in modified UTF-7 (RFC 3501 §5.1.3) or as UTF-8; the result is UTF-8.
// INBOX in any case becomes capitals.
func (d *Decoder) mailbox() string {
	var s string
	switch c := d.peek(); {
	case c == '"' || c == '{':
		s = d.string()
	default:
		s = d.word(func(c byte) bool { return isAStringChar(c) || c >= 0x80 }, "a mailbox name")
	}
	return d.mailboxName(s)
}

// listMailbox is a pattern of LIST and LSUB, with * and %.
func (d *Decoder) listMailbox() string {
	if c := d.peek(); c == '"' || c == '{' {
		return d.mailboxName(d.string())
	}
	return d.mailboxName(d.word(isListChar, "a mailbox pattern"))
}

func (d *Decoder) mailboxName(s string) string {
	if d.failed() {
		return ""
	}
	if len(s) > maxMailboxName {
		d.invalid("mailbox name is too long")
		return ""
	}
	name, ok := DecodeMailbox(s)
	if !ok {
		d.invalid("mailbox name is neither modified UTF-7 nor UTF-8")
		return ""
	}
	return name
}

var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// DecodeMailbox gives a mailbox name as UTF-8. A name with 8-bit octets is taken as UTF-8 as it is, any other as
// modified UTF-7.
func DecodeMailbox(s string) (string, bool) {
	if strings.EqualFold(s, "INBOX") {
		return "INBOX", true
	}
	if strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) >= 0 {
		return s, utf8.ValidString(s) && !hasControl(s)
	}
	if hasControl(s) {
		return "", false
	}
	if !strings.Contains(s, "&") {
		return s, true
	}
	var b strings.Builder
	shifted := false
	for s != "" {
		plain, rest, found := strings.Cut(s, "&")
		b.WriteString(plain)
		if !found {
			break
		}
		enc, rest, found := strings.Cut(rest, "-")
		if !found || shifted && plain == "" && enc != "" {
			return "", false // not ended, or two shifts that should be one
		}
		shifted = enc != ""
		if enc == "" {
			b.WriteByte('&')
		} else if !decodeShift(&b, enc) {
			return "", false
		}
		s = rest
	}
	return b.String(), true
}

func hasControl(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }) >= 0
}

// decodeShift reads what stands between & and -: UTF-16 in base64, none of it printable ASCII.
func decodeShift(b *strings.Builder, enc string) bool {
	raw, err := utf7.DecodeString(enc)
	if err != nil || len(raw)%2 != 0 || len(raw) == 0 {
		return false
	}
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i+3 >= len(raw) {
				return false
			}
			r = utf16.DecodeRune(r, rune(raw[i+2])<<8|rune(raw[i+3]))
			if r == utf8.RuneError {
				return false
			}
			i += 2
		}
		if r < 0x80 {
			return false // must stand for itself, and controls are not for names
		}
		b.WriteRune(r)
	}
	return true
}

// EncodeMailbox gives a name of UTF-8 in modified UTF-7. Octets that are not UTF-8 become U+FFFD.
func EncodeMailbox(name string) string {
	if strings.IndexFunc(name, func(r rune) bool { return r < 0x20 || r >= 0x7f || r == '&' }) < 0 {
		return name
	}
	var b strings.Builder
	var pending []byte
	flush := func() {
		if len(pending) > 0 {
			b.WriteByte('&')
			b.WriteString(utf7.EncodeToString(pending))
			b.WriteByte('-')
			pending = pending[:0]
		}
	}
	for _, r := range name {
		switch {
		case r == '&':
			flush()
			b.WriteString("&-")
		case r >= 0x20 && r < 0x7f:
			flush()
			b.WriteRune(r)
		default:
			for _, u := range utf16.AppendRune(nil, r) {
				pending = append(pending, byte(u>>8), byte(u))
			}
		}
	}
	flush()
	return b.String()
}
