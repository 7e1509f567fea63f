package smtpd

import (
	"context"
	"time"

	"postel/internal/proto/smtp"
)

// Bounds of looking a client up in DNS: it goes on beside the session, and MAIL waits for what is not there yet.
const (
	lookTime = 10 * time.Second
	lookWait = 2 * time.Second
)

// look is a question about the client that is under way.
type look struct {
	helo   string
	until  time.Time        // who wants the answer waits till then
	answer chan smtp.Looked // of one, which is left in it
	stop   context.CancelFunc
}

// lookUp begins to ask DNS about the client, once it has said its name. Nobody waits for it yet.
func (s *session) lookUp(ctx context.Context) {
	addr := s.conn.RemoteAddr().Addr()
	ask := s.server.o.Look
	if ask == nil || !addr.IsValid() || addr.IsLoopback() || s.look != nil && s.look.helo == s.helo {
		return
	}
	s.stopLook()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	l := &look{helo: s.helo, until: time.Now().Add(lookWait), answer: make(chan smtp.Looked, 1), stop: cancel}
	go func() { l.answer <- ask(ctx, addr, l.helo) }()
	s.look = l
}

func (s *session) stopLook() {
	if s.look != nil {
		s.look.stop()
		s.look = nil
	}
}

// looked gives what DNS says of the client; XCLIENT's word on its name goes before.
func (s *session) looked(ctx context.Context) smtp.Looked {
	if s.look == nil {
		return smtp.Looked{Name: s.name}
	}
	var got smtp.Looked
	t := time.NewTimer(time.Until(s.look.until))
	defer t.Stop()
	select {
	case got = <-s.look.answer:
		s.look.answer <- got // for the next message
	case <-t.C:
		got.Reverse, got.Hello = "temperror", "temperror"
	case <-ctx.Done():
	}
	s.note("DNS: client " + got.String())
	if s.name != "" {
		got.Name = s.name
	}
	return got
}
