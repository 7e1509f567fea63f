package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"strconv"
	"strings"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
)

// Greet hears the greeting.
func (c *Client) Greet(ctx context.Context) (Reply, error) {
	defer c.begin(ctx)()
	r, err := c.reply("greeting", c.o.Timeouts.Greeting)
	if err == nil && r.Code != 220 {
		err = refused("greeting", r)
	}
	return r, err
}

// Hello says EHLO, and HELO to a server that refuses it for good (RFC 5321 §3.2); LHLO in LMTP. A StartTLS behind it
// says it again by itself.
func (c *Client) Hello(ctx context.Context) (Reply, error) {
	defer c.begin(ctx)()
	return c.hello()
}

func (c *Client) hello() (Reply, error) {
	c.extensions, c.esmtp = nil, false
	verb := "EHLO "
	if c.o.LMTP {
		verb = "LHLO "
	}
	r, err := c.command("hello", verb+c.o.Hello, false, c.o.Timeouts.Greeting)
	if err != nil {
		return r, err
	}
	if r.Code/100 == 5 && !c.o.LMTP {
		r, err = c.command("hello", "HELO "+c.o.Hello, false, c.o.Timeouts.Greeting)
		if err == nil && !r.Positive() {
			err = refused("hello", r)
		}
		return r, err
	}
	if !r.Positive() {
		return r, refused("hello", r)
	}
	c.esmtp = true
	c.extensions = map[string]string{}
	for _, l := range r.Lines[1:] {
		name, params, _ := strings.Cut(l, " ")
		name = strings.ToUpper(name)
		if mechs, ok := strings.CutPrefix(name, "AUTH="); ok { // as servers said it before RFC 2554
			name, params = "AUTH", mechs+" "+params
		}
		if have, ok := c.extensions[name]; ok && params != "" {
			params = strings.TrimSpace(have + " " + params)
		}
		c.extensions[name] = params
	}
	return r, nil
}

// accepts gives the parameters that the server takes.
func (c *Client) accepts() Extensions {
	has := func(name string) bool { _, ok := c.extensions[name]; return ok }
	return Extensions{
		Size: has("SIZE"), EightBit: has("8BITMIME"), Binary: c.chunking() && has("BINARYMIME"), UTF8: has("SMTPUTF8"),
		DSN: has("DSN"), DeliverBy: has("DELIVERBY"), Priority: has("MT-PRIORITY"), RequireTLS: has("REQUIRETLS"), Auth: has("AUTH"),
	}
}

// chunking tells whether BDAT may be said (RFC 3030).
func (c *Client) chunking() bool {
	_, ok := c.extensions["CHUNKING"]
	return ok && !c.noChunks
}

// Limit gives a limit that the server told by LIMITS (RFC 9422), as "RCPTMAX"; 0 when it told none.
func (c *Client) Limit(name string) int {
	for l := range strings.FieldsSeq(c.extensions["LIMITS"]) {
		k, v, _ := strings.Cut(l, "=")
		if n, err := strconv.ParseUint(v, 10, 31); err == nil && strings.EqualFold(k, name) {
			return int(n)
		}
	}
	return 0
}

