package smtp

import (
	"strings"

	"postel/internal/mail"
)

// Path is Reverse-path or Forward-path (RFC 5321 §4.1.2).
type Path struct {
	Address mail.Address // zero: the null path "<>"; without a Domain: the bare Postmaster
	Route   string       // a source route, "@a.example,@b.example"; ignored, as RFC 5321 appendix C advises
	wide    bool         // it was written with characters beyond ASCII
}

// permit refuses a path that needs SMTPUTF8 where that was not said (RFC 6531 §3.5).
func (p Path) permit(utf8 bool) error {
	if p.wide && !utf8 {
		return Fail(553, mail.Invalid, mail.Enhanced{5, 6, 7}, "address is not ASCII")
	}
	return nil
}

// String gives the path with its angle brackets.
func (p Path) String() string {
	if p.Route != "" {
		return "<" + p.Route + ":" + p.Address.String() + ">"
	}
	return "<" + p.Address.String() + ">"
}

// pathOptions is what a path may be.
type pathOptions struct {
	null       bool // "<>"
	postmaster bool // "<Postmaster>"
	bare       bool // an address without angle brackets, which some scripts send
}

// cutPath reads a path off the front of s; rest is what stands behind it.
func cutPath(s string, o pathOptions) (p Path, rest string, err error) {
	inner, rest, err := cutBrackets(s, o.bare)
	if err != nil {
		return Path{}, "", err
	}
	p.wide = !isASCII(inner)
	switch {
	case inner == "" && o.null:
		return Path{}, rest, nil
	case inner == "":
		return Path{}, "", badPath("address is empty")
	case o.postmaster && strings.EqualFold(inner, "postmaster"):
		return Path{Address: mail.Address{Local: inner}}, rest, nil
	}
	if strings.HasPrefix(inner, "@") {
		if p.Route, inner, err = cutRoute(inner); err != nil {
			return Path{}, "", err
		}
	}
	p.Address, err = mail.ParseAddress(inner)
	if err != nil {
		return Path{}, "", badPath("address is not local-part@domain")
	}
	return p, rest, nil
}

// ParseWho reads the argument of VRFY and EXPN (RFC 5321 §4.1.1.6): a mailbox, with angle brackets or without, or a local
// part alone, which has no Domain then; behind it perhaps SMTPUTF8, when ext says so (RFC 6531 §3.7.4.2).
func ParseWho(rest string, ext Extensions) (who mail.Address, utf8 bool, err error) {
	name, param := rest, ""
	if i := strings.LastIndexByte(rest, ' '); i >= 0 && ext.UTF8 && strings.EqualFold(rest[i+1:], "SMTPUTF8") {
		name, param = strings.TrimRight(rest[:i], " "), rest[i+1:]
	}
	utf8 = param != ""
	if strings.HasPrefix(name, "<") && strings.HasSuffix(name, ">") {
		name = name[1 : len(name)-1]
	}
	if who, err = mail.ParseAddress(name); err != nil {
		if who, err = mail.ParseAddress(name + "@x"); err == nil {
			who.Domain = ""
		}
	}
	switch {
	case err != nil:
		return mail.Address{}, utf8, badPath("neither an address nor a local part")
	case !utf8 && !isASCII(name):
		return mail.Address{}, utf8, Fail(553, mail.Invalid, mail.Enhanced{5, 6, 7}, "address is not ASCII")
	}
	return who, utf8, nil
}

// cutBrackets takes "<…>" off the front of s, a ">" inside a quoted local part left alone.
func cutBrackets(s string, bare bool) (inner, rest string, err error) {
	if !strings.HasPrefix(s, "<") {
		if !bare || s == "" {
			return "", "", badPath("address must stand in <>")
		}
		inner, rest, _ = strings.Cut(s, " ")
		return inner, strings.TrimLeft(rest, " "), nil
	}
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			rest = s[i+1:]
			if rest != "" && rest[0] != ' ' {
				return "", "", badPath("something stands behind the >")
			}
			return strings.Trim(s[1:i], " "), strings.TrimLeft(rest, " "), nil
		}
	}
	return "", "", badPath("> is missing")
}

// cutRoute reads A-d-l ":" (RFC 5321 §4.1.2).
func cutRoute(s string) (route, rest string, err error) {
	route, rest, ok := strings.Cut(s, ":")
	for strings.Contains(route, "[") && !strings.HasSuffix(route, "]") && ok { // the colons of an IPv6 literal
		var more string
		more, rest, ok = strings.Cut(rest, ":")
		route += ":" + more
	}
	if !ok {
		return "", "", badPath("source route without an address")
	}
	for hop := range strings.SplitSeq(route, ",") {
		name, at := strings.CutPrefix(hop, "@")
		if _, err := mail.ParseDomain(name); !at || err != nil {
			return "", "", badPath("source route")
		}
	}
	return route, rest, nil
}

// badPath has the status of a recipient; that of a sender is put in by ParseMail.
func badPath(text string) error {
	return Fail(501, mail.Invalid, mail.Enhanced{5, 1, 3}, "%s", text)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
