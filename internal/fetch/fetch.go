// Package fetch asks other servers for mail that they hold for us: it starts their queue runs by ETRN (RFC 1985), and
// takes mail from providers by ATRN (RFC 2645), whose connection it hands on turned round. What comes in then is judged
// as any mail from another server.
package fetch

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
)

// The methods of a Source.
const (
	ATRN = "atrn"
	ETRN = "etrn"
)

// Source is a server that holds mail for us.
type Source struct {
	Host     string // a name or an address
	Port     uint16 // 0 is 366 for ATRN, 25 for ETRN
	Method   string // ATRN or ETRN
	Domains  []mail.Domain
	User     string // "" does not log in
	Password string
	TLS      string // "may" (when offered, unverified), "must" (verified) or "never"
	Every    time.Duration
}

// addr gives where the source listens.
func (s Source) addr() string {
	port := s.Port
	switch {
	case port != 0:
	case s.Method == ATRN:
		port = 366 // RFC 2645 §4
	default:
		port = 25
	}
	return net.JoinHostPort(strings.Trim(s.Host, "[]"), fmt.Sprint(port))
}

// Options is what a Fetcher is built from.
type Options struct {
	Hello   string      // our host name
	TLS     *tls.Config // may be nil
	Sources []Source
	// Serve holds the session of a connection that was turned round, for mail to these domains only, all where there are
	// none, and closes it.
	Serve func(conn net.Conn, domains []mail.Domain)
	Glass *observe.Glass // may be nil
	Log   *slog.Logger
}

// Fetcher asks the sources on their schedules.
type Fetcher struct{ o Options }

// New makes a Fetcher.
func New(o Options) *Fetcher { return &Fetcher{o} }

// limit bounds what comes before mail moves: ten minutes is what a provider may take to look for it (RFC 2645 §5.2.1).
const limit = 15 * time.Minute

// Run asks each source at once and then from time to time, until ctx ends. A failure is told and the next time tried
// again.
func (f *Fetcher) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, s := range f.o.Sources {
		running.Go(func() { f.ask(ctx, s) })
	}
	running.Wait()
}

func (f *Fetcher) ask(ctx context.Context, s Source) {
	t := time.NewTicker(s.Every)
	defer t.Stop()
	for {
		f.once(ctx, s)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// once asks a source one time.
func (f *Fetcher) once(ctx context.Context, s Source) {
	log := f.o.Log.With("host", s.addr(), "method", s.Method)
	g := f.o.Glass.Begin(observe.SessionInfo{Protocol: map[string]string{ATRN: "odmr", ETRN: "smtp"}[s.Method], Outbound: true, Remote: s.addr()})
	defer g.End()
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c, err := Connect(asking, s, f.o.Hello, f.o.TLS, g.Trace)
	if err != nil {
		log.Warn("mail could not be asked for", "err", err)
		return
	}
	if s.Method == ETRN {
		for _, a := range Start(asking, c, s.Domains) {
			if a.Err != nil {
				log.Warn("a queue run was refused", "domain", a.Domain, "err", a.Err)
			} else {
				log.Info("a queue run was asked for", "domain", a.Domain, "reply", a.Reply.String())
			}
		}
		_ = c.Quit(asking)
		return
	}
	f.take(asking, c, s, g, log)
}

// take turns the connection round and has the mail taken over it.
func (f *Fetcher) take(ctx context.Context, c *smtp.Client, s Source, g *observe.Session, log *slog.Logger) {
	conn, err := c.Turn(ctx, s.Domains)
	if r, refused := smtp.RefusalOf(err); refused && r.Code == 453 {
		log.Debug("nothing waits")
		_ = c.Quit(ctx)
		return
	}
	if err != nil {
		log.Warn("ATRN was refused", "err", err)
		_ = c.Quit(ctx)
		return
	}
	log.Info("mail is fetched")
	g.Trace(observe.Note, []byte("turned round: the mail comes in by a session of its own"), false)
	f.o.Serve(conn, s.Domains)
}

// Connect gives a session with a source that has greeted, begun TLS where that is offered or must be, and logged in.
func Connect(ctx context.Context, s Source, hello string, cfg *tls.Config, trace observe.Trace) (*smtp.Client, error) {
	dial, cancel := context.WithTimeout(ctx, 30*time.Second)
	conn, err := new(net.Dialer).DialContext(dial, "tcp", s.addr())
	cancel()
	if err != nil {
		trace(observe.Note, []byte(err.Error()), false)
		return nil, &mail.Error{Op: "fetch.connect", Kind: mail.Unavailable, Text: "no connection to " + s.addr(), Err: err}
	}
	c := smtp.NewClient(conn, smtp.ClientOptions{Hello: hello, Host: s.Host, Trace: trace})
	if err := s.greet(ctx, c, cfg); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// greet goes through the beginning of a session.
func (s Source) greet(ctx context.Context, c *smtp.Client, cfg *tls.Config) error {
	if _, err := c.Greet(ctx); err != nil {
		return err
	}
	if _, err := c.Hello(ctx); err != nil {
		return err
	}
	_, offered := c.Extension("STARTTLS")
	switch {
	case s.TLS == "must" && !offered:
		return mail.E("fetch.tls", mail.NeedTLS, "%s does not offer TLS, which is wanted", s.Host)
	case offered && s.TLS != "never":
		if err := c.StartTLS(ctx, s.tlsConfig(cfg)); err != nil {
			return err
		}
	}
	if s.User == "" {
		return nil
	}
	return c.Auth(ctx, "", s.User, s.Password)
}

// tlsConfig gives the configuration for the source. Unverified TLS is against eavesdroppers only.
func (s Source) tlsConfig(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg = cfg.Clone()
	cfg.InsecureSkipVerify = s.TLS != "must"
	host := strings.Trim(s.Host, "[]")
	if _, err := netip.ParseAddr(host); err != nil || s.TLS == "must" {
		cfg.ServerName = host
	}
	return cfg
}

// Answer is what a server said to ETRN for a domain.
type Answer struct {
	Domain mail.Domain
	Reply  smtp.Reply
	Err    error // of a refusal, or of a connection that broke
}

// Start starts queue runs for domains, each with its own answer (RFC 1985 §5). Behind a connection that broke there are
// none.
func Start(ctx context.Context, c *smtp.Client, domains []mail.Domain) (out []Answer) {
	for _, d := range domains {
		a := Answer{Domain: d}
		a.Reply, a.Err = c.Command(ctx, "ETRN "+string(d), false)
		broken := a.Err != nil
		if !broken && !a.Reply.Positive() {
			a.Err = mail.E("fetch.etrn", mail.Rejected, "%s", a.Reply.String())
		}
		if out = append(out, a); broken {
			break
		}
	}
	return out
}
