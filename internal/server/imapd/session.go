package imapd

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/imap"
	"postel/internal/proto/sasl"
	"postel/internal/server/listen"
	"postel/internal/store"
)

// session is one connection, used by one goroutine.
type session struct {
	srv   *Server
	conn  *listen.Conn
	d     *imap.Decoder
	e     *imap.Encoder
	glass *observe.Session

	state state
	who   sasl.Identity
	box   *mailbox // in the selected state
	since time.Time

	lastTarget store.Mailbox // of COPY, MOVE or APPEND; zero at first

	tag     string // of the command being done
	command string // its name
	replied bool   // its tagged reply is out
	flags   flags
	okCode  imap.Code
	okText  string
	failed  int // logins
	bads    int // commands
	bye     bool
}

func newSession(srv *Server, conn *listen.Conn) *session {
	s := &session{srv: srv, conn: conn, state: notAuthenticated, since: time.Now(), glass: srv.begin(conn)}
	s.d = imap.NewDecoder(conn, imap.Limits{
		Command: imap.CommandBeforeLogin, Literal: imap.LiteralBeforeLogin, Discard: imap.CommandBeforeLogin,
	})
	s.e = imap.NewEncoder(conn)
	if srv.o.Glass != nil {
		s.d.Trace, s.e.Trace = s.glass.Trace, s.glass.Trace
	}
	s.d.Continue = func() error {
		s.e.Continuation("OK", false)
		return s.e.Flush()
	}
	return s
}

func (s *session) encrypted() bool { return s.conn.TLS() != nil }

// account is that of the user.
func (s *session) account() mail.AccountID { return s.who.Account }

// run is the loop.
func (s *session) run(ctx context.Context) {
	defer s.glass.End()
	defer s.leave()
	s.e.Status("", imap.OK, imap.CodeCapability(s.capabilities(ctx)), s.greeting())
	for !s.bye && s.e.Flush() == nil {
		if !s.conn.Idle(s.patience(s.srv.o.Limits.Idle)) {
			s.farewell(imap.CodeUnavailable, "server is stopping")
			break
		}
		if err := s.d.Await(); err != nil {
			s.gone(err)
			break
		}
		s.conn.Busy(s.patience(s.srv.o.Limits.Command))
		s.one(ctx)
	}
	_ = s.e.Flush()
}

func (s *session) greeting() string {
	name := s.srv.o.Hostname
	if name == "" {
		name = "this server"
	}
	return name + " is ready"
}

// patience is how long to wait: d, and before the login no longer than what is left for it.
func (s *session) patience(d time.Duration) time.Duration {
	if s.state == notAuthenticated {
		d = max(min(d, s.srv.o.Limits.Login-time.Since(s.since)), time.Millisecond)
	}
	return d
}

// gone ends a session whose connection gave an error, with a last word where it may be heard.
func (s *session) gone(err error) {
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout() && s.conn.Stopping():
		s.farewell(imap.CodeUnavailable, "server is stopping")
	case errors.As(err, &ne) && ne.Timeout() && s.state == notAuthenticated:
		s.farewell("", "too slow to log in")
	case errors.As(err, &ne) && ne.Timeout():
		s.farewell("", "idle for too long")
	case mail.Is(err, mail.TooLarge):
		s.farewell(imap.CodeLimit, "too much to skip")
	case errors.Is(err, io.EOF):
		s.e.Note("connection closed")
	default:
		s.e.Note("connection lost")
	}
	s.bye = true
}

// farewell says BYE; the loop then ends.
func (s *session) farewell(code imap.Code, text string) {
	s.e.Status("", imap.BYE, code, text)
	s.conn.Linger()
	s.bye = true
}

