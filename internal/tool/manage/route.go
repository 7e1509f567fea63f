package manage

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postel/internal/admin"
	"postel/internal/mail"
	"postel/internal/tool"
)

// allDomains is how a route for every domain is named.
const allDomains = "*"

func route(env *tool.Env) *cobra.Command {
	var sender string
	rm := &cobra.Command{
		Use: "rm DOMAIN|*", Short: "remove a route", Args: cobra.ExactArgs(1),
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			q := url.Values{"domain": {routeDomain(args[0])}, "sender": {sender}}
			return done(ctx, env, c, "DELETE", "/v1/routes?"+q.Encode(), nil, "route for "+args[0]+" removed")
		}),
	}
	rm.Flags().StringVar(&sender, "sender", "", "`address or domain` whose mail the route is for")
	list := &cobra.Command{
		Use: "list", Short: "list the routes, those of the configuration file too", Args: cobra.NoArgs,
		RunE: with(env, func(ctx context.Context, c *tool.Client, _ []string) error {
			return tool.Each(ctx, c, "/v1/routes", func(r admin.Route) error {
				return env.Print(r, "%s", describeRoute(r))
			})
		}),
	}
	return tool.Noun("route", "where mail goes that is not for mailboxes here", routeAdd(env), rm, list)
}

func routeDomain(s string) string {
	if s == allDomains {
		return ""
	}
	return s
}

func routeAdd(env *tool.Env) *cobra.Command {
	var in admin.Route
	var source []string
	var retry [3]span
	c := &cobra.Command{
		Use: "add DOMAIN|*", Short: "send a domain's mail by a host, or all (*)", Args: cobra.ExactArgs(1),
		Long: "The route is kept in the data directory and holds at once, for what waits at its next attempt; routes of the\n" +
			"configuration file come first. Without --host the host is as DNS says, with the source and the bounds of the route.",
		RunE: with(env, func(ctx context.Context, c *tool.Client, args []string) error {
			in.Domain = mail.Domain(routeDomain(args[0]))
			in.First, in.Max, in.Lifetime = retry[0].seconds, retry[1].seconds, retry[2].seconds
			in.Source = nil
			for _, s := range source {
				a, err := netip.ParseAddr(s)
				if err != nil {
					return tool.Fail(tool.Usage, "--source %s is no address", s)
				}
				in.Source = append(in.Source, a)
			}
			var out admin.Route
			if err := c.Call(ctx, "POST", "/v1/routes", in, &out); err != nil {
				return err
			}
			return env.Print(out, "%s", describeRoute(out))
		}),
	}
	f := c.Flags()
	f.StringVar(&in.Sender, "sender", "", "`address or domain` whose mail alone takes it")
	f.StringVar(&in.Host, "host", "", "`name`, address, or unix:/path of a socket")
	f.Uint16Var(&in.Port, "port", 0, "`port` of the host (none: 25, with lmtp 24)")
	f.StringVar(&in.Proto, "proto", "", "`smtp or lmtp` (none: smtp)")
	f.StringVar(&in.TLS, "tls", "", "`may, must or never` (none: may, with --user must)")
	f.StringSliceVar(&source, "source", nil, "`address` of this machine to connect from; repeatable, one a family")
	f.StringVar(&in.User, "user", "", "`login` at the host")
	f.StringVar(&in.Password, "password", "", "where the password stands: `file:PATH or env:NAME`, as the server sees it")
	f.IntVar(&in.Rate, "rate", 0, "`messages` a minute at most (none: no limit)")
	f.IntVar(&in.Sessions, "sessions", 0, "`connections` at once at most (none: as any destination's)")
	f.Var(&retry[0], "retry-first", "`time` until mail is tried again, as 15m")
	f.Var(&retry[1], "retry-max", "longest `time` between attempts, as 4h")
	f.Var(&retry[2], "retry-lifetime", "`time` after which mail is returned, as 2d")
	f.BoolVar(&in.Replace, "replace", false, "in place of the route that is there")
	return c
}

// span is a flag for how long something is.
type span struct{ seconds int64 }

// Set implements pflag.Value.
func (s *span) Set(text string) error {
	from := time.Unix(0, 0).UTC()
	to, err := tool.Until(text, from)
	if err != nil || to.Sub(from) < time.Second {
		return fmt.Errorf("want how long it is, as 15m, 4h or 2d")
	}
	s.seconds = int64(to.Sub(from).Seconds())
	return nil
}

// String implements pflag.Value.
func (s *span) String() string {
	if s.seconds == 0 {
		return ""
	}
	return (time.Duration(s.seconds) * time.Second).String()
}

// Type implements pflag.Value.
func (s *span) Type() string { return "time" }

// describeRoute tells of a route in a line.
func describeRoute(r admin.Route) string {
	who := string(r.Domain)
	if who == "" {
		who = allDomains
	}
	if r.Sender != "" {
		who += " from " + r.Sender
	}
	host := "as DNS says"
	if r.Host != "" {
		host = r.Host
		if r.Port != 0 {
			host += fmt.Sprintf(" port %d", r.Port)
		}
		host += " by " + r.Proto + ", tls " + r.TLS
	}
	words := []string{pad(who, 30), host}
	add := func(is bool, format string, args ...any) {
		if is {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	add(r.User != "", "as %s", r.User)
	add(len(r.Source) > 0, "source %s", strings.Trim(fmt.Sprint(r.Source), "[]"))
	add(r.Rate > 0, "%d a minute", r.Rate)
	add(r.Sessions > 0, "%d sessions", r.Sessions)
	add(max(r.First, r.Max, r.Lifetime) > 0, "retry %v %v %v", time.Duration(r.First)*time.Second, time.Duration(r.Max)*time.Second, time.Duration(r.Lifetime)*time.Second)
	add(r.File, "(configuration file)")
	return strings.Join(words, "  ")
}
