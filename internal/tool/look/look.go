// Package look holds the commands that look a name up and say what it means for mail.
package look

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/config"
	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/route"
	"postel/internal/tool"
)

// Commands gives the commands.
func Commands(env *tool.Env) []*cobra.Command {
	return []*cobra.Command{mx(env), sts(env), tlsa(env)}
}

// command is a look-up of a domain, or of the domain of an address.
func command(name, short string, run func(cmd *cobra.Command, d mail.Domain, resolver string) error) *cobra.Command {
	var resolver string
	c := &cobra.Command{Use: name + " NAME", Short: short, Args: cobra.ExactArgs(1)}
	c.Flags().StringVar(&resolver, "dns", "", "`address:port` of the resolver (default: the configuration's, else the system's)")
	c.RunE = func(cmd *cobra.Command, args []string) error {
		d, err := mail.ParseDomain(args[0][strings.LastIndexByte(args[0], '@')+1:])
		if err != nil {
			return tool.Fail(tool.Usage, "%q is no domain name", args[0][strings.LastIndexByte(args[0], '@')+1:])
		}
		return run(cmd, d, resolver)
	}
	return c
}

// why is what the public may know of an error.
func why(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return err.Error()
}

// eyes are what the sender would look with.
type eyes struct {
	resolver *dns.Client
	router   *route.Router
	loopback bool // hosts may be on this machine: there is no configuration
}

// open uses the resolver given, else the configuration's resolver, names and routes where there is one.
func open(env *tool.Env, resolver string) (eyes, error) {
	o := route.Options{AllowLoopback: true}
	var d dns.Options
	if file := env.ConfigFile(); file != "" {
		c, err := config.Load(file)
		if err != nil {
			return eyes{}, &tool.ExitError{Code: tool.Usage, Err: err}
		}
		o.Names, o.AllowLoopback = []string{string(c.Hostname)}, false
		for _, r := range c.Routes {
			o.Rules = append(o.Rules, route.Rule{
				Domain: r.Domain, Sender: r.Sender, Host: r.Host, Port: r.Port, Proto: route.Proto(r.Proto),
				TLS: route.TLS(r.TLS), Source: r.Source, User: r.User,
			})
		}
		d.Trusted = c.Trusted
		if c.Resolver.IsValid() {
			d.Servers = []string{c.Resolver.String()}
		}
	}
	if resolver != "" {
		d.Servers = []string{resolver}
	}
	client, err := dns.New(d)
	if err != nil {
		return eyes{}, tool.Fail(tool.Usage, "%v", err)
	}
	o.Resolver = client
	router, err := route.New(o)
	return eyes{client, router, o.AllowLoopback}, err
}
