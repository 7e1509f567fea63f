package smtpd

import (
	"context"
	"time"

	"postel/internal/mail"
)

// What a session may do while nearly all connections are in use, so that honest mail still finds one.
const (
	crowdedErrors = 3
	crowdedIdle   = 30 * time.Second
)

// patience gives a limit, or the one of crowded times if that is lower.
func (s *session) patience(limit, crowded int) int {
	if s.conn.Crowded() {
		return min(limit, crowded)
	}
	return limit
}

// idleTime is how long a command may take to come.
func (s *session) idleTime() time.Duration {
	if s.conn.Crowded() {
		return min(s.server.o.IdleTimeout, crowdedIdle)
	}
	return s.server.o.IdleTimeout
}

// countRecipient counts the reply to a RCPT; false when the session has ended by it. Who guesses at names is made to
// wait, then sent away. A recipient beyond the most that a transaction may have is no error (RFC 5321 §4.5.3.1.10),
// unless it goes on for ever.
func (s *session) countRecipient(ctx context.Context, code int) bool {
	o := &s.server.o
	switch {
	case code == 452 && s.tx != nil && len(s.tx.accepted) >= o.MaxRecipients:
		if s.excess++; s.excess > o.MaxRecipients {
			s.bye(mail.Enhanced{4, 5, 3}, "has named too many recipients")
			return false
		}
	case code >= 550:
		s.unknowns++
		limit := s.patience(o.MaxBadRecipients, crowdedErrors)
		if s.unknowns >= limit {
			s.bye(mail.Enhanced{4, 7, 0}, "has named too many recipients who are not here")
			return false
		}
		if s.unknowns >= (limit+1)/2 {
			s.pause(ctx, o.Tarpit)
		}
	}
	return true
}

// pause lets a client wait.
func (s *session) pause(ctx context.Context, d time.Duration) {
	if d <= 0 || s.conn.Stopping() {
		return
	}
	_ = s.w.Flush() // what was answered before need not wait; its error comes back at the next flush
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
