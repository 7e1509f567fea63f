package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/tlspolicy/certs"
)

// PeerCred is who is at the other end of a unix socket.
type PeerCred struct {
	PID      int32
	UID, GID uint32
}

// Conn is one accepted connection. Only its session's goroutine may use it; it is closed when the Handler
// returns. It is an io.ReadWriter over TCP, a unix socket or TLS.
type Conn struct {
	server *Server
	raw    net.Conn // what was accepted; deadlines and the hard close go here, under TLS too
	rw     net.Conn // raw, or TLS over it
	tls    *tls.Conn
	cert   *x509.Certificate // that we showed in it
	cred   *PeerCred
	remote netip.AddrPort
	local  netip.AddrPort
	source source
	header *headed // the PROXY header in front; nil when there is none to expect
	linger bool

	mu       sync.Mutex // guards what a stop touches
	idle     bool
	stopping bool
}

// Read reads what the peer sent, until the deadline that Idle or Busy set. The error of a passed deadline is a
// net.Error whose Timeout is true; see Stopping.
func (c *Conn) Read(b []byte) (int, error) { return c.rw.Read(b) }

// Write writes within Options.WriteTimeout.
func (c *Conn) Write(b []byte) (int, error) {
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.server.o.WriteTimeout))
	return c.rw.Write(b)
}

// Idle says that the session waits for the peer's next command, for d at most (0: for ever). It gives false when
// the server is stopping: say farewell and return. A Read that a stop interrupts fails as if d were over, and
// Stopping is then true.
func (c *Conn) Idle(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return false
	}
	c.idle = true
	_ = c.raw.SetReadDeadline(deadline(d))
	return true
}

// Busy says that the session works on a command, whose reads may take d at most (0: for ever). A stop waits.
func (c *Conn) Busy(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = false
	_ = c.raw.SetReadDeadline(deadline(d))
}

// Stopping tells whether the server is stopping.
func (c *Conn) Stopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

func deadline(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// stop wakes the session if it waits.
func (c *Conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	if c.idle {
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// RemoteAddr is the peer's address, an IPv4 one never as IPv4-mapped IPv6; not valid on a unix socket.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// LocalAddr is the address that the peer connected to; not valid on a unix socket.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Cred is the peer of a unix socket; nil for TCP, and where the system does not tell.
func (c *Conn) Cred() *PeerCred { return c.cred }

// TLS gives the state of encryption; nil in clear.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// Certificate gives the one that we showed in TLS; nil when that is not known, as in a resumed session.
func (c *Conn) Certificate() *x509.Certificate { return c.cert }

// Linger asks that the close waits a moment for what the peer still sends, so that our last words are not lost
// to a reset: for sessions that we end while the peer speaks.
func (c *Conn) Linger() { c.linger = true }

// StartTLS upgrades the connection as a server, with cfg as Server.TLSConfig makes it. What was read in clear
// and not yet used is the caller's to drop. After an error (Kind Invalid, its cause inside) the connection is of
// no more use.
func (c *Conn) StartTLS(ctx context.Context, cfg *tls.Config) error {
	d := c.server.o.HandshakeTimeout
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	if !c.Idle(d) { // so that a stop does not wait for a stalled handshake
		return mail.E("listen.tls", mail.Canceled, "the server is stopping")
	}
	_ = c.raw.SetWriteDeadline(deadline(d))
	ctx, shown := certs.WithShown(ctx)
	t := tls.Server(c.raw, cfg)
	if err := t.HandshakeContext(ctx); err != nil {
		return &mail.Error{Op: "listen.tls", Kind: mail.Invalid, Text: "TLS handshake failed", Err: err}
	}
	c.rw, c.tls = t, t
	if !t.ConnectionState().DidResume {
		c.cert = shown()
	}
	return nil
}

// Authenticated counts the connection as the user's from now on ("" when logged out again). It gives false when
// the user has too many from this address; it is then counted as before.
func (c *Conn) Authenticated(user string) bool {
	to := c.source
	to.user = user
	if !c.server.o.Limiter.move(c.source, to) {
		return false
	}
	c.source = to
	return true
}

// Crowded tells whether nearly all connections that there may be are open, 80 % of them: sessions should have less
// patience then.
func (c *Conn) Crowded() bool { return c.server.o.Limiter != nil && c.server.o.Limiter.crowded.Load() }

// MayLogIn refuses a login without a look at it when too many from the peer's network have failed lately. Kind
// Unavailable: later, or from elsewhere, it may.
func (c *Conn) MayLogIn() error {
	if c.server.o.Logins.Over(c.remote.Addr()) {
		return &mail.Error{
			Op: "listen.login", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 0},
			Text: "too many logins from your network have failed, try again later",
		}
	}
	return nil
}

// LoginFailed counts a login that failed.
func (c *Conn) LoginFailed() { c.server.o.Logins.Take(c.remote.Addr(), 1) }

// close ends the connection after its session.
func (c *Conn) close() {
	if c.linger && !c.Stopping() {
		c.drain()
	}
	if c.tls != nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second)) // the close_notify
	}
	_ = c.rw.Close()
	_ = c.raw.Close()
}

// drain tells the peer that we said our last, then takes in what it still sends, within bounds.
func (c *Conn) drain() {
	t, ok := c.rw.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
	_ = t.CloseWrite()
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
	buf := make([]byte, 4096)
	for left := lingerBytes; left > 0; {
		n, err := c.raw.Read(buf)
		if err != nil {
			return
		}
		left -= n
	}
}

const (
	lingerTime  = time.Second
	lingerBytes = 1 << 20
)

// addrPort gives the address of a TCP end, not valid for others.
func addrPort(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := t.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
