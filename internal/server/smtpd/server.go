package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// Options of a Server. Policy and Hostname are needed; for numbers and durations zero means the default.
type Options struct {
	Policy   smtp.Policy // decides
	Hostname string      // ours, in the greeting and in replies
	Protocol string      // for glass: "smtp", "submission", "lmtp"; default by LMTP
	Greeting string      // said behind the host name; default "ESMTP Postel" or "LMTP Postel"
	LMTP     bool        // speaks LMTP

	TLS          *tls.Config  // for STARTTLS, as listen.TLSConfig makes it; nil does not offer it
	TLSRequired  bool         // nothing but greetings, NOOP, STARTTLS and QUIT before TLS
	SASL         *sasl.Server // for AUTH; nil does not offer it
	AuthInClear  bool         // AUTH is offered without TLS too
	AuthRequired bool         // MAIL only after AUTH, which must come within LoginTimeout
	Forgiving    bool         // addresses without <>, and clients that do not wait for replies, are taken

	// Extensions beyond those that every Server has (SIZE, 8BITMIME, CHUNKING, LIMITS, and AUTH where there is SASL).
	// What is set here is offered, so that all behind the Policy has to honour it.
	Extensions smtp.Extensions
	MaxHold    time.Duration // FUTURERELEASE: how far ahead mail may be put; default 365 days

	Flush Flush       // for ETRN; nil does not offer it
	Turn  smtp.Turner // for ATRN: this is the port of RFC 2645, and there is nothing else; nil: it is not

	MaxSize         int64       // of a message, in octets; default 50 MiB
	MaxRecipients   int         // of a transaction; default 1000
	MaxBadCommands  int         // of a connection; default 20
	MaxFailedLogins int         // of a connection; default 10
	BareLF          smtp.BareLF // in the content

	// MaxBadRecipients is how many recipients may be refused for good in a connection, default 1000: more is guessing at
	// names, and fills the log. From half of that on each refusal comes Tarpit later.
	MaxBadRecipients int
	Tarpit           time.Duration // default: at once

	// Look asks DNS about a client by its address and the name it greeted with; nil does not. It ends when ctx does.
	Look     func(ctx context.Context, addr netip.Addr, helo string) smtp.Looked
	XClient  []netip.Prefix                                                 // who may use XCLIENT and XFORWARD
	Identify func(ctx context.Context, login string) (sasl.Identity, error) // who XCLIENT's LOGIN is; nil takes none

	GreetDelay   time.Duration // the greeting waits so long for clients that talk before it; 0: a glance
	IdleTimeout  time.Duration // for a command; default 5 minutes (RFC 5321 §4.5.3.2.7)
	LoginTimeout time.Duration // default 60 s
	DataTimeout  time.Duration // for the next octets of the content; default 5 minutes

	Clock   func() time.Time
	IDs     *mail.IDs                    // of sessions; nil: its own
	Glass   *observe.Glass               // nil: no transcripts
	Log     *slog.Logger                 // nil: none
	OnReply func(verb string, code int)  // counts; the verb is "?" for an unknown one
	OnBody  func(octets int64, code int) // counts messages by their (first) reply
}

// minRate is the octets a second that the content must bring on average beyond a start of two DataTimeouts, so
// that no session lasts for ever.
const minRate = 256

// Server speaks SMTP or LMTP on the connections that a listen.Server gives it.
type Server struct {
	o          Options
	extensions []extension
	parameters smtp.Extensions // that MAIL and RCPT take
	commands   []command
	byVerb     map[string]*command
	readers    sync.Pool // *bufio.Reader of smtp.ReadBuffer
	writers    sync.Pool // *bufio.Writer
}

// New makes a Server.
func New(o Options) *Server {
	setDefault(&o.MaxSize, 50<<20)
	setDefault(&o.MaxRecipients, 1000)
	setDefault(&o.MaxBadCommands, 20)
	setDefault(&o.MaxBadRecipients, 1000)
	setDefault(&o.MaxFailedLogins, 10)
	setDefault(&o.IdleTimeout, 5*time.Minute)
	setDefault(&o.LoginTimeout, time.Minute)
	setDefault(&o.DataTimeout, 5*time.Minute)
	setDefault(&o.MaxHold, 365*24*time.Hour)
	words := [2]string{"smtp", "ESMTP Postel"}
	if o.LMTP {
		words = [2]string{"lmtp", "LMTP Postel"}
	}
	setDefault(&o.Protocol, words[0])
	setDefault(&o.Greeting, words[1])
	setDefault(&o.IDs, new(mail.IDs))
	if o.Clock == nil {
		o.Clock = time.Now
	}
	setDefault(&o.Log, slog.New(slog.DiscardHandler))
	if o.OnReply == nil {
		o.OnReply = func(string, int) {}
	}
	if o.OnBody == nil {
		o.OnBody = func(int64, int) {}
	}
	s := &Server{o: o, extensions: extensions(o), parameters: o.parameters(), byVerb: map[string]*command{}}
	s.readers.New = func() any { return bufio.NewReaderSize(nil, smtp.ReadBuffer) }
	s.writers.New = func() any { return bufio.NewWriterSize(io.Discard, 4096) }
	rows := table(o)
	if o.Turn != nil { // nothing but the codes is of use where no mail comes in
		rows, s.extensions = odmr(o), []extension{{keyword: "ENHANCEDSTATUSCODES", rfc: "RFC 2034"}}
	}
	for _, c := range rows {
		if c.flags&(smtpOnly|lmtpOnly) == 0 || c.flags&lmtpOnly != 0 == o.LMTP {
			s.commands = append(s.commands, c)
		}
	}
	for i := range s.commands {
		s.byVerb[s.commands[i].verb] = &s.commands[i]
	}
	return s
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// ALPN gives the names for listen.TLSConfig. None is registered for SMTP; these are what clients use.
func ALPN() []string { return []string{"smtp", "esmtp"} }

// Refusal is said to a connection beyond the limits (listen.Options.Refusal).
func (s *Server) Refusal() string {
	return "421 4.7.0 " + s.o.Hostname + " too many connections, try again later\r\n"
}

// Serve holds one session. It implements listen.Handler.
func (s *Server) Serve(ctx context.Context, c *listen.Conn) {
	x := s.newSession(c)
	defer x.close()
	x.run(ctx)
}
