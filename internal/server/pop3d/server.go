package pop3d

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/pop3"
	"postel/internal/proto/sasl"
	"postel/internal/server/listen"
	"postel/internal/store"
)

// Options of a Server. Store, SASL and Hostname are needed; for numbers and durations zero means the default.
type Options struct {
	Store    *store.Store
	SASL     *sasl.Server // with shared secrets APOP is offered too
	Hostname string       // ours, in the greeting

	TLS            *tls.Config // for STLS, as listen.TLSConfig makes it for "pop3"; nil does not offer it
	AllowClearAuth bool        // passwords without TLS

	MaxBadCommands  int           // of a connection; default 20
	MaxFailedLogins int           // of a connection; default 10
	FailDelay       time.Duration // before a failed login is answered; default 500 ms, negative: none
	IdleTimeout     time.Duration // for a command; default 10 minutes, which RFC 1939 §3 wants at least
	LoginTimeout    time.Duration // default 60 s

	Clock func() time.Time
	IDs   *mail.IDs      // of sessions; nil: its own
	Glass *observe.Glass // nil: no transcripts
	Log   *slog.Logger   // nil: none
}

// Server speaks POP3 on the connections that a listen.Server gives it. It is also a prometheus.Collector. Safe for
// concurrent use.
type Server struct {
	o       Options
	table   []command
	byVerb  map[string]*command
	counts  []count // beside table, the last for unknown verbs
	open    atomic.Int64
	readers sync.Pool // *bufio.Reader of pop3.ReadBuffer
	writers sync.Pool // *bufio.Writer
}

// count counts a command's replies.
type count struct{ ok, err atomic.Uint64 }

// writeBuffer is large, for RETR.
const writeBuffer = 16 << 10

// New makes a Server.
func New(o Options) *Server {
	setDefault(&o.MaxBadCommands, 20)
	setDefault(&o.MaxFailedLogins, 10)
	setDefault(&o.FailDelay, 500*time.Millisecond)
	setDefault(&o.IdleTimeout, 10*time.Minute)
	setDefault(&o.LoginTimeout, time.Minute)
	setDefault(&o.IDs, new(mail.IDs))
	setDefault(&o.Log, slog.New(slog.DiscardHandler))
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := &Server{o: o, byVerb: map[string]*command{}}
	for _, c := range table() {
		if c.offered == nil || c.offered(o) {
			s.table = append(s.table, c)
		}
	}
	for i := range s.table {
		s.byVerb[s.table[i].verb] = &s.table[i]
	}
	s.counts = make([]count, len(s.table)+1)
	s.readers.New = func() any { return bufio.NewReaderSize(nil, pop3.ReadBuffer) }
	s.writers.New = func() any { return bufio.NewWriterSize(io.Discard, writeBuffer) }
	return s
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// ALPN gives the name for listen.TLSConfig.
func ALPN() []string { return []string{"pop3"} }

// Refusal is said to a connection beyond the limits (listen.Options.Refusal).
func (s *Server) Refusal() string {
	return string(pop3.AppendErr(nil, pop3.SysTemp, "too many connections, try again later"))
}

// Serve holds one session. It implements listen.Handler.
func (s *Server) Serve(ctx context.Context, c *listen.Conn) {
	s.open.Add(1)
	defer s.open.Add(-1)
	x := s.newSession(c)
	defer x.close()
	x.run(ctx)
}
