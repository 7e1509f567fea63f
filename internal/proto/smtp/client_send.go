package smtp

import (
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
)

// window is how many commands go out before their replies are read: so few that the replies fit into the buffers
// below us while we still write (RFC 2920 §3.1).
const window = 100

// Mail begins a transaction. The reply may be a refusal; it is then no error. Mail, Rcpt and Data are for people who
// look at each step; Send does them all.
func (c *Client) Mail(ctx context.Context, e mail.Envelope) (Reply, error) {
	defer c.begin(ctx)()
	c.dirty = true
	return c.command("mail", MailLine(e, c.accepts()), false, c.o.Timeouts.Command)
}

// Rcpt says a recipient, as Mail does.
func (c *Client) Rcpt(ctx context.Context, r mail.Recipient) (Reply, error) {
	defer c.begin(ctx)()
	return c.command("rcpt", RcptLine(r, c.accepts()), false, c.o.Timeouts.Command)
}

// Data says DATA and, when the server says 354, sends body and its end. It gives the reply to DATA if that is a
// refusal, else replies of them behind the content: 1 in SMTP, one a recipient in LMTP.
func (c *Client) Data(ctx context.Context, body io.Reader, replies int) ([]Reply, error) {
	defer c.begin(ctx)()
	r, err := c.command("data", "DATA", false, c.o.Timeouts.Data)
	if err != nil || r.Code != 354 {
		return []Reply{r}, err
	}
	if err := c.content(body); err != nil {
		return nil, err
	}
	var all []Reply
	for range replies {
		r, err := c.final()
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	c.dirty = false
	return all, nil
}

// content sends body and its end. An error of body leaves the connection broken, as there is no other way to take the
// message back.
func (c *Client) content(body io.Reader) error {
	w := NewDataWriter(c.w)
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	var size int64
	for {
		n, err := body.Read(c.buf)
		size += int64(n)
		if _, werr := w.Write(c.buf[:n]); werr != nil {
			return c.broken("content", werr)
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			_ = c.broken("content", err)
			_ = c.conn.Close()
			return errBody{err}
		}
	}
	c.o.Trace(observe.Note, []byte("message of "+strconv.FormatInt(size, 10)+" octets"), false)
	if err := w.Close(); err != nil {
		return c.broken("content", err)
	}
	return nil
}

// errBody is a failure to read the message that was to be sent.
type errBody struct{ error }

func (e errBody) Unwrap() error { return e.error }

// Send does a whole transaction, with all commands in one go when the server knows PIPELINING. It gives a result for
// each recipient, in their order, whatever happens. The error says that the connection is of no more use: quit it.
func (c *Client) Send(ctx context.Context, e mail.Envelope, body io.Reader) ([]mail.Result, error) {
	defer c.begin(ctx)()
	t := &sending{c: c, e: e, results: make([]mail.Result, len(e.Recipients))}
	for i, r := range e.Recipients {
		t.results[i] = mail.Result{Recipient: r.Address, Host: c.o.Host}
	}
	if c.dirty && c.dead == nil {
		_ = c.reset() // a refusal shows at MAIL
	}
	if c.dead != nil {
		t.lost(c.dead)
		return t.results, c.dead
	}
	if t.impossible() {
		return t.results, nil
	}
	c.dirty = true
	c.until = time.Now().Add(c.o.Timeouts.Message)
	defer func() { c.until = time.Time{} }()
	err := t.transaction(body)
	if err == nil {
		err = c.dead // 421
	}
	if err != nil {
		t.lost(err)
	}
	return t.results, err
}

// transaction goes through all of it.
func (t *sending) transaction(body io.Reader) error {
	byBDAT, ahead := t.chunks()
	if !byBDAT {
		goOn, err := t.envelope(len(t.todo)+1, nil)
		if err == nil && goOn {
			err = t.content(body)
		}
		return err
	}
	var k *chunker
	send := func() (err error) {
		k, err = t.sendChunks(body)
		return err
	}
	if ahead {
		if _, err := t.envelope(len(t.todo), send); err != nil {
			return err
		}
		return t.hearChunks(k)
	}
	if _, err := t.envelope(len(t.todo), nil); err != nil || t.refused || len(t.accepted) == 0 {
		return err
	}
	if err := send(); err != nil {
		return t.early(err)
	}
	return t.hearChunks(k)
}

// sending is one Send.
type sending struct {
	c       *Client
	e       mail.Envelope
	results []mail.Result // Code 0: no verdict yet

	todo     []int // recipients that are said
	accepted []int // of them, those that the server took
	refused  bool  // MAIL was
	goAhead  bool  // DATA had 354
}

// settle gives a verdict to a recipient that has none.
func (t *sending) settle(i int, scope mail.Scope, r Reply) {
	res := &t.results[i]
	if res.Code != 0 {
		return
	}
	if r.Code == 421 {
		scope = mail.ScopeSession
	}
	res.Scope, res.Code, res.Enhanced, res.Text = scope, r.Code, r.Enhanced, r.Text()
	if r.Code < 400 && r.Code/100 != 2 { // 3yz where it makes no sense
		res.Code, res.Enhanced = 451, mail.Enhanced{4, 5, 0}
	}
}

// all gives a verdict to all that have none.
func (t *sending) all(scope mail.Scope, r Reply) {
	for i := range t.results {
		t.settle(i, scope, r)
	}
}

// lost gives the verdict of a broken connection to all that have none.
func (t *sending) lost(err error) {
	if r, ok := RefusalOf(err); ok {
		t.all(mail.ScopeSession, r)
		return
	}
	scope := mail.ScopeSession
	var b errBody
	if errors.As(err, &b) { // our own fault: another host would fare no better
		scope = mail.ScopeMessage
		err = &mail.Error{Op: "smtp.body", Kind: mail.Unavailable, Text: "the message cannot be read now", Err: err}
	}
	r := ReplyOf(err, false)
	if r.Enhanced[0] != 4 {
		r.Code, r.Enhanced = 451, mail.Enhanced{4, 4, 2}
	}
	t.all(scope, r)
}

// impossible settles what the server cannot take, and tells whether nothing is left to send.
func (t *sending) impossible() bool {
	x := t.c.accepts()
	if limit := t.c.maxSize(); limit > 0 && t.e.Size > limit {
		t.all(mail.ScopeMessage, NewReply(552, mail.Enhanced{5, 3, 4}, "message larger than %d octets, which %s takes", limit, t.c.o.Host))
		return true
	}
	if strings.ContainsAny(t.e.From.String()+t.e.Return, "\r\n\x00") {
		t.all(mail.ScopeMessage, NewReply(553, mail.Enhanced{5, 1, 7}, "bad address of the sender"))
		return true
	}
	if t.unsuitable(x) {
		return true
	}
	for i, r := range t.e.Recipients {
		switch {
		case strings.ContainsAny(r.Address.String(), "\r\n\x00"): // never parsed: made by hand
			t.settle(i, mail.ScopeRecipient, NewReply(553, mail.Enhanced{5, 1, 3}, "bad address"))
			continue
		case !r.Address.ASCII() && !x.UTF8:
			t.settle(i, mail.ScopeRecipient, t.notASCII())
			continue
		}
		t.todo = append(t.todo, i)
	}
	return len(t.todo) == 0
}

func (t *sending) notASCII() Reply {
	return NewReply(553, mail.Enhanced{5, 6, 7}, "%s does not take addresses beyond ASCII", t.c.o.Host)
}

// unsuitable settles a message that the server cannot take for what it asks, and asks for what it needs: SMTPUTF8 for
// addresses and headers beyond ASCII, whatever its sender said (RFC 6531 §3.2 and §3.4), and 8BITMIME for octets. To a
// server without SMTPUTF8 goes what was sent without, as it came.
func (t *sending) unsuitable(x Extensions) bool {
	c := t.e.Demands()
	if c&(mail.EightBitHeader|mail.EightBitBody) != 0 && t.e.Body == mail.Body7Bit {
		t.e.Body = mail.Body8BitMIME
	}
	header := c&mail.EightBitHeader != 0 && (t.e.UTF8 || x.UTF8 || !x.EightBit)
	by := t.e.By
	switch {
	case !x.UTF8 && !t.e.From.ASCII():
		t.all(mail.ScopeMessage, t.notASCII())
	case !x.UTF8 && header:
		t.all(mail.ScopeMessage, NewReply(554, mail.Enhanced{5, 6, 9}, "%s does not take a header beyond ASCII", t.c.o.Host))
	case t.e.RequireTLS && (!x.RequireTLS || t.c.TLS() == nil):
		t.all(mail.ScopeHost, NewReply(550, mail.Enhanced{5, 7, 30}, "%s does not support REQUIRETLS", t.c.o.Host))
	case by.Return && !by.Deadline.IsZero() && !x.DeliverBy: // RFC 2852 §4.1.3
		t.all(mail.ScopeHost, NewReply(451, mail.Enhanced{4, 4, 7}, "%s does not support DELIVERBY", t.c.o.Host))
	case by.Return && !by.Deadline.IsZero() && time.Until(by.Deadline) < t.c.leastBy():
		t.all(mail.ScopeHost, NewReply(451, mail.Enhanced{4, 4, 7}, "%s does not promise delivery in the time that is left", t.c.o.Host))
	default:
		t.e.UTF8 = t.e.UTF8 || header || slices.ContainsFunc(t.e.Recipients, func(r mail.Recipient) bool { return !r.Address.ASCII() }) || !t.e.From.ASCII()
		return false
	}
	return true
}

// leastBy gives the shortest time for which the server takes a deadline (RFC 2852 §3).
func (c *Client) leastBy() time.Duration {
	n, err := strconv.ParseUint(strings.TrimSpace(c.extensions["DELIVERBY"]), 10, 31)
	if err != nil {
		return time.Second
	}
	return max(time.Duration(n)*time.Second, time.Second)
}

// envelope says MAIL, the RCPTs and, when that is the index of its end, DATA, and tells whether the content is to
// follow. MAIL has the index 0. What ahead says goes with them before their replies are heard.
func (t *sending) envelope(end int, ahead func() error) (goOn bool, err error) {
	_, pipelining := t.c.extensions["PIPELINING"]
	data := len(t.todo) + 1
	for from := 0; from <= end; {
		if t.refused || from == data && len(t.accepted) == 0 {
			return false, nil
		}
		to := from
		if pipelining {
			to = min(from+window-1, end)
		}
		for i := from; i <= to; i++ {
			t.c.write(t.line(i), false)
		}
		if ahead != nil {
			if err := ahead(); err != nil {
				return false, t.early(err)
			}
		}
		for i := from; i <= to; i++ {
			d, op := t.c.o.Timeouts.Command, "mail"
			switch {
			case ahead != nil: // the end of the message has been said: whatever goes wrong now, it may arrive
				op = opFinal
			case i == data:
				d, op = t.c.o.Timeouts.Data, "data"
			case i > 0:
				op = "rcpt"
			}
			r, err := t.c.reply(op, d)
			if err != nil {
				return false, err
			}
			t.hear(i, r)
			if t.c.dead != nil {
				return false, t.c.dead
			}
		}
		from = to + 1
	}
	return t.goAhead, nil
}

// line gives the command with an index.
func (t *sending) line(i int) string {
	switch {
	case i == 0:
		return MailLine(t.e, t.c.accepts())
	case i <= len(t.todo):
		return RcptLine(t.e.Recipients[t.todo[i-1]], t.c.accepts())
	}
	return "DATA"
}

// hear takes the reply to the command with an index. A temporary refusal of MAIL or DATA is about the host, as it
// comes before the content is known, and so is one that makes no sense.
func (t *sending) hear(i int, r Reply) {
	scope := mail.ScopeMessage
	if r.Code/100 != 5 {
		scope = mail.ScopeHost
	}
	switch {
	case i == 0:
		if t.refused = !r.Positive(); t.refused {
			t.all(scope, r)
		}
	case i <= len(t.todo) && r.Positive():
		t.accepted = append(t.accepted, t.todo[i-1])
	case i <= len(t.todo):
		if r.Code == 552 && (r.Enhanced[0] == 0 || r.Enhanced == (mail.Enhanced{5, 5, 3})) {
			r.Code, r.Enhanced = 452, mail.Enhanced{4, 5, 3} // too many recipients (RFC 5321 §4.5.3.1.10)
		}
		t.settle(t.todo[i-1], mail.ScopeRecipient, r)
	case r.Code == 354:
		t.goAhead = true
	case r.Positive(): // it cannot have taken what was not sent
		t.all(mail.ScopeHost, NewReply(451, mail.Enhanced{4, 5, 0}, "the server answered DATA with %s", r))
	default:
		t.all(scope, r)
	}
}

// content sends the content and hears what becomes of it. A server that said 354 though it took no recipient gets an
// empty one (RFC 2920 §3.1).
func (t *sending) content(body io.Reader) error {
	if len(t.accepted) == 0 || t.refused {
		if t.c.o.LMTP { // how many replies will come?
			return t.c.broken("data", mail.E("smtp.data", mail.Invalid, "354 without recipients"))
		}
		t.c.write(".", false)
		_, err := t.c.final()
		return err
	}
	if err := t.c.content(body); err != nil {
		return t.early(err)
	}
	if !t.c.o.LMTP {
		r, err := t.c.final()
		if err != nil {
			return err
		}
		t.all(mail.ScopeMessage, r)
		t.c.dirty = false
		return nil
	}
	for _, i := range t.accepted {
		r, err := t.c.final()
		if err != nil {
			return err
		}
		t.settle(i, mail.ScopeRecipient, r)
	}
	t.c.dirty = false
	return nil
}

// final hears a reply behind the content. One that is neither for nor against the message belongs to something else:
// nothing that follows can be trusted to be about what it seems to be about.
func (c *Client) final() (Reply, error) {
	c.until = time.Time{}
	r, err := c.reply(opFinal, c.o.Timeouts.Final)
	if err == nil && r.Code < 400 && !r.Positive() {
		err = c.broken(opFinal, mail.E("smtp.final", mail.Invalid, "a reply that makes no sense"))
	}
	return r, err
}

// early hears what the server said when the content broke off.
func (t *sending) early(err error) error {
	var b errBody
	if r, early := t.c.lastWords(); early && !errors.As(err, &b) {
		t.all(mail.ScopeMessage, r)
	}
	return err
}

// lastWords hears what a server said before it closed in the middle of the content.
func (c *Client) lastWords() (Reply, bool) {
	c.w.Reset(blockWriter{c}) // it has failed; what was read may hold the words already
	r, err := c.reply("content", c.o.Timeouts.Quit)
	return r, err == nil && r.Code >= 400
}