// one reads and does one command.
func (s *session) one(ctx context.Context) {
	tag, name := s.d.Command()
	s.tag, s.replied = tag, false
	s.e.Begin()
	if s.d.Fatal() != nil {
		s.gone(s.d.Fatal())
		return
	}
	if s.state == notAuthenticated && isHTTP(tag) {
		s.d.Public()
		s.farewell("", "this is no web server")
		return
	}
	i, known := s.srv.byName[name]
	if !known {
		i = -1
	}
	s.traceCommand(i)
	err := s.do(ctx, i, name)
	fatal := s.d.Finish()
	if fatal == nil || s.bye || mail.Is(fatal, mail.TooLarge) { // else nobody is there
		s.reply(i, tag, err)
	}
	if fatal != nil && !s.bye {
		s.gone(fatal)
	}
	s.afterwards()
}

// traceCommand tells the command's line; what is not known before the login may hold a password.
func (s *session) traceCommand(i int) {
	if i < 0 && s.state == notAuthenticated || i >= 0 && s.srv.table[i].flags&secret != 0 {
		s.d.Secret()
	} else {
		s.d.Public()
	}
}

// do finds the row and does it, and tells before and behind it what is new.
func (s *session) do(ctx context.Context, i int, name string) error {
	s.command, s.flags, s.okCode, s.okText = name, 0, "", ""
	if err := s.d.Err(); err != nil {
		return syntax{err}
	}
	if i < 0 {
		return bad("unknown command")
	}
	c := s.srv.table[i]
	if c.states&s.state == 0 {
		return bad(wrongState(c.states, s.state))
	}
	s.flags = c.flags
	if c.flags&looks != 0 {
		if err := s.tellChanges(ctx, false); err != nil {
			return err
		}
		if s.bye {
			return mail.E("imapd", mail.NotFound, "no such mailbox")
		}
	}
	s.okText = c.name + " done"
	err := c.do(s, ctx)
	if s.state == selected && c.flags&quiet == 0 && !errors.As(err, new(syntax)) && s.d.Fatal() == nil {
		if told := s.tellChanges(ctx, c.flags&noExpunge == 0); told != nil && err == nil {
			err = told
		}
	}
	return err
}

func wrongState(legal, now state) string {
	switch {
	case now == notAuthenticated:
		return "log in first"
	case legal == notAuthenticated:
		return "already logged in"
	}
	return "no mailbox is selected"
}

// afterwards ends the session of a client that does too much wrong.
func (s *session) afterwards() {
	switch l := s.srv.o.Limits; {
	case s.bye:
	case s.failed >= l.FailedLogins:
		s.farewell(imap.CodeUnavailable, "too many failed logins")
	case s.bads >= l.BadCommands:
		s.farewell(imap.CodeClientBug, "too many bad commands")
	}
}

// isHTTP tells the first word of a request that a browser was tricked into sending.
func isHTTP(word string) bool {
	switch strings.ToUpper(word) {
	case "GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "TRACE", "PATCH", "PRI":
		return true
	}
	return false
}

func (s *session) capability(ctx context.Context, _ imap.None) error {
	s.e.Capability(s.capabilities(ctx))
	return nil
}

func (s *session) noop(context.Context, imap.None) error { return nil }

func (s *session) logout(context.Context, imap.None) error {
	s.leave()
	s.e.Status("", imap.BYE, "", "logging out")
	s.bye = true
	return nil
}

// id tells who we are and notes who the client says it is.
func (s *session) id(_ context.Context, id imap.ID) error {
	for _, f := range id.Fields {
		if strings.EqualFold(f.Name, "name") {
			s.log(slog.LevelDebug, "imap client", "name", f.Value)
		}
	}
	fields := []imap.Field{{Name: "name", Value: "Postel"}}
	if v := s.srv.o.Version; v != "" {
		fields = append(fields, imap.Field{Name: "version", Value: v})
	}
	s.e.ID(fields)
	return nil
}

// enable enables nothing: no extension here needs it yet (RFC 5161 §3.1: what is not known is ignored).
func (s *session) enable(context.Context, imap.Enable) error {
	s.e.Enabled(nil)
	return nil
}

func (s *session) namespace(context.Context, imap.None) error {
	s.e.Namespace()
	return nil
}
