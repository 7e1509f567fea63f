package smtp

import (
	"strings"

	"postel/internal/mail"
)

// Node is the argument of ETRN (RFC 1985 §5).
type Node struct {
	Option byte // 0: the domain Name; '@': it and its subdomains; '#': the queue that is called Name
	Name   string
}

// String gives the argument.
func (n Node) String() string {
	if n.Option == 0 {
		return n.Name
	}
	return string(n.Option) + n.Name
}

// maxQueueName bounds the name of a queue, which the RFC leaves to each server.
const maxQueueName = mail.MaxDomain

// ParseETRN reads the argument of ETRN. None at all is 500, one that names no node 501 (RFC 1985 §5.2).
func ParseETRN(rest string) (Node, error) {
	if rest == "" {
		return Node{}, Fail(500, mail.Invalid, mail.Enhanced{5, 5, 4}, "ETRN names a domain")
	}
	n := Node{Name: rest}
	if rest[0] == '@' || rest[0] == '#' {
		n.Option, n.Name = rest[0], rest[1:]
	}
	if n.Option == '#' {
		return n, queueName(n.Name)
	}
	d, err := mail.ParseDomain(n.Name)
	if _, literal := d.Literal(); err != nil || literal { // a fully qualified domain name (§5)
		return Node{}, argError("not a domain name")
	}
	n.Name = string(d)
	return n, nil
}

func queueName(s string) error {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f } // the reply says it, in ASCII (RFC 5321 §4.2)
	if s == "" || len(s) > maxQueueName || strings.ContainsFunc(s, bad) {
		return argError("not the name of a queue")
	}
	return nil
}

// Flushed is what came of an ETRN that was obeyed.
type Flushed struct {
	Pending int  // messages that waited and are tried now
	More    bool // there are more, which nobody counted
	Running bool // a run for the node was going on already
}
