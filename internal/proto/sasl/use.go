package sasl

import (
	"strings"

	"postel/internal/mail"
)

// Use says where a shared secret may be used, as bits.
type Use uint8

// The uses.
const (
	ForODMR Use = 1 << iota
	ForPOP3
	ForIMAP
	ForSubmission

	AllUses = ForODMR | ForPOP3 | ForIMAP | ForSubmission
)

var useNames = [...]string{"odmr", "pop3", "imap", "submission"}

// String gives the names, as "odmr,pop3".
func (u Use) String() string {
	var names []string
	for i, name := range useNames {
		if u&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseUse reads what String gives. Kind Invalid for another name, and for none at all.
func ParseUse(s string) (u Use, err error) {
next:
	for word := range strings.SplitSeq(s, ",") {
		for i, name := range useNames {
			if strings.TrimSpace(word) == name {
				u |= 1 << i
				continue next
			}
		}
		return 0, mail.E("sasl.use", mail.Invalid, "a secret is for %s, not for %q", strings.Join(useNames[:], ", "), word)
	}
	return u, nil
}
