package smtp

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Reply is a server's answer (RFC 5321 §4.2). Lines holds its text without codes, one element a line; no line is
// one empty line.
type Reply struct {
	Code     int           // 200 to 599
	Enhanced mail.Enhanced // RFC 2034; zero: none is written, or none was found
	Lines    []string
}

// NewReply makes a reply of one line.
func NewReply(code int, e mail.Enhanced, format string, args ...any) Reply {
	return Reply{Code: code, Enhanced: e, Lines: []string{fmt.Sprintf(format, args...)}}
}

// Positive tells whether the command was done (2yz).
func (r Reply) Positive() bool { return r.Code/100 == 2 }

// Intermediate tells whether the server waits for more (3yz).
func (r Reply) Intermediate() bool { return r.Code/100 == 3 }

// Text gives the lines as one, for logs and results.
func (r Reply) Text() string { return strings.Join(r.Lines, " ") }

// String gives the reply on one line, as people quote it: "550 5.1.1 no such mailbox".
func (r Reply) String() string {
	s := strconv.Itoa(r.Code)
	if e := r.Enhanced.String(); e != "" {
		s += " " + e
	}
	if t := r.Text(); t != "" {
		s += " " + t
	}
	return s
}

// Append writes the reply as it goes over the wire. Characters that would end or break a line become "?", and
// lines are cut at MaxReplyText octets.
func (r Reply) Append(b []byte) []byte {
	lines := r.Lines
	if len(lines) == 0 {
		lines = []string{""}
	}
	enhanced := r.Enhanced.String()
	for i, l := range lines {
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if i < len(lines)-1 {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if enhanced != "" {
			b = append(append(b, enhanced...), ' ')
		}
		b = appendText(b, l)
		b = append(b, "\r\n"...)
	}
	return b
}

// MaxReplyText is how much of a line's text is written: a reply line has 512 octets with its codes and CRLF
// (RFC 5321 §4.5.3.1.5).
const MaxReplyText = 490

func appendText(b []byte, s string) []byte {
	for i := range min(len(s), MaxReplyText) {
		c := s[i]
		if c < 0x20 && c != '\t' || c == 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// ParseReplyLine reads one line of a reply, without its line end. more tells that another follows. Errors have
// Kind Invalid.
func ParseReplyLine(line []byte) (code int, e mail.Enhanced, text string, more bool, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, e, "", false, mail.E("smtp.reply", mail.Invalid, "not a reply of SMTP")
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	rest := line[3:]
	if len(rest) > 0 {
		if rest[0] != ' ' && rest[0] != '-' {
			return 0, e, "", false, mail.E("smtp.reply", mail.Invalid, "not a reply of SMTP")
		}
		more = rest[0] == '-'
		rest = rest[1:]
	}
	e, rest = cutEnhanced(rest, uint16(line[0]-'0'))
	return code, e, string(rest), more, nil
}

// cutEnhanced takes an enhanced status code of the given class off the front of a reply's text (RFC 2034 §4).
func cutEnhanced(text []byte, class uint16) (mail.Enhanced, []byte) {
	word, rest, _ := bytes.Cut(text, []byte(" "))
	var e mail.Enhanced
	part := 0
	digits := 0
	for _, c := range word {
		switch {
		case c == '.' && digits > 0 && part < 2:
			part++
			digits = 0
		case isDigit(c) && digits < 3 && (digits == 0 || e[part] != 0):
			e[part] = e[part]*10 + uint16(c-'0')
			digits++
		default:
			return mail.Enhanced{}, text
		}
	}
	if part != 2 || digits == 0 || e[0] != class || class == 3 {
		return mail.Enhanced{}, text
	}
	return e, rest
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
