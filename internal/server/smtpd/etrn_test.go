package smtpd

import (
	"context"
	"errors"
	"strings"

	"postel/internal/mail"
	"postel/internal/proto/smtp"
)

// fakeFlush does what the node's name says.
func fakeFlush(_ context.Context, p smtp.Peer, n smtp.Node) (smtp.Flushed, error) {
	word, _, _ := strings.Cut(n.Name, ".")
	if !p.Remote.IsValid() {
		return smtp.Flushed{}, errors.New("who asks?")
	}
	switch word {
	case "none":
		return smtp.Flushed{}, nil
	case "many":
		return smtp.Flushed{Pending: 1000, More: true}, nil
	case "running":
		return smtp.Flushed{Running: true}, nil
	case "denied":
		return smtp.Flushed{}, mail.E("test", mail.Denied, "not for you")
	case "unknown":
		return smtp.Flushed{}, mail.E("test", mail.NotFound, "no such queue")
	case "broken":
		return smtp.Flushed{}, errors.New("secret cause")
	}
	return smtp.Flushed{Pending: 3}, nil
}
