package mta

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
	"postel/internal/route"
)

// session is a link that speaks SMTP or LMTP.
type session struct {
	client *smtp.Client
	glass  *observe.Session
	local  netip.Addr // ours
	// noChunks is called when the host turns out not to know BDAT though it offers CHUNKING.
	noChunks func()
	loggedIn bool
}

func (s *session) send(ctx context.Context, e mail.Envelope, body *lazyBody) ([]mail.Result, error) {
	defer func() {
		if s.client.NoChunks() {
			s.noChunks()
		}
	}()
	form, convert := s.converts(&e)
	if !convert {
		return s.verdicts(s.client.Send(ctx, e, body))
	}
	r, err := message.Recode(body.again, form)
	if err != nil {
		return unconverted(e, err), nil
	}
	defer func() { _ = r.Close() }() // only read
	e.Size = 0                       // nobody knows yet
	if e.Content = e.Demands() &^ mail.LongLines; form == message.SevenBit {
		e.Content = mail.ContentKnown
	}
	e.Body = mail.Body7Bit // the client asks for what the content needs
	return s.verdicts(s.client.Send(ctx, e, r))
}

// verdicts says 530 in a session that logged in as what it is (RFC 4954 §6): the host has forgotten our login, or takes it
// for nothing. That is no verdict on the message.
func (s *session) verdicts(results []mail.Result, err error) ([]mail.Result, error) {
	for i, r := range results {
		if s.loggedIn && r.Code == 530 {
			results[i].Scope, results[i].Code, results[i].Enhanced = mail.ScopeHost, 454, mail.Enhanced{4, 7, 8}
			results[i].Text = "the host wants a login after ours: " + r.String()
		}
	}
	return results, err
}

// converts tells whether a message has to be converted for this host, and into what (RFC 6152 §3, RFC 3030 §3). Lines
// that are too long are for no host.
func (s *session) converts(e *mail.Envelope) (message.Form, bool) {
	c := e.Demands()
	eight := s.offers("8BITMIME")
	form := message.EightBit
	if !eight {
		form = message.SevenBit
	}
	switch {
	case e.Body == mail.BodyBinaryMIME:
		return form, !s.offers("BINARYMIME") || !s.offers("CHUNKING") || s.client.NoChunks()
	case c&mail.EightBitHeader != 0 && (!eight || e.UTF8 && !s.offers("SMTPUTF8")):
		return form, false // nothing helps
	}
	return form, c&mail.LongLines != 0 || c&mail.EightBitBody != 0 && !eight
}

// unconverted gives the results of a message that cannot be converted, or not be read.
func unconverted(e mail.Envelope, err error) []mail.Result {
	r := ours(mail.ScopeMessage, 451, mail.Enhanced{4, 3, 0}, "the message cannot be read now")
	if mail.Is(err, mail.Unsupported) {
		reply := smtp.ReplyOf(err, true)
		r = ours(mail.ScopeMessage, reply.Code, reply.Enhanced, reply.Text())
	}
	results := make([]mail.Result, len(e.Recipients))
	for i := range results {
		results[i] = r
	}
	return results
}

func (s *session) offers(extension string) bool {
	_, ok := s.client.Extension(extension)
	return ok
}

func (s *session) limit(name string) int { return s.client.Limit(name) }

func (s *session) session() mail.ID { return s.glass.ID() }

func (s *session) close(polite bool) {
	if polite {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		_ = s.client.Quit(ctx) // there is nothing to lose any more
		cancel()
	} else {
		_ = s.client.Close()
	}
	s.glass.End()
}

// farewell is how long we wait for the answer to QUIT.
const farewell = time.Second

