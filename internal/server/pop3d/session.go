package pop3d

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/pop3"
	"postel/internal/server/listen"
)

// session is one connection. One goroutine uses it.
type session struct {
	server *Server
	conn   *listen.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	lines  pop3.Lines
	out    []byte // the line being written

	id    mail.ID
	glass *observe.Session
	start time.Time
	until time.Time // when the line being waited for must be there
	done  bool      // ends behind the reply

	timestamp string // of the greeting, for APOP; "" without
	name      string // of the USER before; "" without
	authSaid  bool   // AUTH came last: lines that follow may be meant as its responses
	bad       int    // commands
	failed    int    // logins
	drop      *maildrop
}

func (s *Server) newSession(c *listen.Conn) *session {
	x := &session{server: s, conn: c, start: time.Now(), id: s.o.IDs.New(s.o.Clock())}
	x.r = s.readers.Get().(*bufio.Reader)
	x.r.Reset(input{x})
	x.w = s.writers.Get().(*bufio.Writer)
	x.w.Reset(c)
	x.lines.R = x.r
	info := observe.SessionInfo{ID: x.id, Protocol: "pop3"}
	if c.RemoteAddr().IsValid() {
		info.Local, info.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	}
	x.glass = s.o.Glass.Begin(info)
	x.note("connected from " + info.Remote)
	if t := c.TLS(); t != nil {
		x.encrypted(t)
	}
	return x
}

func (s *session) encrypted(t *tls.ConnectionState) {
	s.note(tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite))
	s.glass.Encrypted()
}

// close lets the maildrop go and gives the buffers back.
func (s *session) close() {
	_ = s.w.Flush()
	s.drop.release()
	s.note("closed")
	s.glass.End()
	s.r.Reset(nil)
	s.w.Reset(nil)
	s.server.readers.Put(s.r)
	s.server.writers.Put(s.w)
}

// run is the loop.
func (s *session) run(ctx context.Context) {
	s.greet(ctx)
	if !s.inClear() {
		return
	}
	for !s.done {
		s.until = time.Time{}
		line, err := s.lines.Next()
		if err != nil && !mail.Is(err, mail.Invalid) {
			s.broken(err)
			return
		}
		s.command(ctx, line, err)
	}
}

func (s *session) greet(ctx context.Context) {
	text := s.server.o.Hostname + " POP3 Postel"
	if s.server.o.SASL.OffersShared(ctx) {
		s.timestamp = fmt.Sprintf("<%s.%d@%s>", s.id, s.start.Unix(), s.server.o.Hostname)
		text += " " + s.timestamp
	}
	s.ok(text)
}

// inClear waits for the client's first octet and sends one away that begins with TLS, whose lines would never end.
func (s *session) inClear() bool {
	b, err := s.r.Peek(1)
	switch {
	case err != nil:
		s.broken(err)
	case b[0] == 0x16: // the record type of a ClientHello
		s.note("begins with TLS")
		s.bye("this port begins in clear")
	default:
		return true
	}
	return false
}

// state tells where the session is.
func (s *session) state() state {
	if s.drop == nil {
		return authorization
	}
	return transaction
}

// command does one line, or refuses it for refusal.
func (s *session) command(ctx context.Context, line []byte, refusal error) {
	cmd := pop3.ParseCommand(line)
	row := s.server.byVerb[cmd.Verb]
	s.trace(observe.Theirs, line, row != nil && row.traits&secret != 0 || row == nil && s.authSaid)
	s.authSaid = cmd.Verb == "AUTH" || row == nil && s.authSaid
	if cmd.Verb != "PASS" { // which comes right after USER (RFC 1939 §7)
		s.name = ""
	}
	r, err := reply{}, refusal
	if err == nil {
		err = s.allowed(row, cmd.Verb)
	}
	if err == nil {
		r, err = row.run(s, ctx, cmd.Args)
	}
	s.count(row, err)
	switch {
	case err != nil:
		s.refuse(err)
	case !r.sent:
		s.ok(r.text)
	}
}

// count counts a command by its outcome.
func (s *session) count(row *command, err error) {
	c := &s.server.counts[len(s.server.table)]
	for i := range s.server.table {
		if row == &s.server.table[i] {
			c = &s.server.counts[i]
		}
	}
	if err != nil {
		c.err.Add(1)
	} else {
		c.ok.Add(1)
	}
}

// allowed checks a command against the table.
func (s *session) allowed(row *command, verb string) error {
	switch {
	case row == nil:
		return s.unknown(verb)
	case row.states&s.state() == 0 && s.drop == nil:
		return bad("log in first")
	case row.states&s.state() == 0:
		return bad("logged in already")
	case row.traits&alone != 0 && s.r.Buffered() > 0:
		// It was sent without waiting and so in clear: it may be another's (RFC 2595 §4).
		s.done = true
		s.conn.Linger()
		return bad("wait for the reply to " + verb)
	}
	return nil
}

// unknown answers a verb that is not in the table. Web browsers are sent away at once.
func (s *session) unknown(verb string) error {
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI":
		s.done = true
		s.conn.Linger()
		return bad("this is a mail server, not a web server")
	case "STLS", "APOP", "LAST", "RPOP", "XTND":
		return bad(verb + " is not offered here")
	}
	return bad("unknown command; CAPA tells what there is")
}

// bad is the error of a command that should not have been sent so.
func bad(text string) error { return mail.E("pop3d", mail.Invalid, "%s", text) }

// refuse answers an error; what is our own fault is logged.
func (s *session) refuse(err error) {
	kind := mail.KindOf(err)
	if kind == mail.Internal && !errors.Is(err, context.Canceled) {
		s.server.o.Log.Error("internal error in a session", "session", "s-"+s.id.String(), "err", err)
	}
	if kind == mail.Invalid && !s.done {
		if s.bad++; s.bad >= s.server.o.MaxBadCommands {
			s.bye("too many bad commands")
			return
		}
	}
	s.err(pop3.CodeOf(err), pop3.TextOf(err))
}
