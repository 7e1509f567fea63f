package manage

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/fetch"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/tool"
)

// etrnAnswer is what --json prints for each domain.
type etrnAnswer struct {
	Domain string `json:"domain"`
	OK     bool   `json:"ok"`
	Reply  string `json:"reply"`
}

// queueETRN asks another server to send what it holds for us; ours is not needed for that.
func queueETRN(env *tool.Env) *cobra.Command {
	s := fetch.Source{Method: fetch.ETRN}
	var stdin bool
	c := &cobra.Command{
		Use: "etrn HOST[:PORT] DOMAIN...", Short: "ask another server to send the mail that it holds for domains", Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := target(&s, args); err != nil {
				return err
			}
			if s.User != "" {
				if !stdin {
					return tool.Fail(tool.Usage, "--user needs --password-stdin")
				}
				var err error
				if s.Password, err = env.Password(); err != nil {
					return err
				}
			}
			return startQueues(cmd.Context(), env, s)
		},
	}
	fl := c.Flags()
	fl.StringVar(&s.TLS, "tls", "may", "`HOW`: may (when offered, unverified), must (verified) or never; a password wants must, but on loopback")
	fl.StringVar(&s.User, "user", "", "log in as `ADDRESS`")
	fl.BoolVar(&stdin, "password-stdin", false, "read the password from standard input")
	return c
}

// target reads the arguments, and what of the flags they bear on.
func target(s *fetch.Source, args []string) error {
	s.Host = args[0]
	if host, port, err := net.SplitHostPort(args[0]); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return tool.Fail(tool.Usage, "%s: bad port", args[0])
		}
		s.Host, s.Port = host, uint16(n)
	}
	for _, name := range args[1:] {
		d, err := mail.ParseDomain(name)
		if err != nil {
			return tool.Fail(tool.Usage, "%s: not a domain name", name)
		}
		s.Domains = append(s.Domains, d)
	}
	if s.TLS != "may" && s.TLS != "must" && s.TLS != "never" {
		return tool.Fail(tool.Usage, "--tls %s: want may, must or never", s.TLS)
	}
	if ip := net.ParseIP(s.Host); s.User != "" && s.TLS != "must" && (ip == nil || !ip.IsLoopback()) {
		return tool.Fail(tool.Usage, "a password goes out under verified TLS only: give --tls must")
	}
	return nil
}

// startQueues asks and prints each answer. Exit codes: 1 when one was refused, 3 when there is nobody to ask.
func startQueues(ctx context.Context, env *tool.Env, s fetch.Source) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	hello, err := os.Hostname()
	if err != nil || hello == "" {
		hello = "localhost"
	}
	c, err := fetch.Connect(ctx, s, hello, nil, func(observe.Direction, []byte, bool) {})
	if err != nil {
		return tool.Fail(tool.NoServer, "%v", err)
	}
	defer func() { _ = c.Quit(ctx) }()
	refused := 0
	for _, a := range fetch.Start(ctx, c, s.Domains) {
		out := etrnAnswer{Domain: string(a.Domain), OK: a.Err == nil, Reply: a.Reply.String()}
		if a.Err != nil && a.Reply.Code == 0 {
			out.Reply = fmt.Sprint(a.Err)
		}
		if !out.OK {
			refused++
		}
		if err := env.Print(out, "%s: %s", out.Domain, out.Reply); err != nil {
			return err
		}
	}
	if refused > 0 {
		return tool.Fail(tool.Found, "%s refused it for %s", s.Host, tool.Count(refused, "domain"))
	}
	return nil
}
