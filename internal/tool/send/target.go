package send

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"postel/internal/admin"
	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/route"
	"postel/internal/tool"
)

// target is one address to try.
type target struct {
	addr string // host:port to dial
	host string // the name its certificate must have
}

// targets gives --server, else a running server, else the MXs of the first recipient's domain.
func (s *sender) targets(ctx context.Context) ([]target, error) {
	if s.server != "" {
		host, p := s.server, map[bool]string{true: "465", false: "25"}[s.tls == "implicit"]
		if h, given, err := net.SplitHostPort(s.server); err == nil {
			host, p = h, given
		}
		host = strings.Trim(host, "[]")
		if !port(p) {
			return nil, fmt.Errorf("--server %s: bad port", s.server)
		}
		if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
			return nil, err
		}
		return []target{{net.JoinHostPort(host, p), host}}, nil
	}
	if addr, ok := s.local(ctx); ok {
		return []target{{addr, "localhost"}}, nil
	}
	return byMX(ctx, s.envelope.Recipients[0].Address.Domain)
}

// local gives the listener of the server that --config, --data or a running `postel dev` names.
func (s *sender) local(ctx context.Context) (string, bool) {
	c, err := s.env.Running(ctx)
	if err != nil {
		return "", false
	}
	defer func() { _ = c.Close() }()
	var r admin.Running
	if c.Call(ctx, "GET", "/v1/version", nil, &r) != nil {
		return "", false
	}
	name := "smtp"
	switch {
	case s.lmtp:
		name = "lmtp"
	case s.user != "" && s.tls == "implicit":
		name = "submissions"
	case s.user != "":
		name = "submission"
	}
	p, ok := r.Ports[name]
	return fmt.Sprintf("127.0.0.1:%d", p), ok
}

func byMX(ctx context.Context, d mail.Domain) ([]target, error) {
	resolver, err := dns.New(dns.Options{})
	if err != nil {
		return nil, err
	}
	router, err := route.New(route.Options{Resolver: resolver, AllowLoopback: true})
	if err != nil {
		return nil, err
	}
	plan, err := router.Route(ctx, d, mail.Address{})
	if err != nil {
		return nil, err
	}
	var out []target
	for _, h := range plan.Hosts {
		for _, a := range h.Addrs {
			out = append(out, target{a.String(), h.Name})
		}
	}
	return out, nil
}

// compose writes a message of what the flags say.
func (s *sender) compose() (io.ReadCloser, error) {
	body := io.Reader(strings.NewReader(s.body + "\n"))
	if s.body == "-" {
		body = s.env.In
	}
	from := s.envelope.From
	if from.IsNull() {
		from = mail.Address{Local: "postel", Domain: "localhost"}
	}
	var h message.Header
	h.Add("From", from.String())
	h.Add("To", strings.Join(s.to, ", "))
	h.Add("Subject", message.EncodeText(s.subject))
	h.Add("Date", message.FormatDate(time.Now()))
	var ids mail.IDs
	h.Add("Message-ID", "<"+ids.New(time.Now()).String()+"@"+string(from.Domain)+">")
	h.Add("MIME-Version", "1.0")
	h.Add("Content-Type", "text/plain; charset=utf-8")
	h.Add("Content-Transfer-Encoding", "8bit")
	for _, line := range s.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.ContainsAny(name, " \t\r\n") {
			return nil, fmt.Errorf("--header %q: want NAME: VALUE", line)
		}
		h.Add(name, strings.TrimSpace(value))
	}
	s.envelope.Body = mail.Body8BitMIME
	return io.NopCloser(io.MultiReader(strings.NewReader(h.String()), tool.CRLF(body))), nil
}
