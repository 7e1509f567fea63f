package config

import (
	"fmt"
	"strconv"
	"strings"

	"postel/internal/mail"
)

// setting is one row of the table: a key of the file, what it means, its default as it would stand in the file,
// and how its value is taken. Values come as decoded by TOML: string, int64, bool or []any.
type setting struct {
	key  string
	def  string // as text; "" is none
	doc  string
	take func(v any) error
	show func() string
}

// settings binds the table to c. Array tables ([[domain]], [[route]]) have tables of their own.
func settings(c *Config) []setting {
	l, q := &c.Limits, &c.Queue
	s := []setting{
		text("hostname", "", "the name this server gives itself and has in DNS; required", func(v string) (err error) {
			c.Hostname, err = mail.ParseDomain(v)
			return err
		}, func() string { return string(c.Hostname) }),
		text("data", "/var/lib/postel", "the directory that holds everything", path(&c.Data), get(&c.Data)),
		text("admin", "", "where mail for postmaster goes; else to the account postmaster of the domain", address(&c.Admin),
			func() string { return c.Admin.String() }),
		text("tls.cert", "", "certificate chain, PEM; read again when it changes", path(&c.TLS.Cert), get(&c.TLS.Cert)),
		text("tls.key", "", "its private key, PEM", path(&c.TLS.Key), get(&c.TLS.Key)),
		text("tls.client_ca", "", "certificates of the authorities, PEM, whose clients log in by their certificate (EXTERNAL); read at the start", path(&c.TLS.ClientCA), get(&c.TLS.ClientCA)),
		text("oauth.issuer", "", "who issues the bearer tokens that log in (OAUTHBEARER, XOAUTH2): their iss", plain(&c.OAuth.Issuer), get(&c.OAuth.Issuer)),
		text("oauth.jwks", "", "the issuer's keys: https://…, http://… on this machine, or the path of a file", jwks(&c.OAuth.JWKS), get(&c.OAuth.JWKS)),
		text("oauth.audience", "", "whom the tokens must be meant for: one of their aud", plain(&c.OAuth.Audience), get(&c.OAuth.Audience)),
		text("oauth.claim", "email", "the claim that names the account; email counts only with email_verified", plain(&c.OAuth.Claim), get(&c.OAuth.Claim)),
		text("auth.cram_md5", "off", "on: CRAM-MD5, in POP3 APOP too, is offered where every account has a secret for it (postel account secret); the odmr port has it anyway",
			oneOf(&c.CramMD5, "on", "off"), get(&c.CramMD5)),
		text("storage.url", "embedded", "embedded (in the data directory), memory (lost at exit), or postgres://USER@HOST/DATABASE; as env:NAME or file:PATH where it has a password",
			storage(&c.Storage), showStorage(&c.Storage)),
		text("storage.blobs", "file", "bodies above 128 KiB: file (with the storage), or s3://KEY:SECRET@host:port/bucket/prefix?region=…&tls=…; env:NAME or file:PATH hold such a URL",
			c.Blobs.take, c.Blobs.show),
		durationOrNone("storage.undelete", "7d", "how long expunged mail can be brought back by `postel account undelete`; 0 is not at all", &c.Undelete),
		{
			"storage.ballast", "64MiB", "file in the data directory that is given up when the disk is full, so that mail can be removed; \"0\" is none",
			sizeOrNone(&c.Ballast), func() string { return showSize(c.Ballast) },
		},
		duration("storage.changes_age", "30d", "how far back an account's change log reaches; who asks for older changes reads everything anew", &c.Changes.Age),
		number("storage.changes_rows", "10000", "changes that it holds at most", &c.Changes.Rows, 100, 1_000_000),
		text("dns.resolver", "", "address and port of the DNS resolver; else the system's", addrPort(&c.Resolver),
			func() string { return showAddr(c.Resolver) }),
		{
			"dns.trusted", "", "networks of resolvers that validate DNSSEC and to which the way is safe, so that their word on it is believed (TLSA records, docs/tls.md); one on loopback is believed anyway, and those of resolv.conf where it has the option trust-ad",
			networks(&c.Trusted), func() string { return showNetworks(c.Trusted) },
		},
		text("search.index", "on", "on: texts of large mailboxes are indexed once they are searched; off: SEARCH reads the messages",
			oneOf(&c.SearchIndex, "on", "off"), get(&c.SearchIndex)),
		duration("queue.first", "5m", "wait after the first failed attempt; it doubles from attempt to attempt", &q.First),
		duration("queue.max", "4h", "longest wait between attempts", &q.Max),
		duration("queue.lifetime", "5d", "how long mail is tried before it is returned", &q.Lifetime),
		duration("queue.null_lifetime", "2d", "the same for mail of the null sender, which are reports: what is left of it is dropped; never more than the lifetime", &q.NullLifetime),
		durationOrNone("queue.warn", "4h", "how long mail is tried before its sender is told that it waits: whoever asked (NOTIFY=DELAY), and of what is submitted here and no program wrote who did not say; 0: only who asked, after 4 hours", &q.Warn),
		{
			"reports.languages", "en, fr", "languages of the reports to senders, in their order, as [\"fr\", \"en\"]: en, fr",
			languages(&c.Languages), func() string { return strings.Join(c.Languages, ", ") },
		},
		number("queue.concurrency", "20", "connections to one destination at most", &q.Concurrency, 1, 1000),
		number("queue.active", "200", "deliveries at once at most", &q.Active, 1, 10_000),
		{"limits.message", "50MiB", "largest message (552 5.3.4 beyond)", size(&l.Message), func() string { return showSize(l.Message) }},
		{"limits.header", "1MiB", "largest header section of a message (552 5.3.4 beyond)", size(&l.Header), func() string { return showSize(l.Header) }},
		number("limits.mime_depth", "100", "nesting of MIME parts that is understood; what is deeper is one opaque part", &l.MIMEDepth, 10, 1000),
		number("limits.mime_parts", "10000", "MIME parts that are understood; what follows is part of the last", &l.MIMEParts, 100, 100_000),
		number("limits.recipients", "1000", "recipients of one transaction (452 4.5.3 beyond)", &l.Recipients, 100, 100_000),
		{
			"smtp.xclient", "", "networks whose SMTP clients may say by XCLIENT and XFORWARD for whom they speak: filters and proxies of mail",
			networks(&c.XClient), func() string { return showNetworks(c.XClient) },
		},
		{
			"proxy.trusted", "", "networks of load balancers: each of their connections, to any listener, must begin with a PROXY header (version 1 or 2) that says whose it is",
			networks(&c.Proxies), func() string { return showNetworks(c.Proxies) },
		},
		number("limits.per_address", "50", "unauthenticated connections of one address", &l.PerAddress, 1, 1_000_000),
		number("limits.per_user", "20", "sessions of one user from one address", &l.PerUser, 1, 1_000_000),
		number("limits.connections", "10000", "connections of one listener", &l.Connections, 1, 1_000_000),
		number("limits.connections_per_minute", "600", "new connections of one address in a minute, of each listener; neighbours (/24, /48) four times as many, here and below; loopback any number", &l.ConnectionRate, 1, 1_000_000),
		number("limits.messages_per_minute", "1000", "messages of one address in a minute, on the smtp listener (450 4.7.1 beyond)", &l.MessageRate, 1, 1_000_000),
		number("limits.recipients_per_minute", "10000", "recipients likewise", &l.RecipientRate, 1, 10_000_000),
		number("limits.failed_logins_per_hour", "100", "failed logins of one address in an hour; then its logins are put off", &l.FailedLoginRate, 1, 1_000_000),
		number("limits.bad_recipients", "20", "recipients refused for good that end an SMTP connection; from half of them on replies come late", &l.BadRecipients, 2, 100_000),
		durationOrNone("limits.greet_delay", "0", "how long the smtp listener's greeting waits for clients that talk before it", &l.GreetDelay),
		text("limits.over_quota", "later", "what a full mailbox says at RCPT: later (452 4.2.2: the sender tries again) or never (552 5.2.2)", oneOf(&l.OverQuota, "later", "never"), get(&l.OverQuota)),
		number("submission.messages_per_minute", "100", "messages that one user may send (450 4.7.1 beyond; the postmaster is told once a day)", &c.Submission.Messages, 1, 1_000_000),
		number("submission.recipients_per_day", "5000", "recipients that one user may write to, likewise", &c.Submission.Recipients, 1, 100_000_000),
		text("submission.save_sent", "off", "on: submitted mail is filed among the user's sent mail, so that programs need not send it twice; those that do it all the same make a second copy", oneOf(&c.Submission.SaveSent, "on", "off"), get(&c.Submission.SaveSent)),
		text("submission.client_address", "shown", "whether the Received field of submitted mail tells the user's address: shown or hidden", oneOf(&c.Submission.ClientAddress, "shown", "hidden"), get(&c.Submission.ClientAddress)),
		number("limits.failed_logins", "10", "failed logins that end a connection", &l.FailedLogins, 1, 1000),
		number("limits.bad_commands", "20", "bad commands that end a connection", &l.BadCommands, 1, 1000),
		number("limits.mailboxes", "10000", "mailboxes of one account", &l.MailboxesPerUser, 10, 1_000_000),
		duration("limits.login_time", "1m", "time to log in", &l.LoginTime),
		duration("limits.idle_smtp", "5m", "idle SMTP sessions end after this (RFC 5321 §4.5.3.2.7)", &l.IdleSMTP),
		duration("limits.idle_pop3", "10m", "idle POP3 sessions end after this (RFC 1939 §3)", &l.IdlePOP3),
		duration("limits.idle_imap", "30m", "idle IMAP sessions end after this (RFC 3501 §5.4)", &l.IdleIMAP),
	}
	s = append(s, tlsReports(&c.TLSReports)...)
	s = append(s, srsSettings(&c.SRS)...)
	for _, name := range startTLSListeners() {
		s = append(s, startTLS(c, name))
	}
	for _, name := range Listeners() {
		s = append(s, listener(c, name))
	}
	return s
}

