package pop3d

import (
	"context"
	"strings"
)

// capabilities gives what CAPA tells now (RFC 2449 §6). EXPIRE NEVER says that the server keeps mail until the
// client deletes it.
func (s *session) capabilities(ctx context.Context) []string {
	list := []string{"TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"}
	if m := s.server.o.SASL.Mechanisms(ctx, s.link()); len(m) > 0 {
		list = append(list, "USER", "SASL "+strings.Join(m, " "))
	}
	if s.server.o.TLS != nil && s.conn.TLS() == nil && s.drop == nil {
		list = append(list, "STLS")
	}
	return append(list, "IMPLEMENTATION Postel")
}

func (s *session) capa(ctx context.Context, _ struct{}) (reply, error) {
	s.ok("what there is")
	for _, line := range s.capabilities(ctx) {
		s.say(append(append(s.out[:0], line...), '\r', '\n'))
	}
	s.say(append(s.out[:0], ".\r\n"...))
	return reply{sent: true}, nil
}
