package smtp

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
)

// ClientOptions of a Client. Hello is needed.
type ClientOptions struct {
	Hello    string        // our host name or address literal
	Host     string        // the peer's name, for results
	LMTP     bool          // LHLO, and a reply a recipient behind the content
	NoChunks bool          // never BDAT, whatever the server offers
	Trace    observe.Trace // of each line, secrets marked; nil: none
	Timeouts Timeouts      // zero ones are as RFC 5321 §4.5.3.2 has them
}

// Timeouts of a Client.
type Timeouts struct {
	Greeting time.Duration // 5 minutes, as for EHLO, STARTTLS, AUTH
	Command  time.Duration // MAIL and RCPT: 5 minutes
	Data     time.Duration // the reply to DATA: 2 minutes
	Block    time.Duration // each write of the content: 3 minutes
	Final    time.Duration // the reply behind the content: 10 minutes
	Message  time.Duration // a message from its MAIL to its end, however the server drags it out: 30 minutes
	Quit     time.Duration // 5 seconds
}

// Client speaks SMTP or LMTP as a client on a connection it is given. In their order: Greet, Hello, perhaps StartTLS
// (which greets again) and Auth, then any number of Sends, then Quit. After an error that is not a refusal (see
// Refused) the connection is of no more use. Not safe for concurrent use.
type Client struct {
	o    ClientOptions
	raw  net.Conn
	conn net.Conn // raw, or TLS over it
	r    *bufio.Reader
	w    *bufio.Writer

	buf []byte // of the content; nil until there is one

	ctx        context.Context // of the call that is going on
	until      time.Time       // when the message being sent must have been; zero: no limit
	extensions map[string]string
	esmtp      bool
	dirty      bool  // a transaction may be open in the server
	noChunks   bool  // no BDAT: the server does not know it, though it said so
	dead       error // why the connection is of no more use

	secrets [][]byte // of the login that is going on
}

// Limits of what a server may say.
const (
	maxReplyLine  = 4096 // octets; RFC 5321 §4.5.3.1.5 has 512
	maxReplyLines = 256
)

// NewClient makes a Client; it says nothing yet. The Client owns conn.
func NewClient(conn net.Conn, o ClientOptions) *Client {
	for _, t := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&o.Timeouts.Greeting, 5 * time.Minute},
		{&o.Timeouts.Command, 5 * time.Minute},
		{&o.Timeouts.Data, 2 * time.Minute},
		{&o.Timeouts.Block, 3 * time.Minute},
		{&o.Timeouts.Final, 10 * time.Minute},
		{&o.Timeouts.Message, 30 * time.Minute},
		{&o.Timeouts.Quit, 5 * time.Second},
	} {
		if *t.v == 0 {
			*t.v = t.d
		}
	}
	if o.Trace == nil {
		o.Trace = func(observe.Direction, []byte, bool) {}
	}
	c := &Client{o: o, raw: conn, ctx: context.Background(), noChunks: o.NoChunks}
	c.over(conn)
	return c
}

// over reads and writes over conn from now on.
func (c *Client) over(conn net.Conn) {
	c.conn = conn
	c.r = bufio.NewReaderSize(conn, maxReplyLine)
	c.w = bufio.NewWriterSize(blockWriter{c}, 16<<10)
}

// blockWriter gives each write its own time.
type blockWriter struct{ c *Client }

func (b blockWriter) Write(p []byte) (int, error) {
	b.c.deadline(b.c.o.Timeouts.Block)
	return b.c.conn.Write(p)
}

// Extension gives the parameters of an extension that the server offers, as "52428800" for SIZE.
func (c *Client) Extension(name string) (params string, ok bool) {
	params, ok = c.extensions[name]
	return params, ok
}

// TLS gives the state of encryption; nil in clear.
func (c *Client) TLS() *tls.ConnectionState {
	t, ok := c.conn.(*tls.Conn)
	if !ok {
		return nil
	}
	s := t.ConnectionState()
	return &s
}

// Close closes the connection without a word.
func (c *Client) Close() error {
	if c.dead == nil {
		c.dead = net.ErrClosed
	}
	return c.conn.Close()
}

// Refused is in the chain of an error that means that the server answered, but not as hoped; the connection is
// still in order unless the code is 421.
type Refused struct{ Reply Reply }

func (r *Refused) Error() string { return "refused: " + r.Reply.String() }

// refused makes the error of a refusal: Kind Unavailable for 4yz, Rejected for 5yz, Invalid for what makes no sense.
func refused(op string, r Reply) error {
	k := mail.Rejected
	switch r.Code / 100 {
	case 4:
		k = mail.Unavailable
	case 2, 3:
		k = mail.Invalid
	}
	return &mail.Error{Op: "smtp." + op, Kind: k, Code: r.Enhanced, Text: r.Text(), Err: &Refused{r}}
}

// RefusalOf gives the reply that err is about, if a server refused something.
func RefusalOf(err error) (Reply, bool) {
	var r *Refused
	if errors.As(err, &r) {
		return r.Reply, true
	}
	return Reply{}, false
}

