//go:build unix

package listen

import (
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// promptTime is how long a peer that answers at once is looked after before its session goes to sleep.
const promptTime = 100 * time.Microsecond

// prompt is a connection whose reader stays awake for a moment. To put a session to sleep and to wake it, with the processor
// that it slept on, takes longer than a peer on the same machine or network segment takes for its next command. So who waits for
// one that answered that fast the last time asks again instead of sleeping, for promptTime at most; others may run in
// between. It does so only when it has said something since the last Read: a peer that lets its octets drip would keep a
// processor busy for nothing. Only one session of the Servers that share a Limiter does so at a time, and only while hardly any
// other is open: with many, no processor sleeps.
type prompt struct {
	*net.TCPConn
	server *Server
	spoke  atomic.Bool           // something was written since the last Read
	raw    syscall.RawConn       // nil: the system has none
	mu     sync.Mutex            // guards what follows: one Read at a time, as in net
	slow   bool                  // the peer's last answer took long
	try    func(fd uintptr) bool // p.once, bound once
	reader promptReader
}

func newPrompt(c *net.TCPConn, s *Server) net.Conn {
	p := &prompt{TCPConn: c, server: s}
	p.raw, _ = c.SyscallConn()
	p.try = p.once
	return p
}

// promptReader is one Read.
type promptReader struct {
	b     []byte
	n     int
	err   error
	since time.Time // when there was nothing to read; zero: there was
	heard bool      // nothing was said to the peer since the last one
	awake bool      // has the turn to stay awake
}

// Write implements net.Conn.
func (p *prompt) Write(b []byte) (int, error) {
	p.spoke.Store(true)
	return p.TCPConn.Write(b)
}

// Read implements net.Conn.
func (p *prompt) Read(b []byte) (int, error) {
	if p.raw == nil || len(b) == 0 {
		return p.TCPConn.Read(b)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reader = promptReader{b: b, heard: !p.spoke.Swap(false)}
	r := &p.reader
	err := p.raw.Read(p.try)
	if !r.since.IsZero() {
		p.slow = time.Since(r.since) > 2*promptTime // that a sleeper wakes takes its time too
	}
	if err == nil {
		err = r.err
	}
	n := r.n
	p.reader = promptReader{}
	switch {
	case err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: p.LocalAddr(), Addr: p.RemoteAddr(), Err: inner(err)}
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// inner takes the cause out of a net.OpError, which is put around it again.
func inner(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// once reads what there is; false when the runtime shall wait for more.
func (p *prompt) once(fd uintptr) bool {
	r := &p.reader
	defer p.rest()
	for {
		r.n, r.err = syscall.Read(int(fd), r.b)
		switch {
		case errors.Is(r.err, syscall.EINTR):
			continue
		case !errors.Is(r.err, syscall.EAGAIN):
			return true
		case !p.stay():
			return false
		}
		runtime.Gosched()
	}
}

// stay tells whether to ask again at once.
func (p *prompt) stay() bool {
	r := &p.reader
	switch {
	case r.since.IsZero():
		r.since = time.Now()
		r.awake = !p.slow && !r.heard && p.server.fewOpen() && p.server.awake.CompareAndSwap(false, true)
	case time.Since(r.since) > promptTime:
		return false
	}
	return r.awake
}

// rest gives the turn to another session.
func (p *prompt) rest() {
	if p.reader.awake {
		p.reader.awake = false
		p.server.awake.Store(false)
	}
}

// fewOpen tells whether no more sessions are open than there are processors, of which one alone is never kept awake: the
// peer may need it.
func (s *Server) fewOpen() bool {
	n := int64(runtime.GOMAXPROCS(0))
	return n > 1 && s.open.Load() <= n
}
