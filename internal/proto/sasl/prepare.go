package sasl

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"postel/internal/mail"
)

// Prepare brings a login or password into the form in which two of them are compared: SASLprep (RFC 4013) with
// current Unicode tables: other spaces become a space, what is invisible goes, compatibility forms are composed
// (NFKC), control characters and what is not UTF-8 are errors of Kind Invalid. ASCII stays as it is. The rules
// for text from right to left are left out: they protect the eye, and a password is not read.
func Prepare(s string) (string, error) {
	if isPrintable(s) {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", mail.E("sasl.prepare", mail.Invalid, "not valid UTF-8")
	}
	s = norm.NFKC.String(strings.Map(mapRune, s))
	for _, r := range s {
		if prohibited(r) {
			return "", mail.E("sasl.prepare", mail.Invalid, "a character that passwords and names cannot have")
		}
	}
	return s, nil
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// mapRune maps non-ASCII spaces to a space and drops what is commonly mapped to nothing (RFC 3454 B.1).
func mapRune(r rune) rune {
	switch {
	case r == 0xAD, r == 0x34F, r == 0x1806, r >= 0x180B && r <= 0x180D, r >= 0x200B && r <= 0x200D, r == 0x2060,
		r >= 0xFE00 && r <= 0xFE0F, r == 0xFEFF:
		return -1
	case r > 0x7f && unicode.Is(unicode.Zs, r):
		return ' '
	}
	return r
}

// prohibited tells what RFC 4013 §2.3 forbids.
func prohibited(r rune) bool {
	switch {
	case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Co, r), unicode.Is(unicode.Noncharacter_Code_Point, r),
		r >= 0x2028 && r <= 0x202E, r >= 0x2FF0 && r <= 0x2FFB, r >= 0xFFF9 && r <= 0xFFFD,
		r == 0x340, r == 0x341, r == 0x200E, r == 0x200F, r >= 0x206A && r <= 0x206F, r == 0x6DD, r == 0x70F,
		r == 0x180E, r >= 0x2061 && r <= 0x2063, r >= 0x1D173 && r <= 0x1D17A, r >= 0xE0000 && r <= 0xE007F:
		return true
	}
	return false
}
