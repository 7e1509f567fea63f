package app

import (
	"context"
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/route"
	"postel/internal/server/imapd"
	"postel/internal/server/listen"
	"postel/internal/server/pop3d"
	"postel/internal/server/smtpd"
	"postel/internal/server/webd"
	"postel/internal/tlspolicy/certs"
)

// server is one listener that answers.
type server struct {
	name     string
	ln       net.Listener
	serve    func(net.Listener) error
	shutdown func(context.Context) error
	stats    func() listen.Stats
}

func (n *node) bind(ctx context.Context, name, addr string) error {
	mode := fs.FileMode(0o600)
	if name == "lmtp" { // its group are the servers that may deliver
		mode = 0o660
	}
	ln, err := listen.Bind(ctx, addr, mode)
	if err != nil {
		return n.cannotBind(name, addr, err)
	}
	n.listeners[name] = ln
	return nil
}

// cannotBind says in one line what keeps a listener from its port, and where another is chosen.
func (n *node) cannotBind(name, addr string, err error) error {
	if !mail.Is(err, mail.Exists) {
		return mail.Wrap("listener "+name, err)
	}
	mend := "set " + name + " under [listen] to another address"
	if n.Dev != nil {
		mend = "choose another port, or any free one with --port " + name + "=0"
	}
	return mail.E("listener "+name, mail.Exists, "%s is in use by another program: stop it, or %s", addr, mend)
}

func (n *node) unbind() error {
	var errs []error
	for _, ln := range n.listeners {
		errs = append(errs, ln.Close())
	}
	return errors.Join(errs...)
}

// own gives the addresses of our own listeners, to which no delivery may go.
func (n *node) own() func(netip.AddrPort) bool {
	var list []netip.AddrPort
	for _, ln := range n.listeners {
		if a, ok := ln.Addr().(*net.TCPAddr); ok {
			list = append(list, a.AddrPort())
		}
	}
	return route.OwnListeners(list)
}

func (n *node) openCerts() error {
	c := n.Config
	var err error
	switch {
	case n.Dev != nil:
		names := []string{"localhost"}
		for _, d := range c.Domains {
			names = append(names, string(d.Name))
		}
		fsys := n.fs
		if c.Storage == "memory" {
			fsys = nil // clients read ca.pem from the real directory
		}
		n.certs, err = certs.OpenCA(certs.CAOptions{FS: fsys, Dir: c.Data, Names: names})
	case c.TLS.Cert != "":
		n.certs, err = certs.OpenFiles(certs.FilesOptions{
			Cert: c.TLS.Cert, Key: c.TLS.Key,
			Report: func(err error) { n.Log.Error("the certificate's files changed and cannot be used", "err", err) },
		})
	}
	return err
}

// tls gives the configuration for a protocol; nil without a certificate.
func (n *node) tls(p certs.Protocol) *tls.Config {
	if n.certs == nil {
		return nil
	}
	return certs.Config(n.certs, p)
}

// loginTLS is that of listeners on which users log in: by a certificate too, where there is an authority for that.
func (n *node) loginTLS(p certs.Protocol) *tls.Config {
	c := n.tls(p)
	if c == nil || n.clients == nil {
		return c
	}
	return certs.AskClients(c, n.clients)
}

// limiter bounds connections; dev has no bounds of rates.
func (n *node) limiter() *listen.Limiter {
	if n.Dev != nil {
		return nil
	}
	l := n.Config.Limits
	return listen.NewLimiter(listen.Limits{Total: l.Connections, PerAddress: l.PerAddress, PerUser: l.PerUser})
}

// loopback are the addresses of this machine alone.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// add puts a handler on a bound listener; without one it does nothing.
func (n *node) add(name string, o listen.Options) {
	ln := n.listeners[name]
	if ln == nil {
		return
	}
	o.Name, o.Log, o.Logins = name, n.Log, n.logins
	o.Rate = n.rates(n.Config.Limits.ConnectionRate, time.Minute)
	o.Proxies.Always = n.Config.Proxies
	if n.Dev != nil && n.Dev.XClient {
		o.Proxies.Maybe = loopback()
	}
	s := listen.New(o)
	n.servers = append(n.servers, server{name: name, ln: ln, serve: s.Serve, shutdown: s.Shutdown, stats: s.Stats})
}

