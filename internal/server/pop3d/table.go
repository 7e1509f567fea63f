package pop3d

import (
	"context"

	"postel/internal/proto/pop3"
)

// state is where a session is (RFC 1939 §3). UPDATE is inside QUIT.
type state uint8

const (
	authorization state = 1 << iota
	transaction
)

// trait says what the loop does for a command.
type trait uint8

const (
	secret trait = 1 << iota // its arguments are masked in transcripts
	alone                    // nothing may be pipelined behind it
)

// command is one row: a verb, when it may be said, and who answers.
type command struct {
	verb    string
	states  state
	traits  trait
	rfc     string
	syntax  string
	about   string
	offered func(Options) bool // nil: always
	run     func(s *session, ctx context.Context, args string) (reply, error)
}

// reply is a positive answer; a handler that has written it itself gives sent.
type reply struct {
	text string
	sent bool
}

// on joins a parser and a handler.
func on[A any](parse func(string) (A, error), handle func(*session, context.Context, A) (reply, error)) func(*session, context.Context, string) (reply, error) {
	return func(s *session, ctx context.Context, args string) (reply, error) {
		a, err := parse(args)
		if err != nil {
			return reply{}, err
		}
		return handle(s, ctx, a)
	}
}

// table is all commands there are.
func table() []command {
	both := authorization | transaction
	return []command{
		{
			verb: "CAPA", states: both, rfc: "RFC 2449 §5", syntax: "CAPA", about: "what the server can do",
			run: on(pop3.None, (*session).capa),
		},
		{
			verb: "STLS", states: authorization, traits: alone, rfc: "RFC 2595 §4", syntax: "STLS", about: "turns to TLS",
			offered: func(o Options) bool { return o.TLS != nil }, run: on(pop3.None, (*session).stls),
		},
		{
			verb: "USER", states: authorization, rfc: "RFC 1939 §7", syntax: "USER name", about: "says whose maildrop it is",
			run: on(pop3.Name, (*session).user),
		},
		{
			verb: "PASS", states: authorization, traits: secret, rfc: "RFC 1939 §7", syntax: "PASS password",
			about: "logs in, right after USER", run: on(pop3.Password, (*session).pass),
		},
		{
			verb: "APOP", states: authorization, traits: secret, rfc: "RFC 1939 §7", syntax: "APOP name digest",
			about:   "logs in with MD5 of the greeting's timestamp and the password",
			offered: func(o Options) bool { return o.SASL.Shared != 0 }, run: on(pop3.ParseDigest, (*session).apop),
		},
		{
			verb: "AUTH", states: authorization, traits: secret, rfc: "RFC 5034 §4", syntax: "AUTH mechanism [initial-response]",
			about: "logs in by SASL", run: on(pop3.ParseAuth, (*session).auth),
		},
		{
			verb: "STAT", states: transaction, rfc: "RFC 1939 §5", syntax: "STAT", about: "messages and their octets",
			run: on(pop3.None, (*session).stat),
		},
		{
			verb: "LIST", states: transaction, rfc: "RFC 1939 §5", syntax: "LIST [msg]", about: "octets of each message",
			run: on(pop3.Optional, (*session).list),
		},
		{
			verb: "UIDL", states: transaction, rfc: "RFC 1939 §7", syntax: "UIDL [msg]", about: "lasting ids of messages",
			run: on(pop3.Optional, (*session).uidl),
		},
		{
			verb: "RETR", states: transaction, rfc: "RFC 1939 §5", syntax: "RETR msg", about: "sends a message",
			run: on(pop3.Number, (*session).retr),
		},
		{
			verb: "TOP", states: transaction, rfc: "RFC 1939 §7", syntax: "TOP msg n", about: "sends a header and n lines of the body",
			run: on(pop3.ParseTop, (*session).top),
		},
		{
			verb: "DELE", states: transaction, rfc: "RFC 1939 §5", syntax: "DELE msg", about: "marks a message for deletion at QUIT",
			run: on(pop3.Number, (*session).dele),
		},
		{
			verb: "RSET", states: transaction, rfc: "RFC 1939 §5", syntax: "RSET", about: "takes all marks back",
			run: on(pop3.None, (*session).rset),
		},
		{
			verb: "NOOP", states: transaction, rfc: "RFC 1939 §5", syntax: "NOOP", about: "does nothing",
			run: on(pop3.None, (*session).noop),
		},
		{
			verb: "QUIT", states: both, rfc: "RFC 1939 §6", syntax: "QUIT", about: "deletes what is marked and ends",
			run: on(pop3.None, (*session).quit),
		},
	}
}
