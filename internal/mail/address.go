package mail

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Limits of RFC 5321 §4.5.3.1, in octets.
const (
	MaxLocal  = 64
	MaxDomain = 255
	MaxPath   = 256
)

// maxForwarded is the most of a local part that a forwarder made (SRS0…, SRS1…): it holds the sender's address, so that
// it may be longer than 64 octets, as RFC 5321 §4.5.3.1 lets it be.
const maxForwarded = 200

// Address is a mailbox address (RFC 5321 §4.1.2 Mailbox). The zero value is the null path, or the bare
// Postmaster when only Domain is empty.
type Address struct {
	Local  string // unquoted and unescaped, its case kept; empty only in the null path
	Domain Domain // a name in A-labels or an address literal; empty in the null path and for bare Postmaster
}

// IsNull tells whether the address is the null path.
func (a Address) IsNull() bool { return a.Local == "" && a.Domain == "" }

// String gives the address as RFC 5321 wants it, the local part quoted where it must be; "" for the null path.
func (a Address) String() string {
	if a.IsNull() {
		return ""
	}
	l := a.Local
	if !isDotString(l) {
		l = quoteLocal(l)
	}
	if a.Domain == "" {
		return l
	}
	return l + "@" + string(a.Domain)
}

// ASCII tells whether the address needs no SMTPUTF8.
func (a Address) ASCII() bool {
	for i := range len(a.Local) {
		if a.Local[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Fold gives the address in the form in which ours are compared: the local part in lower case.
func (a Address) Fold() Address {
	return Address{Local: strings.ToLower(a.Local), Domain: a.Domain}
}

// Sub splits a subaddress off the local part: "alice+x" gives "alice" and "x" (RFC 5233 §1). Without a "+", or
// with one in front, detail is empty.
func (a Address) Sub() (user Address, detail string) {
	i := strings.IndexByte(a.Local, '+')
	if i <= 0 {
		return a, ""
	}
	return Address{Local: a.Local[:i], Domain: a.Domain}, a.Local[i+1:]
}

// ParseAddress reads one address, "alice@example.org", `"a b"@example.org` or "x@[192.0.2.1]", and nothing
// behind it. Domains become A-labels in lower case. Source routes and the bare Postmaster are not taken here.
// Errors have Kind Invalid.
func ParseAddress(s string) (Address, error) {
	local, rest, err := cutLocal(s)
	if err != nil {
		return Address{}, err
	}
	if !strings.HasPrefix(rest, "@") {
		return Address{}, badAddress("no @ after the local part")
	}
	d, err := ParseDomain(rest[1:])
	if err != nil {
		return Address{}, err
	}
	return Address{Local: local, Domain: d}, nil
}

func badAddress(text string) error {
	return &Error{Op: "mail.address", Kind: Invalid, Code: Enhanced{5, 1, 3}, Text: "bad address: " + text}
}

// cutLocal reads Local-part (Dot-string or Quoted-string) off the front of s.
func cutLocal(s string) (local, rest string, err error) {
	if len(s) > MaxPath*4 {
		return "", "", badAddress("too long")
	}
	if strings.HasPrefix(s, `"`) {
		local, rest, err = cutQuoted(s)
	} else {
		i := strings.IndexByte(s, '@')
		if i < 0 {
			return "", "", badAddress("no @")
		}
		local, rest = s[:i], s[i:]
		if !isDotString(local) {
			err = badAddress("local part")
		}
	}
	if err == nil && !utf8.ValidString(local) {
		err = badAddress("local part is not UTF-8")
	}
	most := MaxLocal
	if len(local) > 4 && (strings.EqualFold(local[:4], "SRS0") || strings.EqualFold(local[:4], "SRS1")) && strings.IndexByte("=+-", local[4]) >= 0 {
		most = maxForwarded
	}
	if err == nil && (len(local) > most || local == "") {
		err = badAddress("local part is empty or longer than 64 octets")
	}
	return local, rest, err
}

// cutQuoted reads Quoted-string: qtextSMTP and quoted-pairSMTP between double quotes.
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], nil
		case c == '\\' && i+1 < len(s) && s[i+1] >= 0x20 && s[i+1] < 0x7f:
			i++
			b.WriteByte(s[i])
		case c < 0x20 || c == 0x7f || c == '\\':
			return "", "", badAddress("control character in a quoted local part")
		default:
			b.WriteByte(c)
		}
	}
	return "", "", badAddress("quote not closed")
}

// isDotString tells whether s is Dot-string: atoms parted by single dots, UTF-8 allowed (RFC 6531 §3.3).
func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if c == '.' && s[i-1] == '.' {
			return false
		}
		if c != '.' && !isAtext(c) {
			return false
		}
	}
	return true
}

// isAtext tells whether c may stand in an atom (RFC 5322 §3.2.3), octets of UTF-8 included.
func isAtext(c byte) bool {
	return c >= 0x80 || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}

func quoteLocal(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

// Literal gives the IP address of an address literal, "[192.0.2.1]" or "[IPv6:2001:db8::1]".
func (d Domain) Literal() (netip.Addr, bool) {
	s, opened := strings.CutPrefix(string(d), "[")
	s, closed := strings.CutSuffix(s, "]")
	if !opened || !closed {
		return netip.Addr{}, false
	}
	v6 := len(s) > 5 && strings.EqualFold(s[:5], "IPv6:")
	if v6 {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" || ip.Is4() == v6 {
		return netip.Addr{}, false
	}
	return ip, true
}
