package smtpd

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// session is one connection. One goroutine uses it.
type session struct {
	server *Server
	conn   *listen.Conn
	r      *bufio.Reader
	w      *bufio.Writer
	lines  smtp.Lines
	out    []byte // the reply being written

	id    mail.ID
	glass *observe.Session
	start time.Time
	until time.Time // when the line being waited for must be there
	done  bool      // ends behind the reply

	state      state
	helo       string
	esmtp      bool
	identity   sasl.Identity
	mechanisms []string     // that EHLO offered
	name       string       // of the client's address, as XCLIENT tells it
	listed     bool         // may use XCLIENT
	forwarded  smtp.XClient // what XFORWARD told of the next message
	system     *smtp.SystemUser
	authSaid   bool // AUTH came last: lines that follow may be meant as its responses
	bad        int  // commands
	failed     int  // logins

	look      *look        // what DNS says of the client; nil: nobody asked
	tx        *transaction // nil outside of a transaction, and while its content is read
	unknowns  int          // recipients refused for good in the whole session
	excess    int          // recipients beyond the most of a transaction, likewise
	following int          // chunks that may come in vain

	inBody    bool
	bodyStart time.Time
	bodyRead  int64
}

func (s *Server) newSession(c *listen.Conn) *session {
	x := &session{server: s, conn: c, state: fresh, start: time.Now(), id: s.o.IDs.New(s.o.Clock())}
	x.r = s.readers.Get().(*bufio.Reader)
	x.r.Reset(input{x})
	x.w = s.writers.Get().(*bufio.Writer)
	x.w.Reset(c)
	x.lines.R = x.r
	info := observe.SessionInfo{ID: x.id, Protocol: s.o.Protocol}
	if cred := c.Cred(); cred != nil {
		x.system = systemUser(cred.UID)
		info.Local, info.Remote = "unix", fmt.Sprintf("uid %d (%s)", cred.UID, x.system.Name)
	} else if c.RemoteAddr().IsValid() {
		info.Local, info.Remote = c.LocalAddr().String(), c.RemoteAddr().String()
	}
	x.listed = x.isListed()
	x.glass = s.o.Glass.Begin(info)
	x.note("connected from " + info.Remote)
	if t := c.TLS(); t != nil {
		x.encrypted(t)
	}
	return x
}

func systemUser(uid uint32) *smtp.SystemUser {
	u := &smtp.SystemUser{UID: uid}
	if found, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
		u.Name = found.Username
	}
	return u
}

func (s *session) encrypted(t *tls.ConnectionState) {
	s.note(tls.VersionName(t.Version) + " " + tls.CipherSuiteName(t.CipherSuite))
	s.glass.Encrypted()
}

// close drops what is open and gives the buffers back.
func (s *session) close() {
	_ = s.w.Flush()
	s.drop()
	s.stopLook()
	s.note("closed")
	s.glass.End()
	s.r.Reset(nil)
	s.w.Reset(nil)
	s.server.readers.Put(s.r)
	s.server.writers.Put(s.w)
}

