package imapd

import (
	"context"
	"crypto/tls"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/search"
	"postel/internal/server/listen"
	"postel/internal/store"
)

// Options of a Server. Store and SASL are needed; the rest has usable zero values.
type Options struct {
	Store *store.Store
	SASL  *sasl.Server
	Index *search.Index // of texts; nil: SEARCH looks at the messages themselves
	TLS   *tls.Config   // for STARTTLS, as listen.TLSConfig makes it for "imap"; nil: not offered
	// ClearAuth allows logins without TLS.
	ClearAuth bool
	Hostname  string // in the greeting
	Version   string // in ID
	Glass     *observe.Glass
	Journey   *observe.Journey
	Log       *slog.Logger // nil: none
	Limits    Limits       // zero fields are the defaults
	Clock     func() time.Time
}

// Limits of a session. Each field's zero value is its default.
type Limits struct {
	Message      int64         // octets of a message given to APPEND; 50 MiB
	Login        time.Duration // from the greeting to the login; 60 s
	Idle         time.Duration // between commands and in IDLE; 30 minutes, which RFC 3501 §5.4 wants at least
	Command      time.Duration // for the octets of a command to come, and between those of a message; 5 minutes
	FailedLogins int           // 10
	BadCommands  int           // 20
	Progress     time.Duration // after which a client that waits for SEARCH hears that we are at it; 2 s
}

func (l Limits) withDefaults() Limits {
	set(&l.Message, 50<<20)
	set(&l.Login, time.Minute)
	set(&l.Idle, 30*time.Minute)
	set(&l.Command, 5*time.Minute)
	set(&l.FailedLogins, 10)
	set(&l.BadCommands, 20)
	set(&l.Progress, 2*time.Second)
	return l
}

func set[N int | int64 | time.Duration](n *N, value N) {
	if *n == 0 {
		*n = value
	}
}

// Server speaks IMAP on the connections of a listen.Server: it is a listen.Handler. Safe for concurrent use.
type Server struct {
	o      Options
	table  []command
	byName map[string]int
	counts []counts // a row's are those of the command
	open   atomic.Int64
	// reading has a place for each search that reads messages at a time, so that however many there are, they leave a
	// processor to the others.
	reading chan struct{}
}

// counts of one command.
type counts struct{ ok, no, bad atomic.Uint64 }

// New makes a Server.
func New(o Options) *Server {
	o.Limits = o.Limits.withDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	s := &Server{o: o, table: commands(), byName: map[string]int{}}
	for i, c := range s.table {
		s.byName[c.name] = i
	}
	s.reading = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
	s.counts = make([]counts, len(s.table))
	return s
}

// Serve holds one session.
func (s *Server) Serve(ctx context.Context, conn *listen.Conn) {
	s.open.Add(1)
	defer s.open.Add(-1)
	newSession(s, conn).run(ctx)
}

// Refusal is said to a connection beyond the limits (RFC 3501 §7.1.5).
func (*Server) Refusal() string {
	return "* BYE [UNAVAILABLE] too many connections, try again later\r\n"
}

// begin starts the transcript of a session.
func (s *Server) begin(conn *listen.Conn) *observe.Session {
	info := observe.SessionInfo{Protocol: "imap"}
	if a := conn.LocalAddr(); a.IsValid() {
		info.Local = a.String()
	}
	if a := conn.RemoteAddr(); a.IsValid() {
		info.Remote = a.String()
	}
	g := s.o.Glass.Begin(info)
	if conn.TLS() != nil {
		g.Encrypted()
	}
	return g
}

// sessionName is how a session is named to people, "" when there is no transcript.
func sessionName(id mail.ID) string {
	if id.IsZero() {
		return ""
	}
	return "s-" + id.String()
}
