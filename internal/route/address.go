package route

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
)

// hostAddr reads a host that is an address: "192.0.2.1", "2001:db8::1", "[192.0.2.1]", "[IPv6:2001:db8::1]",
// "[2001:db8::1]".
func hostAddr(s string) (netip.Addr, bool) {
	if ip, ok := mail.Domain(strings.ToLower(s)).Literal(); ok {
		return ip.Unmap(), true
	}
	if in, ok := strings.CutPrefix(s, "["); ok {
		if s, ok = strings.CutSuffix(in, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	ip, err := netip.ParseAddr(s)
	return ip.Unmap(), err == nil && ip.Zone() == ""
}

// unusable tells of addresses at which no mail server can be, loopback aside.
func unusable(ip netip.Addr) bool {
	return !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() && ip.Is6() ||
		ip.Is4() && (ip.As4()[0] == 0 || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}))
}

// interleave puts IPv6 and IPv4 addresses in turn, so that one dead family costs one attempt, not all (RFC 8305
// §4 without the racing).
func interleave(six, four []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, 0, len(six)+len(four))
	for i := range max(len(six), len(four)) {
		if i < len(six) {
			out = append(out, six[i])
		}
		if i < len(four) {
			out = append(out, four[i])
		}
	}
	return out
}

// refresh is how old our knowledge of this machine's addresses may be.
const refresh = 30 * time.Second

// OwnListeners gives an Options.Own for the addresses we listen at. A listener on the unspecified address has
// every address of this machine, which are read again from time to time.
func OwnListeners(listeners []netip.AddrPort) func(netip.AddrPort) bool {
	var mu sync.Mutex
	var machine []netip.Addr
	var read time.Time
	ours := func(ip netip.Addr) bool {
		if ip.IsLoopback() || ip.IsUnspecified() {
			return true
		}
		mu.Lock()
		defer mu.Unlock()
		if now := time.Now(); machine == nil || now.Sub(read) > refresh {
			machine, read = machineAddrs(), now
		}
		return slices.Contains(machine, ip)
	}
	return func(ap netip.AddrPort) bool {
		ip := ap.Addr().Unmap().WithZone("")
		for _, l := range listeners {
			if l.Port() != ap.Port() {
				continue
			}
			at := l.Addr().Unmap()
			// Connecting to the unspecified address reaches loopback.
			if at == ip || at.IsUnspecified() && ours(ip) || at.IsLoopback() && ip.IsUnspecified() {
				return true
			}
		}
		return false
	}
}

func machineAddrs() []netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return []netip.Addr{}
	}
	out := []netip.Addr{}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out
}
