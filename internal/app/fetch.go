package app

import (
	"net"

	"postel/internal/fetch"
	"postel/internal/mail"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
	"postel/internal/server/smtpd"
)

// fetcher builds what asks other servers for our mail. What comes over a connection that was turned round meets the
// same server and the same role as at the smtp listener.
func (n *node) fetcher(o smtpd.Options, mxRole smtp.Policy) {
	o.Protocol, o.SASL, o.TLS, o.TLSRequired, o.Flush, o.XClient = "fetch", nil, nil, false, nil, nil
	o.GreetDelay, o.OnReply = 0, n.countReplies("fetch")
	var sources []fetch.Source
	for _, f := range n.Config.Fetches {
		sources = append(sources, fetch.Source{
			Host: f.Host, Port: uint16(f.Port), Method: f.Method, Domains: f.Domains, User: f.User, Password: f.Password,
			TLS: f.TLS, Every: f.Every,
		})
	}
	if len(sources) == 0 {
		return
	}
	handlers := map[string]*listen.Server{}
	for _, s := range sources {
		o.Policy = fetch.Only(mxRole, s.Domains)
		l := listen.New(listen.Options{Name: "fetch", Handler: smtpd.New(o), Log: n.Log})
		handlers[key(s.Domains)] = l
		n.servers = append(n.servers, server{name: "fetch", serve: func(net.Listener) error { return nil }, shutdown: l.Shutdown})
	}
	n.fetch = fetch.New(fetch.Options{
		Hello: string(n.Config.Hostname), Sources: sources, Glass: n.glass, Log: n.Log,
		Serve: func(conn net.Conn, domains []mail.Domain) { handlers[key(domains)].ServeConn(conn) },
	})
}

// key names a set of domains.
func key(domains []mail.Domain) (k string) {
	for _, d := range domains {
		k += string(d) + " "
	}
	return k
}