// openSession connects to a host, greets, and encrypts where that is offered or must be. When TLS that is only
// desirable fails, a new connection goes without, at the next attempt where a policy decides (RFC 7435). The result
// says why there is no session.
func (m *MTA) openSession(ctx context.Context, t target, addr netip.AddrPort) (link, *refusal) {
	s, failed := m.connect(ctx, t, addr, t.TLS != route.Never)
	m.countTLS(ctx, t, addr, s, failed)
	var broke *handshakeFailed
	if errors.As(failed, &broke) && t.clearAfterFailure() {
		s, failed = m.connect(ctx, t, addr, false)
	}
	m.learn(ctx, t, s, failed)
	if failed != nil {
		return nil, &refusal{resultOfOpen(failed, t.Name), s.session()}
	}
	return s, nil
}

// refusal says why there is no session with a host.
type refusal struct {
	mail.Result
	session mail.ID // the try, in glass
}

// handshakeFailed is the error of TLS that was offered and did not come about.
type handshakeFailed struct{ error }

func (e *handshakeFailed) Unwrap() error { return e.error }

func resultOfOpen(err error, host string) mail.Result {
	var u *unreachable
	if errors.As(err, &u) {
		return ours(mail.ScopeHost, 451, mail.Enhanced{4, 4, 1}, u.Error())
	}
	return smtp.ResultOf(err, host)
}

// connect gives a session that has greeted. With secure it has started TLS if that was offered or must be. One that
// failed is given too, closed.
func (m *MTA) connect(ctx context.Context, h target, addr netip.AddrPort, secure bool) (*session, error) {
	dial, cancel := context.WithTimeout(ctx, m.o.Timeouts.Connect)
	conn, err := m.dial(dial, h, addr)
	cancel()
	if err != nil {
		u := &unreachable{h.Host, addr, err}
		g := m.o.Glass.Begin(observe.SessionInfo{Protocol: string(h.Proto), Outbound: true, Remote: h.at(addr)})
		g.Trace(observe.Note, []byte(u.Error()), false)
		g.End()
		return &session{glass: g}, u
	}
	g := m.o.Glass.Begin(observe.SessionInfo{
		Protocol: string(h.Proto), Outbound: true, Local: conn.LocalAddr().String(),
		Remote: conn.RemoteAddr().String(),
	})
	h.note(g)
	s := &session{glass: g, loggedIn: h.User != "", local: ipOf(conn.LocalAddr()), noChunks: func() { m.chunkless.add(h.at(addr)) }, client: smtp.NewClient(conn, smtp.ClientOptions{
		Hello: string(m.o.Hostname), Host: h.Name,
		LMTP: h.Proto == route.LMTP, NoChunks: m.chunkless.has(h.at(addr)), Trace: traceTo(g),
	})}
	if err := m.greet(ctx, s.client, h, secure); err != nil {
		s.close(false)
		return s, err
	}
	return s, nil
}

// ipOf gives the address of one end of a connection; the zero one where it is no IP's.
func ipOf(a net.Addr) netip.Addr {
	ap, _ := netip.ParseAddrPort(a.String())
	return ap.Addr().Unmap()
}

// traceTo records a session's lines, and from when it is encrypted.
func traceTo(g *observe.Session) observe.Trace {
	if g == nil {
		return nil
	}
	return func(d observe.Direction, line []byte, secret bool) {
		if d == observe.Note && bytes.HasPrefix(line, []byte("TLS ")) {
			g.Encrypted()
		}
		g.Trace(d, line, secret)
	}
}

// greet goes through the beginning of a session.
func (m *MTA) greet(ctx context.Context, c *smtp.Client, h target, secure bool) error {
	if _, err := c.Greet(ctx); err != nil {
		return err
	}
	if _, err := c.Hello(ctx); err != nil {
		return err
	}
	if err := m.encrypt(ctx, c, h, secure); err != nil {
		return err
	}
	return logIn(ctx, c, h)
}

// addrSet remembers some addresses; when it is full it begins anew.
type addrSet struct {
	mu  sync.Mutex
	all map[string]struct{}
}

const maxAddrSet = 1000

func (s *addrSet) add(a string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil || len(s.all) >= maxAddrSet {
		s.all = map[string]struct{}{}
	}
	s.all[a] = struct{}{}
}

func (s *addrSet) has(a string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.all[a]
	return ok
}
