package smtpd

import (
	"bytes"
	"errors"
	"io"
	"net"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
)

// input is what the session's bufio.Reader reads: the one place that waits for the peer. All replies are flushed
// before it waits.
type input struct{ *session }

func (i input) Read(p []byte) (int, error) {
	s := i.session
	if err := s.w.Flush(); err != nil {
		return 0, err
	}
	if s.inBody {
		s.conn.Busy(s.bodyTime())
		n, err := s.conn.Read(p)
		s.bodyRead += int64(n)
		return n, err
	}
	now := time.Now()
	if s.until.IsZero() { // a line has its time as a whole, however slowly it drips
		s.until = now.Add(s.idleTime())
		if login := s.start.Add(s.server.o.LoginTimeout); s.server.o.AuthRequired && !s.authenticated() && login.Before(s.until) {
			s.until = login
		}
	}
	if !s.conn.Idle(max(s.until.Sub(now), 1)) {
		return 0, errStopping
	}
	n, err := s.conn.Read(p)
	if err != nil && s.conn.Stopping() { // a stop finds the session here or a moment before
		err = errStopping
	}
	return n, err
}

var errStopping = errors.New("the server is stopping")

// bodyTime gives how long the next octets of the content may take.
func (s *session) bodyTime() time.Duration {
	o := s.server.o
	budget := 2*o.DataTimeout + time.Duration(s.bodyRead/minRate)*time.Second - time.Since(s.bodyStart)
	return max(min(o.DataTimeout, budget), 1)
}

// reply writes a reply; it is flushed before the session waits. One that refuses names the session.
func (s *session) reply(r smtp.Reply) {
	if r.Code >= 400 {
		lines := append([]string{}, r.Lines...)
		if len(lines) == 0 {
			lines = []string{""}
		}
		last := &lines[len(lines)-1]
		id := " (s-" + s.id.String() + ")"
		*last = (*last)[:min(len(*last), smtp.MaxReplyText-len(id))] + id
		r.Lines = lines
	}
	s.out = r.Append(s.out[:0])
	if s.glass != nil {
		for line := range bytes.SplitSeq(bytes.TrimSuffix(s.out, []byte("\r\n")), []byte("\r\n")) {
			s.glass.Trace(observe.Ours, line, false)
		}
	}
	_, _ = s.w.Write(s.out) // its error stays, and comes back at the flush before the next read
}

func (s *session) trace(d observe.Direction, line []byte, secret bool) {
	if s.glass != nil {
		s.glass.Trace(d, line, secret)
	}
}

func (s *session) note(text string) { s.trace(observe.Note, []byte(text), false) }

// broken ends the session at an error of reading, with last words where the peer may hear them.
func (s *session) broken(err error) {
	s.done = true
	var ne net.Error
	switch {
	case errors.Is(err, errStopping) || s.conn.Stopping():
		s.bye(mail.Enhanced{4, 3, 2}, "is shutting down")
	case errors.As(err, &ne) && ne.Timeout():
		s.bye(mail.Enhanced{4, 4, 2}, "waited too long")
	case mail.Is(err, mail.TooLarge):
		s.bye(mail.Enhanced{4, 7, 0}, "will not read endless lines")
	case errors.Is(err, io.EOF):
		s.note("closed by the peer")
	default:
		s.note("lost: " + err.Error())
	}
}

// bye says 421 and ends the session.
func (s *session) bye(e mail.Enhanced, text string) {
	s.done = true
	s.conn.Linger()
	s.reply(smtp.NewReply(421, e, "%s %s", s.server.o.Hostname, text))
}
