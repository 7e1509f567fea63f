package app

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"postel/internal/admin"
	"postel/internal/config"
	"postel/internal/directory"
	"postel/internal/mail"
	"postel/internal/oauth"
	"postel/internal/route"
)

// Routes are those of the configuration, which come first, and those of the directory, which commands add and remove.

// rule makes a rule of a route of the configuration.
func (n *node) rule(r *config.Route) route.Rule {
	rule := route.Rule{
		Domain: r.Domain, Sender: r.Sender, Host: r.Host, Port: r.Port, Proto: route.Proto(r.Proto), Source: r.Source,
		TLS: route.TLS(r.TLS), User: r.User, Password: r.Password,
		Limits: &route.Limits{PerMinute: r.Rate, Sessions: r.Sessions, First: r.First, Max: r.Max, Lifetime: r.Lifetime},
	}
	if len(r.Tokens) > 0 {
		rule.Tokens = oauth.NewCommand(r.Tokens, n.clock, n.Log)
	}
	return rule
}

// keptRule makes a rule of a route of the directory; its password is not looked up.
func keptRule(r directory.Route) route.Rule {
	second := func(n int64) time.Duration { return time.Duration(n) * time.Second }
	return route.Rule{
		Domain: r.Domain, Sender: r.Sender, Host: r.Host, Port: r.Port, Proto: route.Proto(r.Proto), Source: r.Source,
		TLS: route.TLS(r.TLS), User: r.User,
		Limits: &route.Limits{PerMinute: r.Rate, Sessions: r.Sessions, First: second(r.First), Max: second(r.Max), Lifetime: second(r.Lifetime)},
	}
}

// loadRoutes takes up the routes of the directory. A password that cannot be read makes the mail of its route wait, as a
// login that is refused does: it may go no other way.
func (n *node) loadRoutes(ctx context.Context) error {
	list, err := n.directory.Routes(ctx)
	if err != nil {
		return err
	}
	rules := make([]route.Rule, 0, len(list))
	for _, r := range list {
		rule := keptRule(r)
		if r.Password != "" {
			if rule.Password, err = config.Secret(r.Password); err != nil {
				n.Log.Error("the password of a route cannot be read, so its mail waits", "domain", r.Domain, "sender", r.Sender, "err", err)
			}
		}
		rules = append(rules, rule)
	}
	return n.router.SetRules(rules)
}

// followRoutes reads the routes again from time to time: other nodes change them, and passwords change.
func (n *node) followRoutes(ctx context.Context) {
	t := time.NewTicker(time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := n.loadRoutes(ctx); err != nil && ctx.Err() == nil {
			n.Log.Error("the routes cannot be read; those known stay", "err", err)
		}
	}
}

// reloadRoutes is loadRoutes where a server runs.
func (n *node) reloadRoutes(ctx context.Context) error {
	if n.mta == nil {
		return nil
	}
	err := n.loadRoutes(ctx)
	n.mta.Rerouted()
	return err
}

// Routes lists the routes of the configuration and of the directory.
func (n *node) Routes(ctx context.Context) ([]admin.Route, error) {
	var all []admin.Route
	for i := range n.Config.Routes {
		r := &n.Config.Routes[i]
		all = append(all, admin.Route{File: true, Route: directory.Route{
			Domain: r.Domain, Sender: r.Sender, Host: r.Host, Port: r.Port, Proto: r.Proto, TLS: r.TLS, Source: r.Source, User: r.User,
			Rate: r.Rate, Sessions: r.Sessions, First: int64(r.First.Seconds()), Max: int64(r.Max.Seconds()), Lifetime: int64(r.Lifetime.Seconds()),
		}})
	}
	list, err := n.directory.Routes(ctx)
	for _, r := range list {
		all = append(all, admin.Route{Route: r})
	}
	return all, err
}

// AddRoute adds a route to the directory, or replaces one of it, and takes it up. Kinds: Invalid, Exists.
func (n *node) AddRoute(ctx context.Context, r directory.Route, replace bool) (directory.Route, error) {
	if err := securedLogin(&r); err != nil {
		return r, err
	}
	rule, err := keptRule(r).Check()
	if err != nil {
		return r, err
	}
	r.Domain, r.Sender, r.Host, r.Port, r.Proto, r.TLS = rule.Domain, rule.Sender, rule.Host, rule.Port, string(rule.Proto), string(rule.TLS)
	same := func(c config.Route) bool {
		rule, err := n.rule(&c).Check()
		return err == nil && rule.Domain == r.Domain && rule.Sender == r.Sender
	}
	if slices.ContainsFunc(n.Config.Routes, same) {
		return r, mail.E("app.route", mail.Exists, "the configuration file has a route for that, which comes first")
	}
	if err := n.directory.AddRoute(ctx, r, replace); err != nil {
		return r, err
	}
	return r, n.reloadRoutes(ctx)
}

// securedLogin sees that a password can be read, and goes out under TLS that is verified or stays on this machine.
func securedLogin(r *directory.Route) error {
	ip, err := netip.ParseAddr(strings.Trim(r.Host, "[]"))
	here := err == nil && ip.IsLoopback() || strings.HasPrefix(r.Host, "unix:")
	switch {
	case (r.User == "") != (r.Password == ""):
		return mail.E("app.route", mail.Invalid, "a login has a user and a password")
	case r.User == "":
		return nil
	case !here && cmp.Or(r.TLS, string(route.Must)) != string(route.Must):
		return mail.E("app.route", mail.Invalid, "a password needs tls must, so that nobody on the way reads it")
	case !here:
		r.TLS = string(route.Must)
	}
	if _, err := config.Secret(r.Password); err != nil {
		return mail.E("app.route", mail.Invalid, "the password: %v", err)
	}
	return nil
}

// RemoveRoute removes a route of the directory. Kinds: NotFound, Denied for one of the configuration.
func (n *node) RemoveRoute(ctx context.Context, domain mail.Domain, sender string) error {
	rule, err := route.Rule{Domain: domain, Sender: sender, Host: "localhost"}.Check()
	if err != nil {
		return err
	}
	err = n.directory.RemoveRoute(ctx, rule.Domain, rule.Sender)
	if mail.Is(err, mail.NotFound) && slices.ContainsFunc(n.Config.Routes, func(c config.Route) bool {
		have, err := n.rule(&c).Check()
		return err == nil && have.Domain == rule.Domain && have.Sender == rule.Sender
	}) {
		return mail.E("app.route", mail.Denied, "that route stands in the configuration file")
	}
	if err != nil {
		return err
	}
	return n.reloadRoutes(ctx)
}
