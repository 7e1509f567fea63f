package dns

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"postel/internal/mail"
)

// maxTried bounds the addresses of a host that are tried.
const maxTried = 4

// Dialer connects to hosts that strangers name, by a resolver of ours, and to no address that only this machine reaches.
type Dialer struct {
	Resolver Resolver
	Dial     func(ctx context.Context, network, addr string) (net.Conn, error) // nil is net.Dialer's
	Port     uint16                                                            // in place of the one asked for; 0 is that one
	Loopback bool                                                              // hosts may be on this machine
	Outside  bool                                                              // hosts may not be in private networks either (RFC 1918, RFC 4193, RFC 6598)
	Timeout  time.Duration                                                     // of one address
}

// DialContext connects to a host and port, as http.Transport wants it: to the first of its addresses that answers.
func (d *Dialer) DialContext(ctx context.Context, network, hostport string) (net.Conn, error) {
	host, asked, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(asked, 10, 16)
	if err != nil {
		return nil, err
	}
	if d.Port != 0 {
		port = uint64(d.Port)
	}
	a, err := LookupAddrs(ctx, d.Resolver, host)
	if err != nil {
		return nil, err
	}
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	err = mail.E("dns.dial", mail.NotFound, "%s has no address that can be used", host)
	tried := 0
	for _, ip := range append(append([]netip.Addr(nil), a.IPv4...), a.IPv6...) {
		if ip = ip.Unmap(); !d.usable(ip) || tried == maxTried {
			continue
		}
		tried++
		one, cancel := context.WithTimeout(ctx, d.Timeout)
		conn, derr := dial(one, network, netip.AddrPortFrom(ip, uint16(port)).String())
		cancel()
		if derr == nil {
			return conn, nil
		}
		err = derr
	}
	return nil, err
}

// What leads into private networks besides their own addresses: the space that providers share with customers, where some
// clouds have their services (RFC 6598 §7), and IPv4 behind NAT64 (RFC 6052 §2.1).
var (
	shared = netip.MustParsePrefix("100.64.0.0/10")
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
)

func (d *Dialer) usable(ip netip.Addr) bool {
	if nat64.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	switch {
	case ip.IsUnspecified(), ip.IsMulticast(), ip.IsLinkLocalUnicast():
		return false
	case ip.IsLoopback():
		return d.Loopback
	}
	return !d.Outside || !ip.IsPrivate() && !shared.Contains(ip)
}
