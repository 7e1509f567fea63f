package listen

import (
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/proxy"
)

// Proxies are the load balancers that say by the PROXY protocol whose connection they hand on; nobody else is believed.
type Proxies struct {
	Always []netip.Prefix // every connection from there begins with a header, or is closed
	Maybe  []netip.Prefix // one may begin with it, for tests: the greeting does not wait for it
}

// headerTime is how long a balancer has for its header (PROXY §2: it sends it at once).
const headerTime = 10 * time.Second

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// headed is a connection of a balancer, with the header taken off its front.
type headed struct {
	net.Conn
	c     *Conn
	maybe bool
	read  bool
	first io.Reader // what was read and is none; may be nil
}

// behind makes a connection from a balancer one of its client, once the header is read.
func (c *Conn) behind(maybe bool) {
	c.header = &headed{Conn: c.raw, c: c, maybe: maybe}
	c.raw, c.rw = c.header, c.header
}

// Read reads what stands behind the header.
func (h *headed) Read(b []byte) (int, error) {
	if !h.read {
		if err := h.take(); err != nil {
			return 0, err
		}
	}
	if h.first != nil {
		n, err := h.first.Read(b)
		if n > 0 || err == nil {
			return n, nil
		}
		h.first = nil
	}
	return h.Conn.Read(b)
}

// CloseWrite implements what Conn.drain wants of a connection.
func (h *headed) CloseWrite() error {
	if t, ok := h.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return nil
}

// take reads the header. An error ends the connection.
func (h *headed) take() error {
	r, err := io.Reader(h.Conn), error(nil)
	if h.maybe {
		var is bool
		if is, r, err = h.begins(); err != nil || !is {
			h.read, h.first = err == nil, r
			return err
		}
	}
	got, err := proxy.Read(r)
	if err != nil {
		return err
	}
	h.read = true
	return h.c.become(got)
}

// begins tells whether the peer's first octets are those of a header; r has them, alone when they are not.
func (h *headed) begins() (is bool, r io.Reader, err error) {
	const longest = len("PROXY ")
	var b [longest]byte
	for n := range longest {
		if _, err := io.ReadFull(h.Conn, b[n:n+1]); err != nil {
			return false, strings.NewReader(string(b[:n])), err
		}
		if !strings.HasPrefix("PROXY ", string(b[:n+1])) && !strings.HasPrefix("\r\n\r\n\x00\r", string(b[:n+1])) {
			return false, strings.NewReader(string(b[:n+1])), nil
		}
	}
	return true, io.MultiReader(strings.NewReader(string(b[:])), h.Conn), nil
}

// become makes the connection that of the client a header names, counted as its own.
func (c *Conn) become(h proxy.Header) error {
	if !h.Source.IsValid() {
		return nil
	}
	if !c.server.o.Rate.Take(h.Source.Addr(), 1) {
		return mail.E("listen.proxy", mail.TooMany, "%s connects too often", h.Source.Addr())
	}
	return c.Impersonate(h.Source, h.Destination)
}

// Impersonate makes the connection one of another client, on the word of someone who is believed (PROXY, XCLIENT): its
// addresses are these from now on (not valid ones stay), and it is counted as that client's, as nobody in particular.
// Kind TooMany when the client has too many.
func (c *Conn) Impersonate(remote, local netip.AddrPort) error {
	if remote.IsValid() {
		to := source{net: network(remote.Addr())}
		if !c.server.o.Limiter.move(c.source, to) {
			return mail.E("listen.impersonate", mail.TooMany, "too many connections from %s", remote.Addr())
		}
		c.source, c.remote = to, remote
	}
	if local.IsValid() {
		c.local = local
	}
	return nil
}
