package smtp

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"postel/internal/mail"
)

// parseEnvelopeID reads ENVID: printable ASCII in xtext (RFC 3461 §4.4). An encoded CR or LF would be one in the field
// of a report.
func parseEnvelopeID(v string) (string, bool) {
	id, ok := DecodeXtext(v)
	return id, ok && len(v) <= 100 && isPrintable(id)
}

// parseNotify reads notify-esmtp-value; NEVER stands alone (RFC 3461 §4.1).
func parseNotify(v string) (mail.Notify, bool) {
	var n mail.Notify
	for w := range strings.SplitSeq(strings.ToUpper(v), ",") {
		switch w {
		case "NEVER":
			n |= mail.NotifyNever
		case "SUCCESS":
			n |= mail.NotifySuccess
		case "FAILURE":
			n |= mail.NotifyFailure
		case "DELAY":
			n |= mail.NotifyDelay
		default:
			return 0, false
		}
	}
	return n, n&mail.NotifyNever == 0 || n == mail.NotifyNever
}

// utf8Type is the type of original recipients that need not be ASCII (RFC 6533 §3).
const utf8Type = "utf-8"

// parseOriginal reads ORCPT (RFC 3461 §4.2, RFC 6533 §3): a type and an address, decoded. What is decoded holds no
// control character. utf8 tells that MAIL said SMTPUTF8.
func parseOriginal(v string, smtputf8 bool) (string, bool) {
	kind, addr, ok := strings.Cut(v, ";")
	if !ok || len(v) > 500 || !isAtomic(kind) {
		return "", false
	}
	if strings.EqualFold(kind, utf8Type) {
		addr, ok = DecodeUTF8Address(addr)
		return utf8Type + ";" + addr, ok && (smtputf8 || isASCII(v))
	}
	addr, ok = DecodeXtext(addr)
	return kind + ";" + addr, ok && addr != "" && isPrintable(addr)
}

func isAtomic(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !isDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return s != ""
}

// DecodeUTF8Address reads utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 §3): \x{HEX} stands for a character. False
// for what is empty, no UTF-8, or has a control character, plain or encoded.
func DecodeUTF8Address(s string) (string, bool) {
	var b strings.Builder
	for s != "" {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1, r <= ' ', r == '+', r == '=':
			return "", false
		case r == '\\':
			if r, n = embedded(s); n == 0 {
				return "", false
			}
		}
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return "", false
		}
		b.WriteRune(r)
		s = s[n:]
	}
	return b.String(), b.Len() > 0
}

// embedded reads EmbeddedUnicodeChar off the front of s; n is 0 when there is none.
func embedded(s string) (r rune, n int) {
	hex, _, ok := strings.Cut(s, "}")
	hex, ok2 := strings.CutPrefix(hex, `\x{`)
	if !ok || !ok2 || len(hex) < 2 || len(hex) > 6 {
		return 0, 0
	}
	v, err := strconv.ParseUint(hex, 16, 32)
	if err != nil || !utf8.ValidRune(rune(v)) {
		return 0, 0
	}
	return rune(v), len(hex) + len(`\x{}`)
}

// EncodeUTF8Address writes utf-8-addr-unitext, or utf-8-addr-xtext where only ASCII may be sent (RFC 6533 §3).
func EncodeUTF8Address(s string, ascii bool) string {
	var b strings.Builder
	for _, r := range s {
		if r <= ' ' || r == 0x7f || r == '\\' || r == '+' || r == '=' || r >= 0x80 && ascii {
			h := strings.ToUpper(strconv.FormatInt(int64(r), 16))
			if len(h)%2 == 1 && len(h) < 3 {
				h = "0" + h
			}
			b.WriteString(`\x{` + h + `}`)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
