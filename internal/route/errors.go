package route

import (
	"errors"
	"fmt"

	"postel/internal/mail"
)

// ReplyCode gives the SMTP reply code for an error of Route: 556 for the null MX (RFC 7504 §4), 550 for what is
// permanent, 451 for the rest.
func ReplyCode(err error) int {
	switch code := codeOf(err); {
	case code == nullMX:
		return 556
	case code.Permanent():
		return 550
	}
	return 451
}

// The statuses of RFC 3463 §3.2 and §3.5 and of RFC 7505 §4.1.
var (
	nullMX    = mail.Enhanced{5, 1, 10}
	badDomain = mail.Enhanced{5, 1, 2}
	noRoute   = mail.Enhanced{5, 4, 4}
	loopCode  = mail.Enhanced{5, 4, 6}
	dnsDown   = mail.Enhanced{4, 4, 3}
)

func codeOf(err error) mail.Enhanced {
	var e *mail.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return mail.Enhanced{}
}

func noDomain(d mail.Domain, why string) error {
	return &mail.Error{Op: "route", Kind: mail.NotFound, Code: badDomain, Text: fmt.Sprintf("domain %s %s", d, why)}
}

func nowhere(d mail.Domain, why string) error {
	return &mail.Error{Op: "route", Kind: mail.NotFound, Code: noRoute, Text: fmt.Sprintf("no route to %s: %s", d, why)}
}

func loop(d mail.Domain, why string) error {
	return &mail.Error{Op: "route", Kind: mail.Loop, Code: loopCode, Text: fmt.Sprintf("mail for %s would loop: %s", d, why)}
}

// sourceless is the error where the rule's source has no way to any address, which the operator can mend.
func sourceless(d mail.Domain) error {
	return &mail.Error{
		Op: "route", Kind: mail.Unavailable, Code: mail.Enhanced{4, 4, 4},
		Text: fmt.Sprintf("no host for %s has an address of the family that its route comes from", d),
	}
}

// failed is a look-up that nobody could answer.
func failed(d mail.Domain, err error) error {
	kind := mail.Unavailable
	if mail.Is(err, mail.Canceled) {
		kind = mail.Canceled
	}
	return &mail.Error{Op: "route", Kind: kind, Code: dnsDown, Text: fmt.Sprintf("cannot look up where mail for %s goes", d), Err: err}
}