func srsSettings(c *SRS) []setting {
	return []setting{
		text("srs.forwards", "on", "on: mail of strangers that an alias leads elsewhere goes out under a sender of ours (SRS), so that it passes SPF there; off: under theirs. What comes back finds its way in both cases",
			oneOf(&c.Forwards, "on", "off"), get(&c.Forwards)),
		text("srs.domain", "", "the domain of those senders, whose MX must be this server; else that of the alias", domain(&c.Domain), func() string { return string(c.Domain) }),
		text("srs.secret_file", "", "a file with the secrets that protect those senders, one a line: the first is used, all are known, so that it can be changed; else a secret in the data directory", path(&c.SecretFile), get(&c.SecretFile)),
		number("srs.days", "21", "how long such a sender can be written to", &c.Days, 1, 500),
		number("srs.hash_length", "6", "characters that prove such a sender to be ours; 4 where addresses that PostSRSd made with the same secret shall stay good", &c.HashLength, 4, 27),
	}
}

// startTLSListeners are those that begin in clear and take mail.
func startTLSListeners() []string { return []string{"smtp", "submission", "lmtp"} }

// startTLS is the row of what one listener does about STARTTLS.
func startTLS(c *Config, name string) setting {
	doc := "STARTTLS: off, offered, or required before MAIL"
	if name == "smtp" {
		doc += " (which turns away servers without it: not for a host that the world sends to, RFC 3207 §4)"
	}
	return text("starttls."+name, TLSOffered, doc, func(v string) error {
		mode := ""
		err := oneOf(&mode, TLSOff, TLSOffered, TLSRequired)(v)
		c.StartTLS[name] = mode
		return err
	}, func() string { return c.StartTLS[name] })
}