// ResultOf says an error of Greet, Hello, StartTLS, Auth or of dialling as a delivery result about the host.
func ResultOf(err error, host string) mail.Result {
	res := mail.Result{Scope: mail.ScopeHost, Host: host}
	if r, ok := RefusalOf(err); ok {
		res.Code, res.Enhanced, res.Text = r.Code, r.Enhanced, r.Text()
		if r.Code < 400 { // a positive reply in the wrong place
			res.Code, res.Enhanced = 451, mail.Enhanced{4, 5, 0}
		}
		return res
	}
	r := Reply{Code: 451, Enhanced: mail.Enhanced{4, 4, 2}, Lines: []string{"connection failed"}}
	var e *mail.Error
	if errors.As(err, &e) {
		r = ReplyOf(err, false)
		if e.Kind == mail.Internal {
			r.Enhanced = mail.Enhanced{4, 4, 2}
		}
	}
	res.Code, res.Enhanced, res.Text = r.Code, r.Enhanced, r.Text()
	return res
}

// begin starts a call; the function it gives ends it. The end of ctx interrupts what the call waits for.
func (c *Client) begin(ctx context.Context) (end func()) {
	c.ctx = ctx
	stop := context.AfterFunc(ctx, func() { _ = c.raw.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		c.ctx = context.Background()
	}
}

func (c *Client) deadline(d time.Duration) {
	t := time.Now().Add(d)
	if !c.until.IsZero() && c.until.Before(t) {
		t = c.until
	}
	_ = c.raw.SetDeadline(t)
	if c.ctx.Err() != nil { // ended before or meanwhile
		_ = c.raw.SetDeadline(time.Unix(1, 0))
	}
}

// broken notes that the connection is of no more use and says so. Errors have Kind Unavailable, or Canceled when the
// call's context ended.
func (c *Client) broken(op string, err error) error {
	e := &mail.Error{
		Op: "smtp." + op, Kind: mail.Unavailable, Code: mail.Enhanced{4, 4, 2},
		Text: "connection lost in " + strings.ToUpper(op), Err: err,
	}
	var ne net.Error
	switch {
	case c.ctx.Err() != nil:
		e.Kind, e.Text, e.Err = mail.Canceled, "given up in "+strings.ToUpper(op), c.ctx.Err()
	case errors.As(err, &ne) && ne.Timeout():
		e.Code, e.Text = mail.Enhanced{4, 4, 2}, "timed out in "+strings.ToUpper(op)
	case mail.Is(err, mail.Invalid), errors.Is(err, bufio.ErrBufferFull): // a line that does not end
		e.Code, e.Text = mail.Enhanced{4, 5, 0}, "the server does not speak the protocol"
	}
	if c.dead == nil {
		c.dead = e
	}
	c.o.Trace(observe.Note, []byte(e.Text), false)
	return e
}

// write puts a line into the buffer.
func (c *Client) write(line string, secret bool) {
	c.o.Trace(observe.Ours, []byte(line), secret)
	_, _ = c.w.WriteString(line) // errors stay and come at the flush
	_, _ = c.w.WriteString("\r\n")
}

// conceal keeps a secret that was said out of transcripts and results, should the server repeat it. What is shorter than
// four octets stands in every other word.
func (c *Client) conceal(secret string) {
	if len(secret) >= 4 {
		c.secrets = append(c.secrets, []byte(secret))
	}
}

func (c *Client) withoutSecrets(line []byte) []byte {
	for _, s := range c.secrets {
		line = bytes.ReplaceAll(line, s, []byte("(secret)"))
	}
	return line
}

// command says a line and hears the reply. An error means that the connection is broken.
func (c *Client) command(op, line string, secret bool, d time.Duration) (Reply, error) {
	if c.dead != nil {
		return Reply{}, c.dead
	}
	if strings.ContainsAny(line, "\r\n\x00") {
		return Reply{}, mail.E("smtp."+op, mail.Invalid, "a command cannot hold the end of a line")
	}
	c.write(line, secret)
	if err := c.w.Flush(); err != nil {
		return Reply{}, c.broken(op, err)
	}
	return c.reply(op, d)
}

// reply hears a reply (RFC 5321 §4.2.1). Lines may end with LF alone, which nothing can be smuggled by. The code
// of a reply is that of its last line.
func (c *Client) reply(op string, d time.Duration) (Reply, error) {
	if err := c.w.Flush(); err != nil {
		return Reply{}, c.broken(op, err)
	}
	c.deadline(d)
	var r Reply
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return Reply{}, c.broken(op, err)
		}
		line = bytes.TrimRight(line, "\r\n")
		told := c.withoutSecrets(line)
		c.o.Trace(observe.Theirs, told, false)
		if !bytes.HasPrefix(line, []byte("334")) { // a challenge has to stay as it is
			line = told
		}
		code, e, text, more, err := ParseReplyLine(line)
		if err != nil || len(r.Lines) == maxReplyLines {
			return Reply{}, c.broken(op, mail.E("smtp", mail.Invalid, "not a reply of SMTP"))
		}
		r.Code = code
		r.Lines = append(r.Lines, text)
		if r.Enhanced[0] == 0 || e[0] != r.Enhanced[0] {
			r.Enhanced = e
		}
		if !more {
			break
		}
	}
	if r.Code == 421 && c.dead == nil {
		c.dead = refused(op, r)
	}
	return r, nil
}
