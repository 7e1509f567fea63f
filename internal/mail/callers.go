package mail

import (
	"net/netip"
	"slices"
	"strings"
)

// MaxCallers is how many a list of Callers may name.
const MaxCallers = 100

// Callers says who may ask a server for something: by the address from which they call, or by the account as which
// they logged in. The zero value is nobody.
type Callers struct {
	Networks []netip.Prefix // masked
	Accounts []Address      // folded
}

// ParseCallers reads networks ("192.0.2.0/24"), addresses ("2001:db8::1") and accounts ("alice@example.org"). Errors
// have Kind Invalid.
func ParseCallers(list []string) (Callers, error) {
	var c Callers
	if len(list) > MaxCallers {
		return c, E("mail.callers", TooMany, "%d networks and accounts at most", MaxCallers)
	}
	for _, s := range list {
		if strings.Contains(s, "@") {
			a, err := ParseAddress(s)
			if err != nil {
				return Callers{}, E("mail.callers", Invalid, "%.80q is not an account", s)
			}
			c.Accounts = append(c.Accounts, a.Fold())
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			ip, aerr := netip.ParseAddr(s)
			if aerr != nil || ip.Zone() != "" {
				return Callers{}, E("mail.callers", Invalid, "%.80q is neither a network, as 192.0.2.0/24, nor an account", s)
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		c.Networks = append(c.Networks, p.Masked())
	}
	return c, nil
}

// Strings gives the list that ParseCallers reads.
func (c Callers) Strings() []string {
	out := make([]string, 0, len(c.Networks)+len(c.Accounts))
	for _, n := range c.Networks {
		out = append(out, n.String())
	}
	for _, a := range c.Accounts {
		out = append(out, a.String())
	}
	return out
}

// Has tells whether a caller is among them: ip is where it calls from, login the account as which it logged in, ""
// when it did not.
func (c Callers) Has(ip netip.Addr, login string) bool {
	ip = ip.Unmap().WithZone("")
	if slices.ContainsFunc(c.Networks, func(n netip.Prefix) bool { return n.Contains(ip) }) {
		return true
	}
	a, err := ParseAddress(login)
	return err == nil && slices.Contains(c.Accounts, a.Fold())
}

// IsZero tells whether nobody is named.
func (c Callers) IsZero() bool { return len(c.Networks)+len(c.Accounts) == 0 }
