package smtpd

import (
	"context"

	"postel/internal/proto/smtp"
)

// state is where a session is in the protocol, as a bit.
type state uint8

const (
	fresh      state = 1 << iota // not greeted, or not again since STARTTLS
	greeted                      // between transactions
	sender                       // MAIL was taken, no recipient yet
	recipients                   // there is a recipient
	between                      // behind a chunk that was not the last

	always = fresh | greeted | sender | recipients | between
)

type flags uint16

const (
	smtpOnly  flags = 1 << iota // not in LMTP
	lmtpOnly                    // only there
	needAuth                    // refused before AUTH where that is required
	secret                      // its line is masked in the trace
	listed                      // only for the peers of Options.XClient
	alone                       // nothing may be pipelined behind it (RFC 3207 §4.1, RFC 4954 §4)
	greeting                    // nor behind the first of these
	prompts                     // nor behind this, whose reply asks for content
	hangup                      // who does it all the same is cut off
	framed                      // octets of a given number follow its line
	clear                       // also before TLS, where that is required
	aside                       // has nothing to do with mail, and may stand between two chunks
	anonymous                   // not once logged in (RFC 2645 §5.2)
)

// command is a row of the table: all that is known of a verb.
type command struct {
	verb   string
	states state
	flags  flags
	rfc    string
	run    func(s *session, ctx context.Context, rest string) (smtp.Reply, error)
	// offer gives the lines it adds to the answer to EHLO, behind those of the extensions; may be nil.
	offer   func(s *session) []string
	syntax  string
	about   string // what it does
	mistake string // what people do wrong with it
}

// args joins a parser and the handler that takes what it gives.
func args[A any](parse func(string) (A, error),
	handle func(*session, context.Context, A) (smtp.Reply, error),
) func(*session, context.Context, string) (smtp.Reply, error) {
	return func(s *session, ctx context.Context, rest string) (smtp.Reply, error) {
		a, err := parse(rest)
		if err != nil {
			return smtp.Reply{}, err
		}
		return handle(s, ctx, a)
	}
}

// table gives the commands in the order in which HELP lists them.
func table(o Options) []command {
	x := o.parameters()
	xs := extensions(o)
	parseMail := func(rest string) (smtp.Mail, error) { return smtp.ParseMail(rest, x) }
	rows := append(greetings(), []command{
		{
			verb: "MAIL", states: greeted, flags: needAuth, rfc: "RFC 5321 §4.1.1.2",
			run:     args(parseMail, (*session).mail),
			syntax:  "MAIL FROM:<address>" + parameters(xs, func(x extension) string { return x.mail }),
			about:   "begins a transaction: says where reports about the message go; <> where none may go",
			mistake: "the address stands in angle brackets, with no text around it",
		}, {
			verb: "RCPT", states: sender | recipients, rfc: "RFC 5321 §4.1.1.3",
			run:     (*session).rcpt,
			syntax:  "RCPT TO:<address>" + parameters(xs, func(x extension) string { return x.rcpt }),
			about:   "names one recipient; repeat it for more",
			mistake: "each recipient has a reply of its own, and some may be refused while others are taken",
		}, {
			verb: "DATA", states: recipients, flags: prompts | hangup, rfc: "RFC 5321 §4.1.1.4",
			run:     args(smtp.ParseNothing, (*session).data),
			syntax:  "DATA",
			about:   "sends the message, header and body, ended by a line with nothing but a dot",
			mistake: "every line ends with CRLF, and a line that begins with a dot gets another in front",
		}, {
			verb: "BDAT", states: recipients | between, flags: framed, rfc: "RFC 3030 §2",
			run:     (*session).bdat,
			syntax:  "BDAT octets [LAST]",
			about:   "sends the message in chunks of so many octets, without dots; the last one says so",
			mistake: "the octets begin right behind the line, and the server does not ask for them",
		}, {
			verb: "RSET", states: always, rfc: "RFC 5321 §4.1.1.5",
			run:    args(smtp.ParseNothing, (*session).rset),
			syntax: "RSET", about: "drops the transaction; the greeting and the login stay",
		},
	}...)
	return append(rows, others(o)...)
}

