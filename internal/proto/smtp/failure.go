package smtp

import (
	"errors"
	"fmt"
	"strconv"

	"postel/internal/mail"
)

// code is a reply code that an error insists on, in the place of its Kind's.
type code int

func (c code) Error() string { return "reply " + strconv.Itoa(int(c)) }

// Fail makes an error that is answered with this very code. mail.E suffices where the Kind's code will do.
func Fail(reply int, k mail.Kind, e mail.Enhanced, format string, args ...any) error {
	return &mail.Error{Op: "smtp", Kind: k, Code: e, Text: fmt.Sprintf(format, args...), Err: code(reply)}
}

// answer is how a Kind is said: the code for a class 5 status and for a class 4 one, the status when the error
// has none, and the text when it has none.
type answer struct {
	perm, temp int
	data       int // class 5 after the content, where 501 and 504 make no sense
	enhanced   mail.Enhanced
	text       string
}

// answers is the one table from Kinds to replies (RFC 5321 §4.2.3, RFC 4954 §6).
var answers = [...]answer{
	mail.Internal:     {554, 451, 554, mail.Enhanced{4, 3, 0}, "internal error"},
	mail.Invalid:      {501, 451, 554, mail.Enhanced{5, 5, 4}, "syntax error"},
	mail.Unsupported:  {504, 451, 554, mail.Enhanced{5, 5, 4}, "not supported"},
	mail.TooLarge:     {552, 452, 552, mail.Enhanced{5, 3, 4}, "message too large"},
	mail.TooMany:      {554, 452, 554, mail.Enhanced{4, 5, 3}, "too many"},
	mail.NotFound:     {550, 450, 550, mail.Enhanced{5, 1, 1}, "no such mailbox"},
	mail.Exists:       {554, 451, 554, mail.Enhanced{5, 5, 0}, "exists already"},
	mail.Denied:       {550, 450, 550, mail.Enhanced{5, 7, 1}, "not allowed"},
	mail.AuthRequired: {530, 454, 530, mail.Enhanced{5, 7, 0}, "authentication required"},
	mail.AuthFailed:   {535, 454, 535, mail.Enhanced{5, 7, 8}, "authentication failed"},
	mail.NeedTLS:      {530, 454, 530, mail.Enhanced{5, 7, 0}, "STARTTLS first"},
	mail.OverQuota:    {552, 452, 552, mail.Enhanced{4, 2, 2}, "mailbox full"},
	mail.Busy:         {550, 450, 550, mail.Enhanced{4, 2, 1}, "mailbox busy, try again later"},
	mail.Unavailable:  {554, 451, 554, mail.Enhanced{4, 3, 0}, "cannot serve now, try again later"},
	mail.Loop:         {554, 451, 554, mail.Enhanced{5, 4, 6}, "mail loop"},
	mail.Rejected:     {550, 450, 550, mail.Enhanced{5, 7, 1}, "refused"},
	mail.Canceled:     {554, 451, 554, mail.Enhanced{4, 3, 0}, "interrupted, try again later"},
	mail.Full:         {554, 452, 554, mail.Enhanced{4, 3, 1}, "insufficient system storage, try again later"},
}

// ReplyOf says an error in SMTP. afterData tells that it answers the content. The class of the error's status
// decides between 4yz and 5yz, its Kind gives the default. The cause never shows.
func ReplyOf(err error, afterData bool) Reply {
	var e *mail.Error
	if !errors.As(err, &e) {
		e = &mail.Error{}
	}
	a := answers[mail.Internal]
	if int(e.Kind) < len(answers) {
		a = answers[e.Kind]
	}
	r := Reply{Enhanced: e.Code, Lines: []string{e.Text}}
	if e.Text == "" || e.Kind == mail.Internal {
		r.Lines[0] = a.text
	}
	if r.Enhanced[0] != 4 && r.Enhanced[0] != 5 {
		r.Enhanced = a.enhanced
		if afterData && a.enhanced == (mail.Enhanced{5, 5, 4}) {
			r.Enhanced = mail.Enhanced{5, 6, 0}
		}
	}
	var c code
	switch {
	case errors.As(err, &c) && int(c)/100 == int(r.Enhanced[0]):
		r.Code = int(c)
	case r.Enhanced[0] == 4:
		r.Code = a.temp
	case afterData:
		r.Code = a.data
	default:
		r.Code = a.perm
	}
	return r
}
