package dns

import (
	"context"
	"net/netip"
	"strings"

	wire "github.com/miekg/dns"

	"postel/internal/mail"
)

// Verdict is what a check of a client against DNS came to, in the words of RFC 8601 §2.7.3 (iprev).
type Verdict string

// The verdicts. The empty one says that nothing was asked.
const (
	Pass      Verdict = "pass"
	Fail      Verdict = "fail"      // DNS says otherwise
	None      Verdict = "none"      // DNS says nothing
	TempError Verdict = "temperror" // DNS does not answer
)

// maxNames is how many names of an address are looked at (RFC 7208 §5.5 has the same bound).
const maxNames = 10

// Reverse gives the name of an address that leads back to it (RFC 8601 §3). Without one the name is "", and the verdict
// says whether there are names that lead elsewhere (Fail), none at all (None), or whether nobody could tell.
func Reverse(ctx context.Context, r Resolver, a netip.Addr) (string, Verdict) {
	arpa, err := wire.ReverseAddr(a.Unmap().WithZone("").String())
	if err != nil {
		return "", None
	}
	names, err := r.Lookup(ctx, arpa, PTR)
	switch {
	case mail.Is(err, mail.NotFound) || mail.Is(err, mail.Invalid) || err == nil && len(names.Records) == 0:
		return "", None
	case err != nil:
		return "", TempError
	}
	verdict := Fail
	for _, n := range names.Records[:min(len(names.Records), maxNames)] {
		switch leadsTo(ctx, r, n.Host, a) {
		case Pass:
			return n.Host, Pass
		case TempError:
			verdict = TempError
		}
	}
	return "", verdict
}

// Hello tells whether the name that a client greeted with leads to its address. Nothing may be refused for it (RFC 5321
// §4.1.4); it is for judging. An address literal passes when it is the address.
func Hello(ctx context.Context, r Resolver, name string, a netip.Addr) Verdict {
	d, err := mail.ParseDomain(name)
	if err != nil {
		return None
	}
	if ip, ok := d.Literal(); ok {
		if ip.Unmap() == a.Unmap() {
			return Pass
		}
		return Fail
	}
	return leadsTo(ctx, r, strings.TrimSuffix(string(d), "."), a)
}

func leadsTo(ctx context.Context, r Resolver, name string, a netip.Addr) Verdict {
	t := AAAA
	if a = a.Unmap().WithZone(""); a.Is4() {
		t = A
	}
	ans, err := r.Lookup(ctx, name, t)
	switch {
	case mail.Is(err, mail.NotFound) || mail.Is(err, mail.Invalid):
		return None
	case err != nil:
		return TempError
	}
	for _, x := range ans.Addrs() {
		if x.Unmap() == a {
			return Pass
		}
	}
	if len(ans.Records) == 0 {
		return None
	}
	return Fail
}
