package message

import (
	"strings"
	"unicode/utf8"

	"postel/internal/mail"
)

// MaxAddresses is the largest number of addresses that one list gives; what follows is left out.
const MaxAddresses = 10000

// AddressKind tells an address from the marks of a group (RFC 5322 §3.4).
type AddressKind uint8

// The kinds. A group is a GroupStart with its name, its members, and a GroupEnd.
const (
	Mailbox AddressKind = iota
	GroupStart
	GroupEnd
)

// Address is one entry of an address list as ENVELOPE wants it (RFC 3501 §7.4.2).
type Address struct {
	Kind  AddressKind
	Name  string // display name or group name, quotes removed, encoded words and octets above 127 as they came
	Local string // local part without quotes; "" when it is missing and for marks
	Host  string // domain or literal as written; "" when it is missing and for marks
}

// DisplayName gives the name with encoded words decoded.
func (a Address) DisplayName() string { return DecodeText(a.Name) }

// Spec gives local@host, the local part quoted where it must be, in the form that mail.ParseAddress takes.
func (a Address) Spec() string {
	local := a.Local
	if !isDotAtom(local) {
		local = quoteString(local)
	}
	if a.Host == "" {
		return local
	}
	return local + "@" + a.Host
}

// Mail gives the address as an envelope carries it. Errors have Kind Invalid.
func (a Address) Mail() (mail.Address, error) { return mail.ParseAddress(a.Spec()) }

// String formats one address for a header. A name that is not ASCII becomes encoded words; an address mark of a
// group gives "name:" or ";".
func (a Address) String() string {
	switch a.Kind {
	case GroupStart:
		return formatPhrase(a.Name) + ":"
	case GroupEnd:
		return ";"
	}
	if a.Name == "" {
		return a.Spec()
	}
	return formatPhrase(a.Name) + " <" + a.Spec() + ">"
}

// FormatAddressList formats addresses and group marks for a header, on one line.
func FormatAddressList(list []Address) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 && a.Kind != GroupEnd {
			if list[i-1].Kind != GroupStart {
				b.WriteByte(',')
			}
			b.WriteByte(' ')
		}
		b.WriteString(a.String())
	}
	return b.String()
}

// formatPhrase writes a name as atoms, as a quoted string, or as encoded words. Encoded words that are there
// already stay as they are.
func formatPhrase(name string) string {
	switch {
	case name == "":
		return `""`
	case !isASCII(name) || strings.ContainsAny(name, "\r\n\x00"):
		return EncodePhrase(name)
	case isAtoms(name) || strings.Contains(name, "=?") && isEncodedPhrase(name):
		return name
	}
	return quoteString(name)
}

// isAtoms tells whether s is atoms parted by single spaces.
func isAtoms(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if word == "" || strings.HasPrefix(word, "=?") {
			return false
		}
		for i := range len(word) {
			if !isAtext(word[i]) {
				return false
			}
		}
	}
	return true
}

// isEncodedPhrase tells whether s is encoded words and atoms parted by single spaces.
func isEncodedPhrase(s string) bool {
	for word := range strings.SplitSeq(s, " ") {
		if w, rest, ok := cutEncodedWord(word); ok && rest == "" && isPhraseWord(w.payload) {
			continue
		}
		if !isAtoms(word) {
			return false
		}
	}
	return true
}

// isPhraseWord tells whether an encoded word's text may stand in a phrase (RFC 2047 §5 (3)).
func isPhraseWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlnum(c) && strings.IndexByte("!*+-/=_", c) < 0 {
			return false
		}
	}
	return true
}

func isDotAtom(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == '.' && s[i-1] == '.' || s[i] != '.' && !isAtext(s[i]) {
			return false
		}
	}
	return true
}

// isAtext tells whether c may stand in an atom (RFC 5322 §3.2.3, RFC 6532 §3.2).
func isAtext(c byte) bool {
	return isAlnum(c) || c >= 0x80 || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// quoteString writes a quoted string (RFC 5322 §3.2.4). Control characters are dropped: they cannot be quoted.
func quoteString(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := range len(s) {
		c := s[i]
		if c < ' ' && c != '\t' || c == 0x7f {
			continue
		}
		if c == '"' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, c)
	}
	return string(append(b, '"'))
}
