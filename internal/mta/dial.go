package mta

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"postel/internal/route"
)

// dial connects to a host: to its socket, or to one of its addresses from the source that its route names.
func (m *MTA) dial(ctx context.Context, t target, addr netip.AddrPort) (net.Conn, error) {
	network := "tcp"
	if t.Socket != "" {
		network = "unix"
	}
	if m.o.Dial != nil {
		return m.o.Dial(ctx, network, t.at(addr))
	}
	var d net.Dialer
	for _, s := range t.Source {
		if s.Is4() == is4(addr) {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(s, 0))
		}
	}
	return d.DialContext(ctx, network, t.at(addr))
}

// at is where a session leads: the path of a socket, or an address with its port.
func (t target) at(addr netip.AddrPort) string {
	if t.Socket != "" {
		return t.Socket
	}
	return addr.String()
}

// unreachable is the error of a place to which there is no connection.
type unreachable struct {
	host route.Host
	addr netip.AddrPort
	err  error
}

func (e *unreachable) Error() string {
	why := "connection failed"
	var ne net.Error
	switch {
	case errors.Is(e.err, syscall.ECONNREFUSED):
		why = "connection refused"
	case errors.Is(e.err, syscall.EADDRNOTAVAIL) && len(e.host.Source) > 0:
		why = "the source address of the route is not one of this machine"
	case errors.Is(e.err, syscall.EHOSTUNREACH), errors.Is(e.err, syscall.ENETUNREACH):
		why = "no route to the host"
	case errors.Is(e.err, syscall.ENOENT):
		why = "there is no such socket"
	case errors.Is(e.err, syscall.EACCES):
		why = "it may not be connected to"
	case errors.As(e.err, &ne) && ne.Timeout():
		why = "connection timed out"
	}
	switch {
	case e.host.Socket != "":
		return fmt.Sprintf("the socket of the route: %s", why)
	case e.host.Name == e.addr.Addr().String():
		return fmt.Sprintf("%s: %s", e.addr, why)
	}
	return fmt.Sprintf("%s (%s): %s", e.host.Name, e.addr, why)
}

func (e *unreachable) Unwrap() error { return e.err }
