package pop3d

import (
	"context"
	"fmt"
	"io"

	"postel/internal/mail"
	"postel/internal/proto/pop3"
	"postel/internal/store"
)

func (s *session) retr(ctx context.Context, n int) (reply, error) {
	m, err := s.email(ctx, n)
	if err != nil {
		return reply{}, err
	}
	m.Root = nil // may be large, and the client may read slowly
	return s.send(ctx, m, m.Size, fmt.Sprintf("%d octets", m.Size), func(w io.Writer, body io.Reader) (int64, error) { return io.Copy(w, body) })
}

func (s *session) top(ctx context.Context, a pop3.Top) (reply, error) {
	m, err := s.email(ctx, a.Message)
	if err != nil {
		return reply{}, err
	}
	header, octets := m.Root.BodyStart, m.Size
	m.Root = nil
	if a.Lines == 0 {
		octets = header // the rest need not be opened
	}
	text := fmt.Sprintf("the top of message %d", a.Message)
	return s.send(ctx, m, octets, text, func(w io.Writer, body io.Reader) (int64, error) {
		n, err := io.CopyN(w, body, header)
		if err != nil {
			return n, err
		}
		k, err := pop3.CopyLines(w, body, a.Lines)
		return n + k, err
	})
}

// email reads what is known of a message.
func (s *session) email(ctx context.Context, n int) (*store.Email, error) {
	e, err := s.drop.entry(n)
	if err != nil {
		return nil, err
	}
	m, err := s.server.o.Store.Email(ctx, s.drop.account, e.Email)
	return m, gone(err)
}

// gone says of a message that another session removed what POP3 has a word for.
func gone(err error) error {
	if mail.Is(err, mail.NotFound) {
		return mail.E("pop3d.retr", mail.NotFound, "the message was removed by another session")
	}
	return err
}

// send answers with a message, of which the first octets are opened. What goes wrong once the answer has begun
// ends the connection, since nothing else tells the client that its message is not whole.
func (s *session) send(ctx context.Context, m *store.Email, octets int64, text string, put func(io.Writer, io.Reader) (int64, error)) (reply, error) {
	body, err := s.server.o.Store.OpenBody(ctx, m, 0, octets)
	if err != nil {
		return reply{}, gone(err)
	}
	defer func() { _ = body.Close() }()
	s.ok(text)
	dots := &pop3.DotWriter{W: s.w}
	n, err := put(dots, body)
	s.note(fmt.Sprintf("%d octets of message m-%s", n, m.Blob))
	if err == nil {
		err = dots.Close()
	}
	if err != nil {
		s.done = true
		s.note("message broken off: " + err.Error())
		if s.w.Flush() == nil { // then it was not the connection
			s.server.o.Log.Error("cannot read a message", "session", "s-"+s.id.String(), "message", "m-"+m.Blob.String(), "err", err)
		}
	}
	return reply{sent: true}, nil
}