// listener is the row of one listener.
func listener(c *Config, name string) setting {
	def := map[string]string{
		"smtp": ":25", "submission": ":587", "submissions": ":465", "odmr": ":366", "imap": ":143", "imaps": ":993",
		"pop3": ":110", "pop3s": ":995",
	}[name]
	return text("listen."+name, def, `where it listens: "host:port" or "unix:/path"; "" is off`, func(v string) error {
		if v != "" && !strings.HasPrefix(v, "unix:/") {
			i := strings.LastIndexByte(v, ':')
			if _, err := strconv.ParseUint(v[i+1:], 10, 16); i < 0 || err != nil {
				return fmt.Errorf(`want "host:port", "unix:/path" or ""`)
			}
		}
		c.Listen[name] = v
		return nil
	}, func() string { return c.Listen[name] })
}

// domainSettings is the table of one [[domain]].
func domainSettings(d *Domain) []setting {
	return []setting{
		text("name", "", "the domain; required", domain(&d.Name), func() string { return string(d.Name) }),
		text("kind", "local", "local: its mailboxes are here; relay: taken and sent on", oneOf(&d.Kind, "local", "relay"), get(&d.Kind)),
		text("catchall", "", "address that takes mail for unknown users", address(&d.CatchAll), func() string { return d.CatchAll.String() }),
		limit("quota", `octets that all its accounts may hold together, as "500GiB"; else what postel domain quota set`, &d.Quota),
		limit("messages", "messages that all its accounts may hold together; else what postel domain quota set", &d.Messages),
		{"aliases", "", "table: local part = [addresses]", aliases(&d.Aliases), func() string { return showAliases(d.Aliases) }},
		{
			"odmr", "", `accounts that take its mail by ATRN, as ["bob@example.org"]; it is kept for them and sent nowhere, so its kind is relay`,
			list(accounts(&d.ODMR)), func() string { return strings.Join(texts(d.ODMR), " ") },
		},
		{
			"etrn", "", `who may have its queued mail sent at once by ETRN: networks and accounts, as ["192.0.2.0/24", "bob@example.org"]`,
			list(func(words []string) (err error) { d.ETRN, err = mail.ParseCallers(words); return err }),
			func() string { return strings.Join(d.ETRN.Strings(), " ") },
		},
	}
}

