// Package send is `postel send`: it hands one message to a server and shows the dialogue; its exit code names the
// phase that failed.
package send

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/smtp"
	"postel/internal/tool"
)

// The exit codes by phase (interface of the command line).
const (
	phaseResolve = 20 + iota
	phaseConnect
	phaseGreeting
	phaseTLS
	phaseAuth
	phaseMail
	phaseRcpt
	phaseData
	phaseFinal
)

// flags are what the command was given.
type flags struct {
	from, subject, body, file, server, tls, ca, user, helo string
	to, headers                                            []string
	insecure, stdin, lmtp                                  bool
	timeout                                                time.Duration
}

// Commands gives the command.
func Commands(env *tool.Env) []*cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "send --to ADDRESS", Short: "send a message and show the dialogue", Args: cobra.NoArgs,
		Long: "Hands one message to a server and shows the dialogue. Without --server it goes to a running `postel dev`,\n" +
			"else to the MX of the first recipient. Exit codes: 20 resolve, 21 connect, 22 greeting or EHLO, 23 TLS,\n" +
			"24 AUTH, 25 MAIL, 26 RCPT, 27 DATA, 28 after the final dot.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			return run(ctx, env, f)
		},
	}
	fl := c.Flags()
	fl.StringArrayVar(&f.to, "to", nil, "recipient `ADDRESS`; repeatable")
	fl.StringVar(&f.from, "from", "", "sender `ADDRESS` (default the user, else postel@ and this host); <> is the null sender")
	fl.StringVar(&f.subject, "subject", "Test from postel send", "the `text` of the subject")
	fl.StringVar(&f.body, "body", "This is a test message.", "the `text`; - reads standard input")
	fl.StringVar(&f.file, "file", "", "send this `file` as it is, header and body; - reads standard input")
	fl.StringArrayVar(&f.headers, "header", nil, "a further `NAME: VALUE`; repeatable")
	fl.StringVar(&f.server, "server", "", "`HOST[:PORT]` to speak to")
	fl.StringVar(&f.tls, "tls", "may", "`HOW`: may (when offered, unverified), must (verified), implicit (from the first octet, verified) or never")
	fl.StringVar(&f.ca, "ca", "", "trust the certificates in this `file` too")
	fl.BoolVar(&f.insecure, "insecure", false, "do not verify the certificate")
	fl.StringVar(&f.user, "user", "", "log in as `ADDRESS`")
	fl.BoolVar(&f.stdin, "password-stdin", false, "read the password from standard input")
	fl.StringVar(&f.helo, "helo", "", "the `NAME` to greet with (default this host's)")
	fl.BoolVar(&f.lmtp, "lmtp", false, "speak LMTP")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "for all of it")
	return []*cobra.Command{c}
}

// said is one line of the dialogue, for --json.
type said struct {
	Glyph string `json:"glyph"`
	Text  string `json:"text"`
}

// result is what --json prints.
type result struct {
	OK       bool   `json:"ok"`
	Server   string `json:"server"`
	Phase    string `json:"phase,omitempty"`
	Reply    string `json:"reply,omitempty"`
	Dialogue []said `json:"dialogue"`
}

// sender is one run of the command.
type sender struct {
	flags
	env      *tool.Env
	envelope mail.Envelope
	password string
	tlsOn    bool
	sentBody bool
	result   result
}

func run(ctx context.Context, env *tool.Env, f flags) error {
	s := &sender{flags: f, env: env}
	if err := s.prepare(); err != nil {
		return err
	}
	err := s.deliver(ctx)
	s.result.OK = err == nil
	var exit *tool.ExitError
	if errors.As(err, &exit) {
		s.result.Phase = phaseNames()[exit.Code]
	}
	if env.JSON {
		if perr := env.Print(s.result, ""); perr != nil {
			return perr
		}
	}
	return err
}

func phaseNames() map[int]string {
	return map[int]string{
		phaseResolve: "resolve", phaseConnect: "connect", phaseGreeting: "greeting", phaseTLS: "tls",
		phaseAuth: "auth", phaseMail: "mail", phaseRcpt: "rcpt", phaseData: "data", phaseFinal: "final",
	}
}

