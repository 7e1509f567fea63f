package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/mail"
	"postel/internal/rate"
	"postel/internal/tlspolicy/certs"
)

// Handler speaks a protocol.
type Handler interface {
	// Serve holds one session. The connection is closed when it returns. ctx ends when the time of a stop has run
	// out, and after Serve returned.
	Serve(ctx context.Context, c *Conn)
}

// Options of a Server. Handler is needed; the rest has usable zero values.
type Options struct {
	Name             string         // of the listener in logs: "smtp", "imaps"
	Handler          Handler        // speaks
	TLS              *tls.Config    // not nil: TLS from the first octet, as TLSConfig makes it
	Limiter          *Limiter       // nil: no limits
	Proxies          Proxies        // balancers in front
	Rate             *rate.Networks // how often connections may come; nil: as often as they like
	Logins           *rate.Networks // how often logins may fail, of all Servers that share it; nil: as often as they like
	Refusal          string         // said in clear to a connection beyond the limits, with its CRLF
	HandshakeTimeout time.Duration  // default 60 s
	WriteTimeout     time.Duration  // of each write; default 3 minutes
	Log              *slog.Logger   // default: none
}

// Stats are counts since the start.
type Stats struct {
	Open     int64 // now
	Accepted int64 // served, TLS that failed included
	Refused  int64 // beyond the limits
	Panics   int64
}

// Server serves a protocol on any number of listeners. Safe for concurrent use.
type Server struct {
	o      Options
	ctx    context.Context // of all sessions; ends at the hard stop
	cancel context.CancelFunc

	open, accepted, refused, panics atomic.Int64
	awake                           *atomic.Bool // see prompt

	free chan *Conn // to goroutines that wait for a session

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	stopped   bool
	done      sync.WaitGroup // sessions
}

// New makes a Server.
func New(o Options) *Server {
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = time.Minute
	}
	if o.WriteTimeout == 0 {
		o.WriteTimeout = 3 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	awake := new(atomic.Bool)
	if o.Limiter != nil {
		awake = &o.Limiter.awake
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Server{
		o: o, ctx: ctx, cancel: cancel, awake: awake, free: make(chan *Conn),
		listeners: map[net.Listener]struct{}{}, conns: map[*Conn]struct{}{},
	}
}

// TLSConfig gives a copy of base for a protocol's servers: TLS 1.2 at least, and where the client offers ALPN it
// must offer one of protocols, else the handshake ends with no_application_protocol (RFC 7301 §3.2).
func TLSConfig(base *tls.Config, protocols ...string) *tls.Config {
	if base == nil {
		return nil
	}
	cfg := base.Clone()
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	cfg.NextProtos = protocols
	if cfg.GetCertificate == nil && len(cfg.Certificates) == 1 {
		cfg.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &base.Certificates[0], nil }
		cfg.Certificates = nil
	}
	if cfg.GetCertificate != nil {
		cfg.GetCertificate = certs.Noting(cfg.GetCertificate)
	}
	if get := cfg.GetConfigForClient; get != nil {
		cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := get(h)
			return TLSConfig(c, protocols...), err
		}
	}
	return cfg
}

// Stats gives the counts.
func (s *Server) Stats() Stats {
	return Stats{Open: s.open.Load(), Accepted: s.accepted.Load(), Refused: s.refused.Load(), Panics: s.panics.Load()}
}

// Serve accepts connections until Shutdown, then gives nil. It closes ln. An error means that ln broke.
func (s *Server) Serve(ln net.Listener) error {
	defer func() { _ = ln.Close() }()
	s.mu.Lock()
	stopped := s.stopped
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	if stopped {
		return nil
	}
	var pause time.Duration
	for {
		c, err := ln.Accept()
		if err == nil {
			pause = 0
			s.accept(c)
			continue
		}
		if s.isStopped() {
			return nil
		}
		var ne net.Error
		if errors.Is(err, net.ErrClosed) || !errors.As(err, &ne) {
			return err
		}
		// Out of file descriptors or memory, or the peer is gone already: try again, ever more slowly.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.o.Log.Warn("accept failed", "listener", s.o.Name, "err", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
		}
	}
}

func (s *Server) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// accept counts a connection and starts its session, on a goroutine whose last one is over where there is such a one:
// its stack has grown to what a session needs, which took a new one a twentieth of all time.
func (s *Server) accept(nc net.Conn) {
	c := s.enter(nc)
	if c == nil {
		return
	}
	select {
	case s.free <- c:
	default:
		go s.sessions(c)
	}
}