// accessServers are those that read mail.
func (n *node) accessServers() {
	limits, lim, dev := n.limiter(), n.Config.Limits, n.Dev != nil
	im := imapd.Options{
		Hostname: string(n.Config.Hostname), Version: n.Version, Store: n.store, Index: n.index, SASL: n.mechanisms(sasl.ForIMAP), TLS: n.loginTLS(certs.IMAP),
		ClearAuth: dev, Clock: n.clock, Glass: n.glass, Journey: n.journey, Log: n.Log,
		Limits: imapd.Limits{
			Message: lim.Message, Login: lim.LoginTime, Idle: lim.IdleIMAP, FailedLogins: lim.FailedLogins,
			BadCommands: lim.BadCommands,
		},
	}
	imapServer := imapd.New(im)
	n.add("imap", listen.Options{Handler: imapServer, Limiter: limits, Refusal: imapServer.Refusal()})
	n.add("imaps", listen.Options{Handler: imapServer, TLS: im.TLS, Limiter: limits, Refusal: imapServer.Refusal()})

	pop := pop3d.Options{
		Hostname: string(n.Config.Hostname), Store: n.store, SASL: n.mechanisms(sasl.ForPOP3), TLS: n.loginTLS(certs.POP3), AllowClearAuth: dev,
		MaxBadCommands: lim.BadCommands, MaxFailedLogins: lim.FailedLogins, IdleTimeout: lim.IdlePOP3,
		LoginTimeout: lim.LoginTime, Clock: n.clock, IDs: n.ids, Glass: n.glass, Log: n.Log,
	}
	if dev {
		pop.FailDelay = -1 // no penalties
	}
	popServer := pop3d.New(pop)
	n.collectors = append(n.collectors, imapServer, popServer)
	n.add("pop3", listen.Options{Handler: popServer, Limiter: limits, Refusal: popServer.Refusal()})
	n.add("pop3s", listen.Options{Handler: popServer, TLS: pop.TLS, Limiter: limits, Refusal: popServer.Refusal()})

	if ln := n.listeners["web"]; ln != nil {
		w := webd.New(webd.Options{Ready: n.takesMail, Metrics: n.metrics()})
		n.servers = append(n.servers, server{name: "web", ln: ln, serve: w.Serve, shutdown: w.Shutdown})
	}
}

// localServers are the sockets in the data directory: control for its owner, submission for everyone.
func (n *node) localServers(ctx context.Context, msaRole smtp.Policy) error {
	submit, err := listen.Bind(ctx, "unix:"+filepath.Join(n.Config.Data, "submit.sock"), 0o666)
	if err != nil {
		return err
	}
	n.listeners["submit"] = submit
	lim := n.Config.Limits
	s := smtpd.New(smtpd.Options{
		Policy: msaRole, Protocol: "submit", Hostname: string(n.Config.Hostname), MaxSize: lim.Message,
		MaxRecipients: lim.Recipients, BareLF: smtp.RepairBareLF, Forgiving: true, Clock: n.clock, IDs: n.ids, Glass: n.glass, Log: n.Log,
		MaxBadCommands: lim.BadCommands, IdleTimeout: time.Minute, Extensions: carried(true),
	})
	n.add("submit", listen.Options{Handler: s, Limiter: n.limiter(), Refusal: s.Refusal()})
	return n.controlServer(ctx)
}

// socketPaths are the names in the file system that a start makes and a stop removes.
func (n *node) socketPaths() []string {
	paths := []string{filepath.Join(n.Config.Data, "control.sock"), filepath.Join(n.Config.Data, "submit.sock")}
	for _, addr := range n.Config.Listen {
		if p, ok := strings.CutPrefix(addr, "unix:"); ok {
			paths = append(paths, p)
		}
	}
	return paths
}