// maxSize gives the largest message that the server takes; 0 when it does not say (RFC 1870 §4).
func (c *Client) maxSize() int64 {
	n, err := strconv.ParseInt(c.extensions["SIZE"], 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// StartTLS goes on under TLS and greets again. What the server sent in clear behind its 220 is an attempt to inject
// replies: an error. cfg says the server's name and what is verified.
func (c *Client) StartTLS(ctx context.Context, cfg *tls.Config) error {
	defer c.begin(ctx)()
	r, err := c.command("starttls", "STARTTLS", false, c.o.Timeouts.Greeting)
	if err != nil {
		return err
	}
	if r.Code != 220 {
		return refused("starttls", r)
	}
	if c.r.Buffered() > 0 {
		return c.broken("starttls", mail.E("smtp.starttls", mail.Invalid, "replies in clear behind STARTTLS"))
	}
	if err := c.handshake(cfg); err != nil {
		return err
	}
	if _, err := c.hello(); err != nil { // no refusal to go on from: it can neither be in clear again nor be greeted
		return c.broken("hello", errors.New(err.Error()))
	}
	return nil
}

// ImplicitTLS begins TLS before the greeting (RFC 8314 §3).
func (c *Client) ImplicitTLS(ctx context.Context, cfg *tls.Config) error {
	defer c.begin(ctx)()
	return c.handshake(cfg)
}

func (c *Client) handshake(cfg *tls.Config) error {
	t := tls.Client(c.raw, cfg)
	c.deadline(c.o.Timeouts.Greeting)
	if err := t.HandshakeContext(c.ctx); err != nil {
		_ = c.broken("tls", err)
		return &mail.Error{
			Op: "smtp.tls", Kind: mail.Unavailable, Code: mail.Enhanced{4, 7, 5},
			Text: "TLS handshake failed", Err: err,
		}
	}
	c.over(t)
	s := t.ConnectionState()
	c.o.Trace(observe.Note, []byte(tls.VersionName(s.Version)+" "+tls.CipherSuiteName(s.CipherSuite)), false)
	return nil
}

// Auth logs in with a mechanism, "" for the best of those offered (RFC 4954 §4). Kind Unsupported when there is none
// that we speak, AuthFailed when the server refuses for good.
func (c *Client) Auth(ctx context.Context, mech, user, pass string) error {
	return c.logIn(ctx, mech, sasl.Credentials{User: user, Password: pass})
}

// AuthToken logs in with a bearer token (RFC 7628), as Auth does with a password.
func (c *Client) AuthToken(ctx context.Context, user, token string) error {
	return c.logIn(ctx, "", sasl.Credentials{User: user, Token: token})
}

func (c *Client) logIn(ctx context.Context, mech string, cred sasl.Credentials) error {
	defer c.begin(ctx)()
	cred.Offered = strings.Fields(c.extensions["AUTH"])
	if t, ok := c.conn.(*tls.Conn); ok {
		state := t.ConnectionState()
		cred.TLS = &state
	}
	if mech == "" {
		if mech = cred.Choose(); mech == "" {
			return mail.E("smtp.auth", mail.Unsupported, "the server offers no mechanism to log in that we speak")
		}
	}
	x, err := sasl.Client(mech, cred)
	if err != nil {
		return err
	}
	defer func() { c.secrets = nil }()
	c.conceal(cred.Password)
	c.conceal(cred.Token)
	return c.exchange(x, "AUTH "+strings.ToUpper(mech))
}

// maxCommand is the length of a command line with its end (RFC 5321 §4.5.3.1.4).
const maxCommand = 512

// exchange goes through a login. An initial response that makes the command too long follows by itself (RFC 4954 §4).
func (c *Client) exchange(x sasl.ClientExchange, line string) error {
	initial := x.Initial()
	c.conceal(sasl.EncodeInitial(initial))
	if with := line + " " + sasl.EncodeInitial(initial); initial != nil && len(with)+2 <= maxCommand {
		line, initial = with, nil
	}
	for {
		r, err := c.command("auth", line, true, c.o.Timeouts.Greeting)
		if err != nil {
			return err
		}
		switch {
		case r.Code == 235:
			return x.Finish()
		case r.Code != 334:
			return authRefused(r)
		case initial != nil:
			line, initial = sasl.Encode(initial), nil
			continue
		}
		if line, err = respond(x, r); err != nil {
			if _, cancel := c.command("auth", "*", false, c.o.Timeouts.Greeting); cancel != nil {
				return cancel
			}
			return err
		}
		c.conceal(line)
	}
}

func respond(x sasl.ClientExchange, r Reply) (string, error) {
	challenge, err := sasl.Decode([]byte(r.Text()))
	if err != nil {
		return "", err
	}
	response, err := x.Next(challenge)
	return sasl.Encode(response), err
}

func authRefused(r Reply) error {
	err := refused("auth", r)
	if r.Code/100 == 5 {
		return &mail.Error{Op: "smtp.auth", Kind: mail.AuthFailed, Code: r.Enhanced, Text: r.Text(), Err: &Refused{r}}
	}
	return err
}

// Command says any line and hears its reply, whatever it is: for people who talk to servers.
func (c *Client) Command(ctx context.Context, line string, secret bool) (Reply, error) {
	defer c.begin(ctx)()
	return c.command("command", line, secret, c.o.Timeouts.Command)
}

// Reset drops the server's transaction.
func (c *Client) Reset(ctx context.Context) error {
	defer c.begin(ctx)()
	return c.reset()
}

func (c *Client) reset() error {
	r, err := c.command("rset", "RSET", false, c.o.Timeouts.Command)
	if err == nil && !r.Positive() {
		err = refused("rset", r)
	}
	c.dirty = err != nil
	return err
}

// Noop asks whether the server is still there.
func (c *Client) Noop(ctx context.Context) error {
	defer c.begin(ctx)()
	r, err := c.command("noop", "NOOP", false, c.o.Timeouts.Command)
	if err == nil && !r.Positive() {
		err = refused("noop", r)
	}
	return err
}

// Quit says good bye and closes. Its error is of no consequence to mail.
func (c *Client) Quit(ctx context.Context) error {
	if c.dead == nil {
		end := c.begin(ctx)
		_, _ = c.command("quit", "QUIT", false, c.o.Timeouts.Quit)
		end()
	}
	return c.Close()
}
