package mail

import (
	"strings"

	"golang.org/x/net/idna"
)

// Domain is a domain name in A-labels and lower case without a final dot, or an address literal in brackets.
// Two Domains are the same when they are equal strings.
type Domain string

// idnaProfile maps and checks as RFC 5891 with the tables of UTS 46, strict on length, lenient on the
// characters that real host names carry (underscores).
func idnaProfile() *idna.Profile {
	return idna.New(idna.MapForLookup(), idna.BidiRule(), idna.VerifyDNSLength(true), idna.StrictDomainName(false))
}

// ParseDomain reads a domain name, in U-labels or A-labels, or an address literal. Errors have Kind Invalid.
func ParseDomain(s string) (Domain, error) {
	if strings.HasPrefix(s, "[") {
		d := Domain(strings.ToLower(s))
		if _, ok := d.Literal(); !ok {
			return "", badAddress("address literal")
		}
		return d, nil
	}
	if len(s) > MaxDomain*2 {
		return "", badAddress("domain is too long")
	}
	s = strings.TrimSuffix(s, ".")
	if !asciiName(s) {
		a, err := idnaProfile().ToASCII(s)
		if err != nil {
			return "", badAddress("domain name")
		}
		s = a
	}
	s = strings.ToLower(s)
	if !validName(s) {
		return "", badAddress("domain name")
	}
	return Domain(s), nil
}

func asciiName(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// validName checks sub-domain *("." sub-domain) (RFC 5321 §4.1.2), underscores allowed inside labels.
func validName(s string) bool {
	if s == "" || len(s) > MaxDomain {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

// Unicode gives the name in U-labels, for people to read; literals and names that do not convert stay.
func (d Domain) Unicode() string {
	u, err := idna.Display.ToUnicode(string(d))
	if err != nil || strings.HasPrefix(string(d), "[") {
		return string(d)
	}
	return u
}
