package smtpd

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// fakeTurner does what the first domain says.
type fakeTurner struct{}

func (fakeTurner) Turn(_ context.Context, p smtp.Peer, domains []mail.Domain) (smtp.Errand, error) {
	if p.Login == "" {
		return nil, errors.New("who asks?")
	}
	if len(domains) == 0 {
		return fakeErrand{}, nil
	}
	switch word, _, _ := strings.Cut(string(domains[0]), "."); word {
	case "foreign":
		return nil, mail.E("test", mail.Denied, "not yours")
	case "none":
		return nil, mail.E("test", mail.NotFound, "nothing waits")
	case "busy":
		return nil, mail.E("test", mail.Busy, "another session takes it")
	case "broken":
		return nil, errors.New("secret cause")
	}
	return fakeErrand{}, nil
}

// fakeErrand greets the customer and says QUIT.
type fakeErrand struct{}

func (fakeErrand) Close() {}

func (fakeErrand) Run(_ context.Context, conn net.Conn, _ func() bool) {
	r := bufio.NewReader(conn)
	for _, say := range []string{"EHLO mx.test\r\n", "QUIT\r\n"} {
		if _, err := r.ReadString('\n'); err != nil {
			return
		}
		_, _ = conn.Write([]byte(say))
	}
	_, _ = r.ReadString('\n')
	_ = conn.Close()
}
