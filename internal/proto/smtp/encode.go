package smtp

import (
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// MailLine writes MAIL for the envelope, with the parameters that x names and that are set.
func MailLine(e mail.Envelope, x Extensions) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:" + Path{Address: e.From}.String())
	if x.Size && e.Size > 0 {
		b.WriteString(" SIZE=" + strconv.FormatInt(e.Size, 10))
	}
	switch {
	case e.Body == mail.Body8BitMIME && x.EightBit:
		b.WriteString(" BODY=8BITMIME")
	case e.Body == mail.BodyBinaryMIME && x.Binary:
		b.WriteString(" BODY=BINARYMIME")
	}
	if e.UTF8 && x.UTF8 {
		b.WriteString(" SMTPUTF8")
	}
	if e.Return != "" && x.DSN {
		b.WriteString(" RET=" + e.Return)
	}
	if e.EnvelopeID != "" && x.DSN {
		b.WriteString(" ENVID=" + EncodeXtext(e.EnvelopeID))
	}
	if !e.By.Deadline.IsZero() && x.DeliverBy {
		b.WriteString(" BY=" + byValue(e.By))
	}
	if e.Priority != 0 && x.Priority {
		b.WriteString(" MT-PRIORITY=" + strconv.Itoa(int(e.Priority)))
	}
	if e.RequireTLS && x.RequireTLS {
		b.WriteString(" REQUIRETLS")
	}
	return b.String()
}

// maxBy is the largest number of seconds that BY has room for (RFC 2852 §4).
const maxBy = 999_999_999

// byValue says a deadline as what is left of it (RFC 2852 §4.1.3); nothing is left of it only where it is not to go
// back.
func byValue(by mail.DeliverBy) string {
	left := max(min(int64(time.Until(by.Deadline)/time.Second), maxBy), -maxBy)
	v := ";N"
	if by.Return {
		v, left = ";R", max(left, 1)
	}
	if by.Trace {
		v += "T"
	}
	return strconv.FormatInt(left, 10) + v
}

// RcptLine writes RCPT for a recipient, with the parameters that x names and that are set.
func RcptLine(r mail.Recipient, x Extensions) string {
	var b strings.Builder
	b.WriteString("RCPT TO:" + Path{Address: r.Address}.String())
	if r.Notify != 0 && x.DSN {
		b.WriteString(" NOTIFY=" + notifyValue(r.Notify))
	}
	if kind, addr, ok := strings.Cut(r.Original, ";"); ok && x.DSN && isAtomic(kind) {
		addr = originalAddress(kind, addr, !x.UTF8)
		b.WriteString(" ORCPT=" + kind + ";" + addr)
	}
	return b.String()
}

func originalAddress(kind, addr string, ascii bool) string {
	if strings.EqualFold(kind, utf8Type) {
		return EncodeUTF8Address(addr, ascii)
	}
	return EncodeXtext(addr)
}

func notifyValue(n mail.Notify) string {
	if n&mail.NotifyNever != 0 {
		return "NEVER"
	}
	var w []string
	for _, m := range [...]struct {
		bit  mail.Notify
		word string
	}{{mail.NotifySuccess, "SUCCESS"}, {mail.NotifyFailure, "FAILURE"}, {mail.NotifyDelay, "DELAY"}} {
		if n&m.bit != 0 {
			w = append(w, m.word)
		}
	}
	return strings.Join(w, ",")
}

// EncodeXtext writes xtext (RFC 3461 §4).
func EncodeXtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= 0x20 || c >= 0x7f || c == '+' || c == '=' {
			b.WriteByte('+')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// DecodeXtext reads xtext; false for what is not.
func DecodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c <= 0x20 || c >= 0x7f || c == '=':
			return "", false
		case c != '+':
			b.WriteByte(c)
		case i+2 >= len(s):
			return "", false
		default:
			hi, ok := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if !ok || !ok2 {
				return "", false
			}
			b.WriteByte(hi<<4 | lo)
			i += 2
		}
	}
	return b.String(), true
}

// unhex reads a hexadecimal digit, which xtext wants in capitals; small ones are forgiven.
func unhex(c byte) (byte, bool) {
	switch {
	case isDigit(c):
		return c - '0', true
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10, true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}
