package mail

import "strings"

// VERP gives the sender that names its recipient: "news@a.example" to "bob@b.example" is "news+bob=b.example@a.example",
// as Postfix has it with the delimiters "+=". False where that cannot be read back or is no address: a sender with a
// subaddress, the null path, a local part of more than 64 octets.
func VERP(from, to Address) (Address, bool) {
	if from.Local == "" || from.Domain == "" || to.Local == "" || to.Domain == "" || strings.Contains(from.Local, "+") {
		return from, false
	}
	a := Address{Local: from.Local + "+" + to.Local + "=" + string(to.Domain), Domain: from.Domain}
	if len(a.Local) > MaxLocal || len(a.String()) > MaxPath-2 {
		return from, false
	}
	return a, true
}

// NamedByVERP gives the recipient that a sender of VERP names; false for other addresses.
func NamedByVERP(a Address) (Address, bool) {
	_, detail, ok := strings.Cut(a.Local, "+")
	i := strings.LastIndexByte(detail, '=')
	if !ok || i <= 0 {
		return Address{}, false
	}
	d, err := ParseDomain(detail[i+1:])
	to := Address{Local: detail[:i], Domain: d}
	if err == nil {
		_, err = ParseAddress(to.String())
	}
	return to, err == nil
}
