package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"postel/internal/config"
	"postel/internal/mail"
	"postel/internal/tool"
)

// devFlags are the flags of `postel dev` as given.
type devFlags struct {
	host     string
	expose   bool
	domains  []string
	relays   []string
	odmr     []string
	accounts []string
	deliver  string
	dns      string
	mxPort   uint16
	https    uint16
	ports    []string
	xclient  bool
	storage  string
	blobs    string
}

// devPorts are the listeners of dev and their default ports, in the order in which they are shown.
func devPorts() map[string]string {
	return map[string]string{
		"smtp": "1025", "submission": "1587", "submissions": "1465", "lmtp": "1024", "odmr": "1366",
		"imap": "1143", "imaps": "1993", "pop3": "1110", "pop3s": "1995", "web": "8025",
	}
}

// unbuilt are listeners that --port takes already and that open nothing yet.
func unbuilt() []string { return []string{"managesieve", "pop2"} }

func devCommand(env *tool.Env) *cobra.Command {
	var f devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "a complete mail system on loopback for trying, developing and testing",
		Long: "A complete mail system on loopback: nothing to configure, no DNS needed, nothing leaves the machine.\n" +
			"Mail for other domains and unknown users is caught: read it as catch@DOMAIN or with `postel inbox`.",
		Args: cobra.NoArgs,
	}
	fl := c.Flags()
	fl.StringVar(&f.host, "host", "127.0.0.1", "`IP` of all listeners; one that is not loopback needs --expose")
	fl.BoolVar(&f.expose, "expose", false, "allow --host to be reachable from other machines")
	fl.StringArrayVar(&f.domains, "domain", []string{"postel.test"}, "a local domain `NAME`; repeatable")
	fl.StringArrayVar(&f.relays, "relay-domain", nil, "`DOMAIN` whose mail is taken, queued and sent on by MX; ETRN from loopback sends it at once; repeatable")
	fl.StringArrayVar(&f.odmr, "odmr", nil, "`DOMAIN=ACCOUNT`: mail for DOMAIN is queued for ACCOUNT to take by ATRN; repeatable")
	fl.StringArrayVar(&f.accounts, "account", nil, "`ADDR:PASSWORD` of an account; repeatable (default alice and bob, password postel)")
	fl.StringVar(&f.deliver, "deliver", "catch", "`MODE`: catch what is not for a local user, or relay it for real")
	fl.StringVar(&f.dns, "dns", "", "`address:port` of the resolver (default: the system's)")
	fl.Uint16Var(&f.mxPort, "mx-port", 25, "remote `port` for delivery by MX")
	fl.Uint16Var(&f.https, "https-port", 443, "remote `port` of hosts that have MTA-STS policies")
	fl.StringArrayVar(&f.ports, "port", nil, "`NAME=N`: another port for a listener, 0 for any free one, off for none ("+strings.Join(config.Listeners(), ", ")+")")
	fl.BoolVar(&f.xclient, "xclient", false, "take XCLIENT, XFORWARD and PROXY headers from loopback, to play any client address")
	fl.StringVar(&f.storage, "storage", "embedded", "`URL`: embedded, memory, or postgres://USER@HOST/DATABASE")
	fl.StringVar(&f.blobs, "blobs", "file", "`URL` of bodies above 128 KiB: file, or s3://KEY:SECRET@host:port/bucket/prefix")
	c.RunE = func(cmd *cobra.Command, _ []string) error { return runDev(cmd.Context(), env, f) }
	return c
}

