package app

import (
	"context"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"postel/internal/catcher"
	"postel/internal/directory"
	"postel/internal/dns"
	"postel/internal/mail"
	"postel/internal/msa"
	"postel/internal/mta"
	"postel/internal/mx"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/queue"
	"postel/internal/rate"
	"postel/internal/route"
)

// build constructs the roles and the servers on the bound listeners.
func (n *node) build(ctx context.Context) error {
	if err := n.openCerts(); err != nil {
		return err
	}
	if err := n.openLogins(); err != nil {
		return err
	}
	var dir directory.Directory = n.directory
	if n.catcher != 0 {
		dir = catcher.Directory{Directory: n.directory, Catcher: n.catcher}
	}
	forwarder, err := n.forwarder()
	if err != nil {
		return err
	}
	dir = n.returns(dir, forwarder)
	router, err := n.openRouter(ctx)
	if err != nil {
		return err
	}
	c := n.Config
	n.openSending()
	n.mta = mta.New(mta.Options{
		Hostname: c.Hostname, KV: n.kv, Store: n.store, Blobs: n.blobs, Queue: n.queue, Sending: n.sending, Directory: dir,
		MaxHeader: int(c.Limits.Header), Router: router, TLSPolicy: n.tlsPolicy(), OnDemand: n.onDemand, Forward: n.forward(forwarder), Suppress: n.directory, Bus: n.bus, Glass: n.glass, Journey: n.journey, IDs: n.ids, Clock: n.clock, Log: n.Log, Attempted: n.countAttempts(),
		Schedule:    mta.Schedule{First: c.Queue.First, Max: c.Queue.Max, GiveUp: c.Queue.Lifetime, GiveUpNull: c.Queue.NullLifetime, Warn: c.Queue.Warn, OnlyAsked: c.Queue.Warn == 0},
		Languages:   c.Languages,
		Concurrency: mta.Concurrency{Most: c.Queue.Concurrency, All: c.Queue.Active},
	})
	n.logins = n.rates(c.Limits.FailedLoginRate, time.Hour)
	mxRole := mx.New(mx.Options{
		Hostname: c.Hostname, Directory: dir, MTA: n.mta, Room: n.quotas.Room, Journey: n.journey,
		Messages: n.rates(c.Limits.MessageRate, time.Minute), Recipients: n.rates(c.Limits.RecipientRate, time.Minute),
	})
	msaRole := msa.New(n.submission(dir))
	domains, err := n.directory.Domains(ctx)
	if err != nil {
		return err
	}
	n.flushedByAccounts = slices.ContainsFunc(domains, func(d directory.Domain) bool { return len(d.ETRN.Accounts) > 0 })
	n.mailServers(mxRole, msaRole)
	n.accessServers()
	return n.localServers(ctx, msaRole)
}

// openSending opens the note of what is being sent. Mail goes without it too.
func (n *node) openSending() {
	failed := func(err error) {
		n.Log.Warn("what is being sent cannot be noted: after a kill nothing will tell what may arrive twice", "err", err)
	}
	s, err := queue.OpenSending(n.fs, filepath.Join(n.Config.Data, "sending"), failed)
	if err != nil {
		failed(err)
		return
	}
	n.sending = s
}

func (n *node) submission(dir directory.Directory) msa.Options {
	o := msa.Options{
		Hostname: n.Config.Hostname, Directory: dir, MTA: n.mta, Room: n.quotas.Room, IDs: n.ids, Clock: n.clock, Log: n.Log,
		Suppressions: n.directory, Journey: n.journey,
		Private: n.Config.Submission.ClientAddress == "hidden", SaveSent: n.Config.Submission.SaveSent == "on",
	}
	if n.Dev == nil { // dev has no bounds of rates
		o.Limits = msa.Limits{Messages: n.Config.Submission.Messages, Recipients: n.Config.Submission.Recipients}
	}
	return o
}

// onDemand tells whether a domain's mail waits to be taken by ATRN.
func (n *node) onDemand(ctx context.Context, name mail.Domain) (bool, error) {
	d, err := n.directory.Domain(ctx, name)
	if mail.Is(err, mail.NotFound) {
		return false, nil
	}
	return len(d.ODMR) > 0, err
}

func (n *node) openRouter(ctx context.Context) (*route.Router, error) {
	c := n.Config
	d := dns.Options{Trusted: c.Trusted}
	if c.Resolver.IsValid() {
		d.Servers = []string{c.Resolver.String()}
	}
	resolver, err := dns.New(d)
	if n.resolver = resolver; err != nil {
		return nil, err
	}
	o := route.Options{Resolver: resolver, Names: []string{string(c.Hostname)}, AllowLoopback: n.Dev != nil, Own: n.own(), OwnSockets: n.socketPaths()}
	if n.Dev != nil {
		o.Port = n.Dev.MXPort
	}
	for i := range c.Routes {
		o.Rules = append(o.Rules, n.rule(&c.Routes[i]))
	}
	if n.router, err = route.New(o); err != nil {
		return nil, err
	}
	return n.router, n.loadRoutes(ctx)
}

// identify says who a login is on the word of somebody who checked it (XCLIENT). Kind NotFound.
func (n *node) identify(ctx context.Context, login string) (sasl.Identity, error) {
	a, err := mail.ParseAddress(login)
	if err != nil {
		return sasl.Identity{}, err
	}
	t, err := n.directory.Lookup(ctx, a)
	if err != nil {
		return sasl.Identity{}, err
	}
	who, err := n.directory.Account(ctx, t.Account)
	return sasl.Identity{Account: who.ID, Login: who.Address.String()}, err
}

// rates is how often a network may do something; dev has no bounds.
func (n *node) rates(times int, per time.Duration) *rate.Networks {
	if n.Dev != nil {
		return nil
	}
	return rate.NewNetworks(rate.Rate{N: times, Per: per}, n.clock)
}

// look asks DNS about a client.
func (n *node) look(ctx context.Context, a netip.Addr, helo string) smtp.Looked {
	name, reverse := dns.Reverse(ctx, n.resolver, a)
	return smtp.Looked{Name: name, Reverse: string(reverse), Hello: string(dns.Hello(ctx, n.resolver, helo, a))}
}

// carried are the parameters of MAIL and RCPT that the queue, the relay and the reports honour: of all, and of those whom
// we know also what is about time and urgency.
func carried(users bool) smtp.Extensions {
	return smtp.Extensions{
		UTF8: true, DSN: true, Binary: true, RequireTLS: true, DeliverBy: users, FutureRelease: users, Priority: users,
	}
}