// prepare checks what was given.
func (s *sender) prepare() error {
	if len(s.to) == 0 {
		return tool.Fail(tool.Usage, "--to is missing: give a recipient")
	}
	for _, t := range s.to {
		a, err := mail.ParseAddress(t)
		if err != nil {
			return tool.Fail(tool.Usage, "--to %s: not an address", t)
		}
		s.envelope.Recipients = append(s.envelope.Recipients, mail.Recipient{Address: a})
	}
	if s.helo == "" {
		if s.helo, _ = os.Hostname(); s.helo == "" {
			s.helo = "localhost"
		}
	}
	switch {
	case s.from == "" && s.user != "":
		s.from = s.user
	case s.from == "":
		s.from = "postel@" + s.helo
	}
	if s.from != "<>" {
		a, err := mail.ParseAddress(s.from)
		if err != nil {
			return tool.Fail(tool.Usage, "--from %s: not an address", s.from)
		}
		s.envelope.From = a
	}
	if s.user != "" {
		if !s.stdin {
			return tool.Fail(tool.Usage, "--user needs --password-stdin")
		}
		if s.body == "-" || s.file == "-" {
			return tool.Fail(tool.Usage, "standard input holds the password; give the message with --file")
		}
		var err error
		if s.password, err = s.env.Password(); err != nil {
			return err
		}
	}
	if s.tls != "may" && s.tls != "must" && s.tls != "implicit" && s.tls != "never" {
		return tool.Fail(tool.Usage, "--tls %s: want may, must, implicit or never", s.tls)
	}
	return nil
}

// deliver goes through the phases; an error has the code of its phase.
func (s *sender) deliver(ctx context.Context) error {
	targets, err := s.targets(ctx)
	if err != nil {
		return tool.Fail(phaseResolve, "%v", err)
	}
	conn, host, err := s.connect(ctx, targets)
	if err != nil {
		return tool.Fail(phaseConnect, "no connection: %v", err)
	}
	c := smtp.NewClient(conn, smtp.ClientOptions{Hello: s.helo, Host: host, LMTP: s.lmtp, Trace: s.trace})
	defer func() { _ = c.Close() }()
	if err := s.greet(ctx, c, host); err != nil {
		return err
	}
	if s.user != "" {
		if s.tls == "may" && !s.insecure && !loopback(conn) {
			return tool.Fail(phaseTLS, "a password goes out under verified TLS only: give --tls must or implicit (or --insecure, or --tls never)")
		}
		if err := c.Auth(ctx, "", s.user, s.password); err != nil {
			return tool.Fail(phaseAuth, "login refused: %v", s.heard(err))
		}
	}
	if err := s.transaction(ctx, c); err != nil {
		return err
	}
	_ = c.Quit(ctx) // the message is taken, whatever comes of this
	return nil
}

func (s *sender) connect(ctx context.Context, targets []target) (net.Conn, string, error) {
	var d net.Dialer
	var errs []error
	for _, t := range targets {
		s.note("trying " + t.addr)
		conn, err := d.DialContext(ctx, "tcp", t.addr)
		if err == nil {
			s.result.Server = t.addr
			s.note("connected to " + t.addr)
			return conn, t.host, nil
		}
		errs = append(errs, err)
	}
	return nil, "", errors.Join(errs...)
}

// greet hears the greeting, says EHLO and starts TLS as asked for.
func (s *sender) greet(ctx context.Context, c *smtp.Client, host string) error {
	cfg, err := s.tlsConfig(host)
	if err != nil {
		return tool.Fail(tool.Usage, "%v", err)
	}
	if s.tls == "implicit" {
		if err := c.ImplicitTLS(ctx, cfg); err != nil {
			return tool.Fail(phaseTLS, "TLS failed: %v", err)
		}
		s.tlsOn = true
	}
	if _, err := c.Greet(ctx); err != nil {
		return tool.Fail(phaseGreeting, "greeting: %v", s.heard(err))
	}
	if _, err := c.Hello(ctx); err != nil {
		return tool.Fail(phaseGreeting, "EHLO: %v", s.heard(err))
	}
	_, offered := c.Extension("STARTTLS")
	if s.tls == "must" && !offered {
		return tool.Fail(phaseTLS, "the server does not offer STARTTLS")
	}
	if s.tlsOn || s.tls == "never" || !offered {
		return nil
	}
	if err := c.StartTLS(ctx, cfg); err != nil {
		return tool.Fail(phaseTLS, "TLS failed: %v", s.heard(err))
	}
	return nil
}

