package pop3d

import (
	"bufio"
	"context"
	"fmt"
	"strconv"

	"postel/internal/store"
)

func (s *session) stat(context.Context, struct{}) (reply, error) {
	return reply{text: fmt.Sprintf("%d %d", s.drop.count, s.drop.octets)}, nil
}

func (s *session) list(_ context.Context, n int) (reply, error) {
	return s.scan(n, func(e store.Entry) string { return strconv.FormatInt(e.Size, 10) })
}

func (s *session) uidl(_ context.Context, n int) (reply, error) { return s.scan(n, uidl) }

// scan tells something of one message, or of all (n is 0) in a listing.
func (s *session) scan(n int, tell func(store.Entry) string) (reply, error) {
	if n != 0 {
		e, err := s.drop.entry(n)
		if err != nil {
			return reply{}, err
		}
		return reply{text: fmt.Sprintf("%d %s", n, tell(e))}, nil
	}
	s.ok(s.drop.summary())
	lines := 0
	for n, e := range s.drop.mail.All() {
		if !s.drop.isMarked(n) {
			s.out = fmt.Appendf(s.out[:0], "%d %s\r\n", n, tell(e))
			if _, err := s.w.Write(s.out); err != nil {
				break // comes back at the flush before the next read
			}
			lines++
		}
	}
	s.end(s.w, fmt.Sprintf("%d lines", lines))
	return reply{sent: true}, nil
}

// end ends a listing.
func (s *session) end(w *bufio.Writer, what string) {
	s.note(what)
	_, _ = w.WriteString(".\r\n")
}

func (s *session) dele(_ context.Context, n int) (reply, error) {
	if err := s.drop.mark(n); err != nil {
		return reply{}, err
	}
	return reply{text: fmt.Sprintf("message %d will be deleted at QUIT", n)}, nil
}

func (s *session) rset(context.Context, struct{}) (reply, error) {
	s.drop.recount()
	return reply{text: s.drop.summary()}, nil
}

func (s *session) noop(context.Context, struct{}) (reply, error) {
	return reply{text: "still here"}, nil
}

// quit deletes what is marked; the maildrop is free for others before the answer comes.
func (s *session) quit(ctx context.Context, _ struct{}) (reply, error) {
	s.done = true
	if s.drop == nil {
		return reply{text: "good bye"}, nil
	}
	marked := s.drop.mail.Len() - s.drop.count
	gone, err := s.drop.update(ctx)
	s.drop.release()
	if err != nil {
		s.server.o.Log.Warn("QUIT could not delete all", "session", "s-"+s.id.String(), "deleted", gone,
			"marked", marked, "err", err)
		return reply{}, err
	}
	if marked == 0 {
		return reply{text: "good bye"}, nil
	}
	return reply{text: fmt.Sprintf("good bye, %d messages deleted", gone)}, nil
}