func greetings() []command {
	const mistake = "say the name by which the world knows this machine, not localhost"
	return []command{
		{
			verb: "EHLO", states: always, flags: smtpOnly | greeting | clear, rfc: "RFC 5321 §4.1.1.1",
			run:    args(smtp.ParseHello, (*session).ehlo),
			syntax: "EHLO hostname", about: "greets, and lists what this server can do", mistake: mistake,
		}, {
			verb: "HELO", states: always, flags: smtpOnly | greeting | clear, rfc: "RFC 5321 §4.1.1.1",
			run:    args(smtp.ParseHello, (*session).oldHello),
			syntax: "HELO hostname", about: "greets as in 1982, without extensions", mistake: mistake,
		}, {
			verb: "LHLO", states: always, flags: lmtpOnly | greeting | clear, rfc: "RFC 2033 §4.1",
			run:    args(smtp.ParseHello, (*session).ehlo),
			syntax: "LHLO hostname", about: "greets, and lists what this server can do",
			mistake: "LMTP is not SMTP: EHLO and HELO do not exist here",
		},
	}
}

func others(o Options) []command {
	rows := []command{
		{
			verb: "NOOP", states: always, flags: aside | clear, rfc: "RFC 5321 §4.1.1.9",
			run:    args(smtp.ParseAnything, (*session).noop),
			syntax: "NOOP [anything]", about: "does nothing, and says so",
		}, {
			verb: "VRFY", states: always, flags: aside, rfc: "RFC 5321 §3.5.3",
			run:    args(smtp.ParseString, (*session).vrfy),
			syntax: "VRFY address", about: "tells users of this server whether a mailbox exists; tells others that RCPT will",
		}, {
			verb: "HELP", states: always, flags: aside, rfc: "RFC 5321 §4.1.1.8",
			run:    args(smtp.ParseAnything, (*session).help),
			syntax: "HELP [command]", about: "lists the commands, or explains one",
		}, {
			verb: "QUIT", states: always, flags: clear, rfc: "RFC 5321 §4.1.1.10",
			run:    args(smtp.ParseNothing, (*session).quit),
			syntax: "QUIT", about: "ends the session",
		},
	}
	if _, ok := o.Policy.(smtp.Verifier); ok {
		rows = append(rows, command{
			verb: "EXPN", states: always, flags: aside, rfc: "RFC 5321 §3.5.2",
			run:    args(smtp.ParseString, (*session).expn),
			syntax: "EXPN address", about: "tells the members of a list to its owners",
		})
	}
	if o.TLS != nil {
		rows = append(rows, command{
			verb: "STARTTLS", states: greeted, flags: alone | hangup | clear, rfc: "RFC 3207",
			run:    args(smtp.ParseNothing, (*session).startTLS),
			offer:  (*session).offerTLS,
			syntax: "STARTTLS", about: "goes on under TLS; greet again behind it",
			mistake: "nothing said before counts: EHLO has to be said again",
		})
	}
	if len(o.XClient) > 0 {
		rows = append(rows, standIns()...)
	}
	if o.Flush != nil {
		rows = append(rows, etrn())
	}
	if o.SASL != nil {
		rows = append(rows, command{
			verb: "AUTH", states: greeted, flags: secret | alone, rfc: "RFC 4954 §4",
			run:    args(smtp.ParseAuth, (*session).auth),
			offer:  (*session).offerAuth,
			syntax: "AUTH mechanism [initial-response]", about: "logs in; responses are in base64",
			mistake: "PLAIN is base64 of NUL, user, NUL, password: a NUL stands in front of the user too",
		})
	}
	return rows
}
