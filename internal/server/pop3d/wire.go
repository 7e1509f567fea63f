package pop3d

import (
	"errors"
	"io"
	"net"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/pop3"
)

// input is what the session's bufio.Reader reads: the one place that waits for the peer. All replies are flushed
// before it waits.
type input struct{ *session }

func (i input) Read(p []byte) (int, error) {
	s := i.session
	if err := s.w.Flush(); err != nil {
		return 0, err
	}
	now := time.Now()
	if s.until.IsZero() { // a line has its time as a whole, however slowly it drips
		s.until = now.Add(s.server.o.IdleTimeout)
		if login := s.start.Add(s.server.o.LoginTimeout); s.drop == nil && login.Before(s.until) {
			s.until = login
		}
	}
	if !s.conn.Idle(max(s.until.Sub(now), 1)) {
		return 0, errStopping
	}
	n, err := s.conn.Read(p)
	if err == nil {
		s.conn.Busy(0) // a stop waits for the reply
	}
	return n, err
}

var errStopping = errors.New("the server is stopping")

func (s *session) ok(text string) { s.say(pop3.AppendOK(s.out[:0], text)) }

// err writes a refusal; one that is not the client's fault names the session.
func (s *session) err(code pop3.Code, text string) {
	if code == pop3.SysTemp || code == pop3.SysPerm {
		text += " (s-" + s.id.String() + ")"
	}
	s.say(pop3.AppendErr(s.out[:0], code, text))
}

// say writes a line; it is flushed before the session waits.
func (s *session) say(line []byte) {
	s.out = line
	s.trace(observe.Ours, line[:len(line)-2], false)
	_, _ = s.w.Write(line) // its error stays, and comes back at the flush before the next read
}

func (s *session) trace(d observe.Direction, line []byte, secret bool) {
	if s.glass != nil {
		s.glass.Trace(d, line, secret)
	}
}

func (s *session) note(text string) { s.trace(observe.Note, []byte(text), false) }

// broken ends the session at an error of reading, without a word to the client.
func (s *session) broken(err error) {
	s.done = true
	var ne net.Error
	switch {
	case errors.Is(err, errStopping) || s.conn.Stopping():
		s.note("the server is stopping")
	case errors.As(err, &ne) && ne.Timeout():
		s.note("waited too long")
	case mail.Is(err, mail.TooLarge):
		s.bye("will not read endless lines")
	case errors.Is(err, io.EOF):
		s.note("closed by the peer")
	default:
		s.note("lost: " + err.Error())
	}
}

// bye refuses for the last time.
func (s *session) bye(text string) {
	s.done = true
	s.conn.Linger()
	s.err("", text)
}
