package app

import (
	"time"

	"postel/internal/config"
	"postel/internal/mx"
	"postel/internal/odmr"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
	"postel/internal/server/smtpd"
	"postel/internal/tlspolicy/certs"
)

// tarpit is how long an answer to somebody who guesses at names is held back.
const tarpit = time.Second

// startTLS sets the policy of a listener.
func (n *node) startTLS(name string, o *smtpd.Options) {
	switch n.Config.StartTLS[name] {
	case config.TLSOff:
		o.TLS = nil
	case config.TLSRequired:
		o.TLSRequired = true
	}
}

// mailServers are those that take mail.
func (n *node) mailServers(mxRole, msaRole smtp.Policy) {
	base, l := n.smtpBase(), listen.Options{Limiter: n.limiter()}
	n.mxServer(base, l, mxRole)
	n.lmtpServer(base, l, mxRole)
	n.submissionServers(base, l, msaRole)
	n.odmrServer(base, l, mxRole)
}

// smtpBase is what they have in common.
func (n *node) smtpBase() smtpd.Options {
	lim := n.Config.Limits
	o := smtpd.Options{
		Hostname: string(n.Config.Hostname), TLS: n.tls(certs.SMTP), MaxSize: lim.Message,
		MaxRecipients: lim.Recipients, MaxBadCommands: lim.BadCommands, MaxFailedLogins: lim.FailedLogins,
		IdleTimeout: lim.IdleSMTP, LoginTimeout: lim.LoginTime, Clock: n.clock, IDs: n.ids, Glass: n.glass, Log: n.Log,
		XClient: n.Config.XClient, Extensions: carried(false),
	}
	if n.Dev != nil {
		o.AuthInClear, o.Forgiving, o.BareLF = true, true, smtp.RepairBareLF
	} else {
		o.MaxBadRecipients, o.Tarpit = lim.BadRecipients, tarpit
	}
	return o
}

// serveSMTP puts a server on a listener, under the name of its protocol.
func (n *node) serveSMTP(o smtpd.Options, l listen.Options) {
	o.OnReply = n.countReplies(o.Protocol)
	s := smtpd.New(o)
	l.Handler, l.Refusal = s, s.Refusal()
	n.add(o.Protocol, l)
}

// mxServer takes mail from the Internet, and what is fetched from providers.
func (n *node) mxServer(o smtpd.Options, l listen.Options, role smtp.Policy) {
	o.Policy, o.Protocol, o.GreetDelay = role, "smtp", n.Config.Limits.GreetDelay
	if n.Dev == nil || n.Config.Resolver.IsValid() { // dev needs no DNS
		o.Look = n.look
	}
	o.Flush = mx.NewFlusher(mx.FlusherOptions{Directory: n.directory, Queue: n.queue, Clock: n.clock}).Flush
	switch {
	case n.catcher != 0:
		o.SASL = &sasl.Server{Auth: sasl.Anyone{Account: n.catcher}, Host: o.Hostname, Shared: sasl.ForSubmission}
	case n.flushedByAccounts: // for ETRN and nothing else: the mx role asks for nobody's login
		o.SASL = n.mechanisms(0)
	}
	n.startTLS("smtp", &o)
	n.serveSMTP(o, l)
	n.fetcher(o, role)
}

// lmtpServer takes mail for our mailboxes from a server beside this one.
func (n *node) lmtpServer(o smtpd.Options, l listen.Options, role smtp.Policy) {
	o.Policy, o.Protocol, o.LMTP = role, "lmtp", true
	o.Extensions.RequireTLS = false // it ends here
	n.startTLS("lmtp", &o)
	n.serveSMTP(o, l)
}

// submissionServers take mail from our users: with STARTTLS, and under TLS from the first octet.
func (n *node) submissionServers(o smtpd.Options, l listen.Options, role smtp.Policy) {
	o.Policy, o.AuthRequired, o.SASL = role, true, n.mechanisms(sasl.ForSubmission)
	o.Identify, o.Extensions, o.TLS = n.identify, carried(true), n.loginTLS(certs.SMTP)
	implicit := o
	implicit.Protocol, l.TLS = "submissions", o.TLS
	n.serveSMTP(implicit, l)
	o.Protocol, l.TLS = "submission", nil
	n.startTLS("submission", &o)
	n.serveSMTP(o, l)
}

// odmrServer is the provider's side of on-demand mail relay.
func (n *node) odmrServer(o smtpd.Options, l listen.Options, role smtp.Policy) {
	o.Policy, o.Protocol, o.Greeting, o.XClient = role, "odmr", "on-demand mail relay, Postel", nil
	o.AuthRequired, o.SASL = true, n.mechanisms(sasl.ForODMR)
	o.Turn = odmr.New(odmr.Options{Directory: n.directory, MTA: n.mta})
	n.serveSMTP(o, l)
}
