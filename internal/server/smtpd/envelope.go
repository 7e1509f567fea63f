package smtpd

import (
	"time"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// envelope makes of the argument of MAIL what the session lets it ask for, its times by our clock.
func (s *session) envelope(m smtp.Mail) (mail.Envelope, error) {
	e := m.Envelope
	e.Received = s.server.o.Clock()
	switch {
	case e.Size > s.server.o.MaxSize:
		return e, mail.E("smtpd", mail.TooLarge, "message larger than %d octets", s.server.o.MaxSize)
	case e.RequireTLS && s.conn.TLS() == nil: // RFC 8689 §4.2.1
		return e, smtp.Fail(530, mail.NeedTLS, mail.Enhanced{5, 7, 10}, "REQUIRETLS is said under TLS: STARTTLS first")
	}
	e.By = m.By.At(e.Received)
	if err := s.hold(&e, m.HoldFor); err != nil {
		return e, err
	}
	if e.Priority != 0 && !s.known() { // RFC 6710 §5.1
		e.Priority = 0
	}
	return e, nil
}

// hold sets when the message is to be released (RFC 4865 §4): no later than was offered, and not when it is to have
// been delivered already. A time that is over is now.
func (s *session) hold(e *mail.Envelope, wait time.Duration) error {
	if wait > 0 {
		e.Hold = e.Received.Add(wait)
	}
	switch most := s.server.o.MaxHold; {
	case !e.Hold.After(e.Received):
		e.Hold = time.Time{}
	case e.Hold.After(e.Received.Add(most)):
		return smtp.Fail(501, mail.Invalid, mail.Enhanced{5, 5, 4}, "mail is held for %d seconds at most", int64(most/time.Second))
	case e.By.Return && !e.By.Deadline.After(e.Hold):
		return smtp.Fail(501, mail.Invalid, mail.Enhanced{5, 5, 4}, "BY ends before the message is released")
	}
	return nil
}

// known tells whether the client is one of our users, and not anyone.
func (s *session) known() bool { return s.system != nil || s.authenticated() && !s.identity.Anyone }