// routeSettings is the table of one [[route]].
func routeSettings(r *Route) []setting {
	port := 0
	return []setting{
		text("domain", "", `domain whose mail takes this route; "" is all`, domain(&r.Domain), func() string { return string(r.Domain) }),
		text("sender", "", `address, or domain of addresses, whose mail takes it (MAIL FROM); "" is all. Of several routes for the domain, or else for all, the one for the address comes first, then that for its domain`, sender(&r.Sender), get(&r.Sender)),
		text("host", "", `name or address of the host, or "unix:/path" of a socket; "" is as DNS says, where the route is for a domain or a sender`, func(v string) error { r.Host = v; return nil }, get(&r.Host)),
		{"port", "", "its port; else 25, with lmtp 24", func(v any) error {
			err := number("", "", "", &port, 1, 65535).take(v)
			r.Port = uint16(port)
			return err
		}, func() string { return strconv.Itoa(int(r.Port)) }},
		text("proto", "smtp", "smtp or lmtp", oneOf(&r.Proto, "smtp", "lmtp"), get(&r.Proto)),
		text("tls", "may", "may, must (verified) or never; with a user must, but for a loopback address", oneOf(&r.TLS, "may", "must", "never"), get(&r.TLS)),
		{
			"source", "", `address of this machine to connect from, or one IPv4 and one IPv6, as ["192.0.2.1", "2001:db8::1"]; with one of them addresses of the other family are not used`,
			list(sources(&r.Source)), func() string { return showSources(r.Source) },
		},
		text("user", "", "login at the host", func(v string) error { r.User = v; return nil }, get(&r.User)),
		text("password", "", "its password: env:NAME or file:PATH", secret(&r.Password), func() string {
			if r.Password == "" {
				return ""
			}
			return "(set)"
		}),
		{
			"token_command", "", `program with its arguments, as ["/usr/local/bin/token", "me@example.org"], which writes a bearer token to log in with in place of a password (OAUTHBEARER, XOAUTH2); run without a shell, docs/routes.md`,
			list(program(&r.Tokens)), func() string { return strings.Join(r.Tokens, " ") },
		},
		number("rate", "0", "messages a minute that take this route, of all its domains together; 0 is any number", &r.Rate, 0, 1_000_000),
		number("sessions", "0", "connections by this route at most, of all its domains together; 0 is queue.concurrency for each domain", &r.Sessions, 0, 10_000),
		durationOrNone("retry.first", "0", "queue.first for this route; 0 is that", &r.First),
		durationOrNone("retry.max", "0", "queue.max for this route; 0 is that", &r.Max),
		durationOrNone("retry.lifetime", "0", "queue.lifetime for this route; 0 is that", &r.Lifetime),
	}
}

// fetchSettings is the table of one [[fetch]].
func fetchSettings(f *Fetch) []setting {
	port := func(v any) error {
		if v == int64(0) {
			f.Port = 0
			return nil
		}
		return number("", "", "", &f.Port, 1, 65535).take(v)
	}
	return []setting{
		text("host", "", "name or address of the server that holds mail for us; required", func(v string) error { f.Host = v; return nil }, get(&f.Host)),
		{"port", "", "its port; else 366 for atrn, 25 for etrn", port, func() string { return strconv.Itoa(f.Port) }},
		text("method", "", "atrn: the mail comes over the connection by which it is asked for; etrn: the server is to send it now; required", oneOf(&f.Method, "atrn", "etrn"), get(&f.Method)),
		{
			"domains", "", "domains whose mail is asked for, and the only ones that are taken; with atrn none is all that the account has there",
			list(domains(&f.Domains)), func() string { return showDomains(f.Domains) },
		},
		text("user", "", "login at the server; required for atrn", func(v string) error { f.User = v; return nil }, get(&f.User)),
		text("password", "", "its password or secret: env:NAME or file:PATH", secret(&f.Password), func() string {
			if f.Password == "" {
				return ""
			}
			return "(set)"
		}),
		text("tls", "may", "may, must (verified) or never; with a user must, but for a loopback address", oneOf(&f.TLS, "may", "must", "never"), get(&f.TLS)),
		duration("every", "15m", "how often it is asked", &f.Every),
	}
}