// run is the loop.
func (s *session) run(ctx context.Context) {
	if !s.greet() || !s.inClear() {
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

// greet says the banner, unless the client already talked.
func (s *session) greet() bool {
	if s.talksFirst() {
		s.note("talks before the greeting")
		s.conn.Linger()
		s.reply(smtp.NewReply(554, mail.Enhanced{5, 5, 1}, "%s wait for the greeting", s.server.o.Hostname))
		return false
	}
	s.reply(smtp.NewReply(220, mail.Enhanced{}, "%s %s", s.server.o.Hostname, s.server.o.Greeting))
	return true
}

// inClear waits for the client's first octet and sends one away that begins with TLS, whose lines would never end.
func (s *session) inClear() bool {
	s.until = time.Time{}
	b, err := s.r.Peek(1)
	switch {
	case err != nil:
		s.broken(err)
	case b[0] == 0x16: // the record type of a ClientHello
		s.note("begins with TLS")
		s.conn.Linger()
		s.reply(smtp.NewReply(554, mail.Enhanced{5, 5, 1}, "this port begins in clear: STARTTLS"))
	default:
		return true
	}
	return false
}

// talksFirst tells whether the client spoke before the greeting (RFC 5321 §4.3.1).
func (s *session) talksFirst() bool {
	if s.server.o.Forgiving {
		return false
	}
	if s.conn.Spoke() {
		return true
	}
	if d := s.server.o.GreetDelay; d > 0 {
		s.until = time.Now().Add(d)
		_, err := s.r.Peek(1)
		return err == nil
	}
	return false
}

// command does one line, or refuses it for refusal.
func (s *session) command(ctx context.Context, line []byte, refusal error) {
	cmd := smtp.ParseCommand(line)
	row := s.server.byVerb[cmd.Verb]
	hidden := row != nil && row.flags&secret != 0 || row == nil && s.authSaid
	s.trace(observe.Theirs, line, hidden || cmd.Verb == "AUTH")
	s.authSaid = cmd.Verb == "AUTH" || row == nil && s.authSaid
	verb := cmd.Verb
	if row == nil {
		verb = "?"
	}
	r, err := smtp.Reply{}, refusal
	if err == nil {
		err = s.allowed(row, cmd.Verb)
	}
	switch {
	case err == nil:
		r, err = row.run(s, ctx, cmd.Rest)
	case row != nil && row.flags&framed != 0:
		size := int64(-1) // of a bad line nothing is believed
		if chunk, _ := smtp.ParseChunk(cmd.Rest); refusal == nil {
			size = chunk.Size
		}
		r, err = s.refuseChunk(size, err)
	}
	if err != nil {
		r = s.refusal(err, false)
	}
	if r.Code == 0 {
		return // it answered itself
	}
	s.server.o.OnReply(verb, r.Code)
	if verb == "RCPT" && !s.countRecipient(ctx, r.Code) {
		return
	}
	if s.countBad(verb, r.Code) {
		s.bye(mail.Enhanced{4, 7, 0}, "has had too many bad commands")
		return
	}
	s.reply(r)
}

// countBad counts a command that the client should not have sent so, and tells whether it was the last straw.
func (s *session) countBad(verb string, code int) bool {
	switch {
	case code < 500 || code > 504 && code != 555:
	case verb == "BDAT" && s.following > 0:
		s.following--
	default:
		s.bad++
	}
	return s.bad >= s.patience(s.server.o.MaxBadCommands, crowdedErrors)
}

// refusal gives the reply to an error; what is our own fault is logged.
func (s *session) refusal(err error, afterData bool) smtp.Reply {
	if mail.KindOf(err) == mail.Internal && !errors.Is(err, context.Canceled) {
		s.server.o.Log.Error("internal error in a session", "session", "s-"+s.id.String(), "err", err)
	}
	return smtp.ReplyOf(err, afterData)
}

// allowed checks a command against the table.
func (s *session) allowed(row *command, verb string) error {
	switch {
	case row == nil:
		return s.unknown(verb)
	case row.flags&listed != 0 && !s.listed:
		return smtp.Fail(550, mail.Denied, mail.Enhanced{5, 7, 0}, "you may not speak for others here")
	case s.impatient(row):
		return badSequence("wait for the reply to %s", verb)
	case s.server.o.TLSRequired && row.flags&clear == 0 && s.conn.TLS() == nil: // RFC 3207 §4
		return mail.E("smtpd", mail.NeedTLS, "STARTTLS first")
	case row.states&s.state == 0:
		return s.wrongState(row)
	case row.flags&needAuth != 0 && s.server.o.AuthRequired && !s.authenticated():
		if s.server.o.TLS != nil && s.conn.TLS() == nil && !s.server.o.AuthInClear {
			return mail.E("smtpd", mail.NeedTLS, "STARTTLS and AUTH first")
		}
		return mail.E("smtpd", mail.AuthRequired, "AUTH first")
	case row.flags&anonymous != 0 && s.authenticated():
		return badSequence("you are logged in: ATRN or QUIT")
	}
	return nil
}

// impatient tells whether the client sent on where it has to wait (RFC 2920 §3.1). The session ends where what it sent
// could be taken for something else: what came in clear behind STARTTLS may be another's (RFC 3207 §6), and content is no
// commands. A forgiving server minds neither greetings nor content.
func (s *session) impatient(row *command) bool {
	if s.r.Buffered() == 0 {
		return false
	}
	forgiven := s.server.o.Forgiving
	switch {
	case row.flags&alone != 0:
	case row.flags&greeting != 0 && s.state == fresh && !forgiven:
	case row.flags&prompts != 0 && !forgiven:
	default:
		return false
	}
	if row.flags&hangup != 0 {
		s.done = true
		s.conn.Linger()
	}
	return true
}

// unknown answers a verb that is not in the table. Web browsers are sent away at once.
func (s *session) unknown(verb string) error {
	if s.server.o.Turn != nil { // RFC 2645 §5.4
		return smtp.Fail(502, mail.Unsupported, mail.Enhanced{5, 5, 1}, "only EHLO, STARTTLS, AUTH, ATRN and QUIT are known here")
	}
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "TRACE", "PATCH", "PRI":
		s.done = true
		s.conn.Linger()
		return smtp.Fail(554, mail.Denied, mail.Enhanced{5, 5, 1}, "this is a mail server, not a web server")
	case "EXPN", "TURN", "SEND", "SOML", "SAML", "STARTTLS", "AUTH", "BDAT", "ETRN", "ATRN", "BURL":
		return smtp.Fail(502, mail.Unsupported, mail.Enhanced{5, 5, 1}, "%s is not offered here", verb)
	}
	return smtp.Fail(500, mail.Unsupported, mail.Enhanced{5, 5, 1}, "unknown command; HELP lists those that are known")
}

// wrongState says what is missing before a command.
func (s *session) wrongState(row *command) error {
	switch {
	case s.state == fresh && s.server.o.LMTP:
		return badSequence("LHLO first")
	case s.state == fresh:
		return badSequence("EHLO first")
	case s.state == greeted:
		return badSequence("MAIL first")
	case s.state == between:
		return badSequence("the message has begun: BDAT, or RSET")
	case row.states&recipients != 0 && s.tx.refused > 0 && !s.server.o.LMTP: // RFC 2033 §4.2 wants 503
		return smtp.Fail(554, mail.Denied, mail.Enhanced{5, 5, 1}, "no valid recipients")
	case row.states&recipients != 0:
		return badSequence("RCPT first")
	}
	return badSequence("a transaction is open: finish it, or RSET")
}

func badSequence(format string, args ...any) error {
	return smtp.Fail(503, mail.Invalid, mail.Enhanced{5, 5, 1}, format, args...)
}

func (s *session) authenticated() bool { return s.identity.Login != "" }
