package pop3

import (
	"crypto/md5" // RFC 1939 §7 wants it
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"strings"

	"postel/internal/mail"
)

// Code is a response code (RFC 2449 §6.5), without its brackets.
type Code string

// The codes: of RFC 2449 §8.1, and of RFC 3206 §4 and §5.
const (
	InUse   Code = "IN-USE"   // another session has the maildrop
	AuthBad Code = "AUTH"     // the credentials are wrong, nothing else is
	SysTemp Code = "SYS/TEMP" // later works
	SysPerm Code = "SYS/PERM" // someone must mend it
)

// MaxReply is the longest first line of a reply, with its CRLF, in octets (RFC 2449 §4).
const MaxReply = 512

// AppendOK appends a positive reply.
func AppendOK(b []byte, text string) []byte { return appendReply(b, "+OK", "", text) }

// AppendErr appends a negative reply; code may be empty.
func AppendErr(b []byte, code Code, text string) []byte { return appendReply(b, "-ERR", code, text) }

// AppendContinue appends a challenge of AUTH, which is in base64 already (RFC 5034 §4).
func AppendContinue(b []byte, challenge string) []byte { return append(b, "+ "+challenge+"\r\n"...) }

func appendReply(b []byte, status string, code Code, text string) []byte {
	start := len(b)
	b = append(b, status...)
	if code != "" {
		b = append(b, " ["+string(code)+"]"...)
	}
	if text != "" {
		b = append(b, ' ')
	}
	for i := 0; i < len(text) && len(b)-start < MaxReply-2; i++ {
		c := text[i]
		if c < 0x20 || c == 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return append(b, '\r', '\n')
}

// CodeOf is the table from Kinds to response codes.
func CodeOf(err error) Code {
	switch mail.KindOf(err) {
	case mail.AuthFailed:
		return AuthBad
	case mail.Busy:
		return InUse
	case mail.Internal, mail.Unavailable, mail.TooMany, mail.Full:
		return SysTemp
	case mail.Denied:
		return SysPerm
	}
	return ""
}

// TextOf is the public text of an error.
func TextOf(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" && e.Kind != mail.Internal {
		return e.Text
	}
	switch mail.KindOf(err) {
	case mail.Internal, mail.Unavailable:
		return "cannot do that now, try again later"
	}
	return mail.KindOf(err).String()
}

// DigestOf gives the digest of APOP: MD5 of the greeting's timestamp, with its brackets, and the secret.
func DigestOf(timestamp, secret string) string {
	sum := md5.Sum([]byte(timestamp + secret))
	return hex.EncodeToString(sum[:])
}

// Proves tells whether a digest is the one of a secret.
func (d Digest) Proves(timestamp, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(strings.ToLower(d.Hex)), []byte(DigestOf(timestamp, secret))) == 1
}
