package smtp

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"

	"postel/internal/mail"
)

// maxTurned bounds the domains that one ATRN names.
const maxTurned = 100

// ParseATRN reads the argument of ATRN: domains with commas between them, each once (RFC 2645 §5.2.1). None at all
// means every domain of the customer.
func ParseATRN(rest string) ([]mail.Domain, error) {
	if rest == "" {
		return nil, nil
	}
	var out []mail.Domain
	for word := range strings.SplitSeq(rest, ",") {
		d, err := mail.ParseDomain(word)
		if _, literal := d.Literal(); err != nil || literal {
			return nil, argError("ATRN [domain[,domain...]]")
		}
		if slices.Contains(out, d) {
			continue
		}
		if out = append(out, d); len(out) > maxTurned {
			return nil, argError("more than %d domains", maxTurned)
		}
	}
	return out, nil
}

// Turner is what ATRN asks of a role.
type Turner interface {
	// Turn takes the mail of the domains for the customer who logged in; none is all of them. It is the customer's
	// alone until Close. Kinds: Denied when it is not all theirs (450), NotFound when nothing waits (453), any other
	// when it cannot be told now (451).
	Turn(ctx context.Context, p Peer, domains []mail.Domain) (Errand, error)
}

// Errand is the mail that a customer takes.
type Errand interface {
	// Run is the client of a session in which the customer is the server: it hears the greeting, sends all, and says
	// QUIT. It stops behind a message when stopping says so, and closes conn.
	Run(ctx context.Context, conn net.Conn, stopping func() bool)
	// Close gives the mail back. Once, after Run or instead of it.
	Close()
}

// Turn says ATRN and gives the connection, over which the server is the client from then on (RFC 2645 §5.3); c is of
// no more use. An error that is a refusal (see RefusalOf) leaves the connection in order.
func (c *Client) Turn(ctx context.Context, domains []mail.Domain) (net.Conn, error) {
	defer c.begin(ctx)()
	names := make([]string, len(domains))
	for i, d := range domains {
		names[i] = string(d)
	}
	line := strings.TrimSpace("ATRN " + strings.Join(names, ","))
	r, err := c.command("atrn", line, false, c.o.Timeouts.Final) // 10 minutes at least (§5.2.1)
	switch {
	case err != nil:
		return nil, err
	case r.Code != 250:
		return nil, refused("atrn", r)
	case c.r.Buffered() > 0: // the provider waits for our greeting
		return nil, c.broken("atrn", mail.E("smtp.atrn", mail.Invalid, "the provider spoke out of turn"))
	}
	c.dead = errTurned
	return c.conn, nil
}

var errTurned = errors.New("the connection was turned round")

// Early tells whether the server has said more than it was asked for.
func (c *Client) Early() bool { return c.r.Buffered() > 0 }

// Unanswered tells of an error of Send that the whole message was sent and the reply to it never came: the server may
// have it.
func Unanswered(err error) bool {
	var e *mail.Error
	_, refused := RefusalOf(err) // 421 is an answer
	return !refused && errors.As(err, &e) && e.Op == "smtp."+opFinal
}

// opFinal is what the wait for the reply behind the content is called in errors.
const opFinal = "final"
