package imapd

import (
	"context"
	"strings"
	"time"

	"postel/internal/proto/imap"
)

// idle is IDLE: changes are told as they come, until the client says DONE (RFC 2177 §3). A goroutine waits for the
// client meanwhile; it has ended when idle returns.
func (s *session) idle(ctx context.Context, _ imap.None) error {
	s.e.Continuation("idling", false)
	var changed <-chan struct{}
	if s.box != nil {
		changed = s.box.view.Changed()
	}
	if !s.conn.Idle(s.srv.o.Limits.Idle) {
		s.farewell(imap.CodeUnavailable, "server is stopping")
		return nil
	}
	heard := make(chan error, 1)
	go func() { heard <- s.d.Await() }()
	for {
		if err := s.tellIdle(ctx); err != nil || s.bye {
			s.conn.Busy(time.Nanosecond) // wakes the goroutine
			<-heard
			return err
		}
		select {
		case <-changed:
		case err := <-heard:
			if err != nil {
				s.gone(err)
				return nil
			}
			return s.done()
		}
	}
}

// tellIdle tells what is new and flushes.
func (s *session) tellIdle(ctx context.Context) error {
	if s.box != nil {
		if err := s.tellChanges(ctx, true); err != nil {
			return err
		}
	}
	s.e.Begin()
	return s.e.Flush()
}

// done reads the line that ends IDLE.
func (s *session) done() error {
	s.conn.Busy(s.srv.o.Limits.Command)
	line := string(s.d.Line())
	s.d.Public()
	if s.d.Err() != nil || !strings.EqualFold(line, "DONE") {
		return bad("expected DONE")
	}
	return nil
}
