package store

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"postel/internal/mail"
)

// Limits of mailbox names.
const (
	MaxName      = 1000 // octets of a whole name
	MaxDepth     = 32   // levels
	MaxMailboxes = 10000
)

// CleanName gives a mailbox name as the store keeps it: INBOX, as a whole or as the first level, in capitals
// (RFC 9051 §5.1), without the one trailing separator that CREATE may have (§6.3.4). Kind Invalid for a name that is
// no UTF-8, is empty, has an empty level, a control character, or is too long or too deep.
func CleanName(name string) (string, error) {
	name = strings.TrimSuffix(name, "/")
	bad := func(why string) (string, error) {
		return "", mail.E("store.name", mail.Invalid, "mailbox name %s", why)
	}
	switch {
	case name == "":
		return bad("is empty")
	case len(name) > MaxName:
		return bad("is too long")
	case !utf8.ValidString(name):
		return bad("is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return bad("has a control character")
	case strings.Count(name, "/") >= MaxDepth:
		return bad("has too many levels")
	}
	for level := range strings.SplitSeq(name, "/") {
		if level == "" {
			return bad("has an empty level")
		}
	}
	if len(name) >= 5 && strings.EqualFold(name[:5], "INBOX") && (len(name) == 5 || name[5] == '/') {
		name = "INBOX" + name[5:]
	}
	return name, nil
}

// superiors gives the names above a name, the highest first: "a", "a/b" for "a/b/c".
func superiors(name string) []string {
	var names []string
	for i := range len(name) {
		if name[i] == '/' {
			names = append(names, name[:i])
		}
	}
	return names
}