func (s *sender) tlsConfig(host string) (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, InsecureSkipVerify: s.insecure || s.tls == "may" && s.ca == ""}
	if s.ca == "" {
		return cfg, nil
	}
	pem, err := os.ReadFile(s.ca)
	if err != nil {
		return nil, err
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca %s: no certificate in it", s.ca)
	}
	return cfg, nil
}

// loopback tells whether a connection stays on this machine.
func loopback(c net.Conn) bool {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}

func (s *sender) transaction(ctx context.Context, c *smtp.Client) error {
	body, err := s.message()
	if err != nil {
		return tool.Fail(tool.Usage, "%v", err)
	}
	defer func() { _ = body.Close() }()
	if r, err := c.Mail(ctx, s.envelope); err != nil || !r.Positive() {
		return s.refused(phaseMail, "MAIL", r, err)
	}
	taken, err := s.recipients(ctx, c)
	if err != nil {
		return err
	}
	replies := 1
	if s.lmtp {
		replies = taken
	}
	rs, err := c.Data(ctx, body, replies)
	phase, what := phaseData, "DATA"
	if s.sentBody {
		phase, what = phaseFinal, "after the final dot"
	}
	if err != nil {
		return s.refused(phase, what, smtp.Reply{}, err)
	}
	for _, r := range rs {
		if s.result.Reply = r.String(); !r.Positive() {
			return s.refused(phase, what, r, nil)
		}
	}
	if taken < len(s.to) {
		return tool.Fail(phaseRcpt, "%d of %d recipients were refused", len(s.to)-taken, len(s.to))
	}
	return nil
}

// recipients says them all and gives how many were taken; an error when none was.
func (s *sender) recipients(ctx context.Context, c *smtp.Client) (taken int, err error) {
	var last smtp.Reply
	for _, rcpt := range s.envelope.Recipients {
		r, err := c.Rcpt(ctx, rcpt)
		if err != nil {
			return taken, s.refused(phaseRcpt, "RCPT", r, err)
		}
		if last = r; r.Positive() {
			taken++
		}
	}
	if taken == 0 {
		return 0, s.refused(phaseRcpt, "RCPT", last, nil)
	}
	return taken, nil
}

func (s *sender) refused(phase int, what string, r smtp.Reply, err error) error {
	if err == nil {
		s.result.Reply = r.String()
		return tool.Fail(phase, "%s: %s", what, strings.TrimSpace(r.String()))
	}
	return tool.Fail(phase, "%s: %v", what, s.heard(err))
}

// heard keeps the reply in an error for --json.
func (s *sender) heard(err error) error {
	if r, ok := smtp.RefusalOf(err); ok {
		s.result.Reply = r.String()
		return errors.New(strings.TrimSpace(r.String()))
	}
	return err
}

// trace shows the dialogue as it goes.
func (s *sender) trace(d observe.Direction, line []byte, secret bool) {
	text := observe.Mask(line, secret)
	l := observe.Line{Direction: d, TLS: s.tlsOn, Text: text, Error: d == observe.Theirs && len(line) > 0 && (line[0] == '4' || line[0] == '5')}
	if d == observe.Note {
		s.tlsOn = s.tlsOn || strings.HasPrefix(text, "TLS")
		s.sentBody = s.sentBody || strings.HasPrefix(text, "message of")
	}
	s.show(l.Glyph(), text)
}

func (s *sender) note(text string) { s.show("===", text) }

func (s *sender) show(glyph, text string) {
	s.result.Dialogue = append(s.result.Dialogue, said{glyph, text})
	if !s.env.JSON && !s.env.Quiet {
		_, _ = fmt.Fprintln(s.env.Out, glyph, text)
	}
}

// message gives what is sent, with CRLF line ends.
func (s *sender) message() (io.ReadCloser, error) {
	switch s.file {
	case "-":
		return io.NopCloser(tool.CRLF(s.env.In)), nil
	case "":
		return s.compose()
	}
	f, err := os.Open(s.file)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{tool.CRLF(f), f}, nil
}

func port(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}
