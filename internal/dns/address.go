package dns

import (
	"context"
	"net/netip"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// Addrs is what a name's A and AAAA records say together.
type Addrs struct {
	Canonical string
	IPv6      []netip.Addr
	IPv4      []netip.Addr
	Authentic bool // both answers are
}

// LookupAddrs asks for AAAA and A at once. When only one of them can be had, that one is the answer, unless it
// is empty: then the other's error counts. A name without any is Kind NotFound only when it does not exist.
func LookupAddrs(ctx context.Context, r Resolver, name string) (Addrs, error) {
	type half struct {
		Answer
		err error
	}
	ch := make(chan half, 1)
	go func() {
		a, err := r.Lookup(ctx, name, AAAA)
		ch <- half{a, err}
	}()
	v4, err4 := r.Lookup(ctx, name, A)
	six := <-ch
	out := Addrs{
		Canonical: v4.Canonical, IPv6: six.Addrs(), IPv4: v4.Addrs(),
		Authentic: v4.Authentic && six.Authentic && err4 == nil && six.err == nil,
	}
	if out.Canonical == "" {
		out.Canonical = six.Canonical
	}
	if len(out.IPv4)+len(out.IPv6) > 0 {
		return out, nil
	}
	if six.err != nil && !mail.Is(six.err, mail.NotFound) {
		return out, six.err
	}
	return out, err4
}

// ReverseName gives the name under in-addr.arpa or ip6.arpa that the PTR of an address stands at.
func ReverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	var b strings.Builder
	if ip.Is4() {
		o := ip.As4()
		for i := len(o) - 1; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(o[i])) + ".")
		}
		return b.String() + "in-addr.arpa"
	}
	const hexDigits = "0123456789abcdef"
	o := ip.As16()
	for i := len(o) - 1; i >= 0; i-- {
		b.Write([]byte{hexDigits[o[i]&15], '.', hexDigits[o[i]>>4], '.'})
	}
	return b.String() + "ip6.arpa"
}