// runDev runs the server until ctx ends.
func runDev(ctx context.Context, env *tool.Env, f devFlags) error {
	o, err := f.options(env)
	if err != nil {
		return &tool.ExitError{Code: tool.Usage, Err: err}
	}
	if env.Data == "" {
		dir, err := os.MkdirTemp("", "postel-dev-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.Config.Data = dir
	}
	return run(ctx, env, o)
}

// options checks the flags and makes the configuration they mean.
func (f *devFlags) options(env *tool.Env) (Options, error) {
	c := config.Default()
	o := Options{Config: c, Version: env.Version, Dev: &Dev{MXPort: f.mxPort, HTTPSPort: f.https, Catch: f.deliver == "catch", XClient: f.xclient}}
	c.Data = env.Data
	if f.xclient {
		c.XClient = loopback()
	}
	var err error
	if c.Storage, err = config.ParseStorage(f.storage); err != nil {
		return o, fmt.Errorf("--storage: %w", err)
	}
	if c.Blobs, err = config.ParseBlobs(f.blobs); err != nil {
		return o, err
	}
	if f.deliver != "catch" && f.deliver != "relay" {
		return o, fmt.Errorf("--deliver %s: want catch or relay", f.deliver)
	}
	host, err := netip.ParseAddr(f.host)
	if err != nil || !host.IsLoopback() && !f.expose {
		return o, fmt.Errorf("--host %s: want a loopback address (or --expose)", f.host)
	}
	o.Dev.Host = host
	if f.dns != "" {
		if c.Resolver, err = netip.ParseAddrPort(f.dns); err != nil {
			return o, fmt.Errorf(`--dns %s: want address:port, as 127.0.0.1:53`, f.dns)
		}
	}
	for _, d := range f.domains {
		name, err := mail.ParseDomain(d)
		if err != nil {
			return o, fmt.Errorf("--domain %s: not a domain name", d)
		}
		c.Domains = append(c.Domains, config.Domain{Name: name, Kind: "local"})
	}
	c.Hostname = c.Domains[0].Name
	if err = f.relayDomains(c); err != nil {
		return o, err
	}
	if o.Dev.Accounts, err = f.devAccounts(c.Hostname); err != nil {
		return o, err
	}
	if err = f.odmrDomains(c); err != nil {
		return o, err
	}
	for _, a := range o.Dev.Accounts {
		i := slices.IndexFunc(c.Domains, func(d config.Domain) bool { return d.Name == a.Address.Domain })
		if i >= 0 && c.Domains[i].Kind != "local" {
			return o, fmt.Errorf("--account %s: its domain is relayed, so it has no mailboxes here", a.Address)
		}
	}
	return o, f.listen(c, host)
}

// relayDomains adds the domains of kind relay, which loopback may flush.
func (f *devFlags) relayDomains(c *config.Config) error {
	loopback, err := mail.ParseCallers([]string{"127.0.0.0/8", "::1"})
	if err != nil {
		return err
	}
	for _, d := range f.relays {
		name, err := mail.ParseDomain(d)
		if err != nil {
			return fmt.Errorf("--relay-domain %s: not a domain name", d)
		}
		if err := addDomain(c, config.Domain{Name: name, Kind: "relay", ETRN: loopback}); err != nil {
			return fmt.Errorf("--relay-domain %s: %w", d, err)
		}
	}
	return nil
}

// odmrDomains adds the domains whose mail is taken by ATRN. An account without a domain is of the first.
func (f *devFlags) odmrDomains(c *config.Config) error {
	for _, s := range f.odmr {
		domain, account, ok := strings.Cut(s, "=")
		name, err := mail.ParseDomain(domain)
		if !ok || err != nil {
			return fmt.Errorf("--odmr %s: want DOMAIN=ACCOUNT", s)
		}
		if !strings.Contains(account, "@") {
			account += "@" + string(c.Hostname)
		}
		a, err := mail.ParseAddress(account)
		if err != nil {
			return fmt.Errorf("--odmr %s: %s is not an account", s, account)
		}
		i := slices.IndexFunc(c.Domains, func(d config.Domain) bool { return d.Name == name && len(d.ODMR) > 0 })
		if i >= 0 { // for another account too
			c.Domains[i].ODMR = append(c.Domains[i].ODMR, a)
		} else if err := addDomain(c, config.Domain{Name: name, Kind: "relay", ODMR: []mail.Address{a}}); err != nil {
			return fmt.Errorf("--odmr %s: %w", s, err)
		}
	}
	return nil
}

// addDomain adds a domain that is not named yet.
func addDomain(c *config.Config, d config.Domain) error {
	if slices.ContainsFunc(c.Domains, func(have config.Domain) bool { return have.Name == d.Name }) {
		return fmt.Errorf("the domain is named twice")
	}
	c.Domains = append(c.Domains, d)
	return nil
}

func (f *devFlags) devAccounts(first mail.Domain) ([]DevAccount, error) {
	given := f.accounts
	if len(given) == 0 {
		given = []string{"alice@" + string(first) + ":postel", "bob@" + string(first) + ":postel"}
	}
	var out []DevAccount
	for _, s := range given {
		addr, password, ok := strings.Cut(s, ":")
		a, err := mail.ParseAddress(addr)
		if err != nil || !ok || password == "" {
			return nil, fmt.Errorf("--account %s: want ADDRESS:PASSWORD", addr)
		}
		out = append(out, DevAccount{a, password})
	}
	return out, nil
}

// listen sets the listeners' addresses.
func (f *devFlags) listen(c *config.Config, host netip.Addr) error {
	ports := devPorts()
	for _, s := range f.ports {
		name, n, ok := strings.Cut(s, "=")
		_, err := strconv.ParseUint(n, 10, 16)
		if !ok || n != "off" && err != nil {
			return fmt.Errorf("--port %s: want NAME=N, NAME=0 or NAME=off", s)
		}
		if _, known := ports[name]; !known {
			if !slices.Contains(unbuilt(), name) {
				return fmt.Errorf("--port %s: no listener has that name; there are %s", s, strings.Join(config.Listeners(), ", "))
			}
			continue
		}
		ports[name] = n
	}
	for name, port := range ports {
		c.Listen[name] = ""
		if port != "off" {
			c.Listen[name] = net.JoinHostPort(host.String(), port)
		}
	}
	return nil
}