// sessions holds one session after the other, as long as new ones come.
func (s *Server) sessions(c *Conn) {
	t := time.NewTimer(restTime)
	defer t.Stop()
	for {
		s.session(c)
		t.Reset(restTime)
		select {
		case c = <-s.free:
		case <-t.C:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// restTime is how long a goroutine waits for another session.
const restTime = time.Second

// ServeConn holds one session on a connection that was not accepted here (a pipe, standard input and output). It
// counts as an accepted one and is closed at the end.
func (s *Server) ServeConn(nc net.Conn) {
	if c := s.enter(nc); c != nil {
		s.session(c)
	}
}

// enter counts a connection, or closes it and gives nil.
func (s *Server) enter(nc net.Conn) *Conn {
	c := s.newConn(nc)
	if !c.source.proxied && !s.o.Rate.Take(c.remote.Addr(), 1) || !s.o.Limiter.enter(c.source) {
		s.refuse(c)
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		s.o.Limiter.leave(c.source)
		_ = nc.Close()
		return nil
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	s.accepted.Add(1)
	s.open.Add(1)
	return c
}

func (s *Server) newConn(nc net.Conn) *Conn {
	if t, ok := nc.(*net.TCPConn); ok {
		nc = newPrompt(t, s)
	}
	c := &Conn{server: s, raw: nc, rw: nc, remote: addrPort(nc.RemoteAddr()), local: addrPort(nc.LocalAddr())}
	if t, ok := nc.(*tls.Conn); ok { // begun by somebody else: ServeConn
		c.raw, c.tls = t.NetConn(), t
	}
	if u, ok := nc.(*net.UnixConn); ok {
		if c.cred = credOf(u); c.cred != nil {
			c.source.uid = c.cred.UID
		}
	}
	if !c.remote.IsValid() {
		return c
	}
	always := within(s.o.Proxies.Always, c.remote.Addr())
	if !always {
		c.source.net = network(c.remote.Addr())
	} else {
		c.source.proxied = true
	}
	if always || within(s.o.Proxies.Maybe, c.remote.Addr()) {
		c.behind(!always)
	}
	return c
}

// refuse turns a connection away without a goroutine of its own; so few octets always fit a new socket's buffer.
func (s *Server) refuse(c *Conn) {
	s.o.Log.Info("too many connections", "listener", s.o.Name, "remote", c.remote)
	s.sayRefusal(c)
	_ = c.raw.Close()
}

// sayRefusal counts a client that is turned away, and tells it why.
func (s *Server) sayRefusal(c *Conn) {
	s.refused.Add(1)
	if s.o.TLS == nil && s.o.Refusal != "" {
		_ = c.raw.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = io.WriteString(c.raw, s.o.Refusal)
	}
}

// session runs the Handler on a counted connection.
func (s *Server) session(c *Conn) {
	defer s.done.Done()
	defer func() {
		c.close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
		s.open.Add(-1)
		s.o.Limiter.leave(c.source)
	}()
	defer func() {
		if p := recover(); p != nil {
			s.panics.Add(1)
			s.o.Log.Error("panic in a session", "listener", s.o.Name, "remote", c.remote, "panic", p,
				"stack", string(debug.Stack()))
		}
	}()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	if c.source.proxied && !s.unwrap(c) {
		return
	}
	if s.o.TLS != nil {
		if err := c.StartTLS(ctx, s.o.TLS); err != nil {
			s.o.Log.Info("TLS handshake failed", "listener", s.o.Name, "remote", c.remote, "err", err)
			return
		}
	}
	s.o.Handler.Serve(ctx, c)
}

// unwrap reads the header that a balancer must send; false ends the connection.
func (s *Server) unwrap(c *Conn) bool {
	if !c.Idle(headerTime) {
		return false
	}
	if err := c.header.take(); err != nil {
		if mail.Is(err, mail.TooMany) { // it hears so as if no balancer stood between
			s.sayRefusal(c)
			c.Linger()
		}
		s.o.Log.Info("no PROXY header, or a client with too many connections", "listener", s.o.Name, "remote", c.remote, "err", err)
		return false
	}
	c.raw, c.rw = c.header.Conn, c.header.Conn // nothing more is to be taken off
	return true
}

// Shutdown stops gracefully: no more connections, idle sessions end with their farewell, busy ones finish their
// command. When ctx ends, what is left is closed hard. It gives ctx's error in that case, and returns only when
// every session has.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
	for c := range s.conns {
		c.stop()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.done.Wait()
		close(done)
	}()
	defer s.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	for c := range s.conns {
		_ = c.raw.Close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}
