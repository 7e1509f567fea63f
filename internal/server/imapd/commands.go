package imapd

import (
	"context"

	"postel/internal/proto/imap"
)

// state is where a session is (RFC 3501 §3); a row's states are a set of them.
type state uint8

const (
	notAuthenticated state = 1 << iota
	authenticated
	selected

	anyState = notAuthenticated | authenticated | selected
	loggedIn = authenticated | selected
)

// flags of a row.
type flags uint8

const (
	noExpunge flags = 1 << iota // no EXPUNGE may be sent with its answer (RFC 3501 §7.4.1)
	looks                       // works on the messages of the mailbox: what is new is told first
	secret                      // its arguments are never traced
	byUID                       // names messages by UID
	quiet                       // nothing is told of the mailbox with its answer
)

// command is a row of the table.
type command struct {
	name   string
	states state
	flags  flags
	rfc    string // the clause
	cap    string // the capability that the row gives, "" for the base protocol
	do     func(s *session, ctx context.Context) error
}

// row makes a command of its parser and its handler.
func row[T any](name string, st state, fl flags, rfc, capability string,
	parse func(*imap.Decoder) T, run func(*session, context.Context, T) error,
) command {
	return command{name, st, fl, rfc, capability, func(s *session, ctx context.Context) error {
		args := parse(s.d)
		if err := s.d.Err(); err != nil {
			return syntax{err}
		}
		return run(s, ctx, args)
	}}
}

// commands is the table.
func commands() []command {
	d := (*imap.Decoder).None
	return []command{
		row("CAPABILITY", anyState, 0, "RFC 3501 §6.1.1", "", d, (*session).capability),
		row("NOOP", anyState, 0, "RFC 3501 §6.1.2", "", d, (*session).noop),
		row("LOGOUT", anyState, quiet, "RFC 3501 §6.1.3", "", d, (*session).logout),
		row("ID", anyState, 0, "RFC 2971 §3.1", "ID", (*imap.Decoder).ID, (*session).id),

		row("STARTTLS", notAuthenticated, 0, "RFC 3501 §6.2.1", "", d, (*session).startTLS),
		row("AUTHENTICATE", notAuthenticated, secret, "RFC 3501 §6.2.2", "SASL-IR", (*imap.Decoder).Authenticate, (*session).authenticate),
		row("LOGIN", notAuthenticated, secret, "RFC 3501 §6.2.3", "", (*imap.Decoder).Login, (*session).login),

		row("ENABLE", loggedIn, 0, "RFC 5161 §3.1", "ENABLE", (*imap.Decoder).Enable, (*session).enable),
		row("SELECT", loggedIn, quiet, "RFC 3501 §6.3.1", "", (*imap.Decoder).Mailbox, (*session).selectMailbox),
		row("EXAMINE", loggedIn, quiet, "RFC 3501 §6.3.2", "", (*imap.Decoder).Mailbox, (*session).examine),
		row("CREATE", loggedIn, 0, "RFC 3501 §6.3.3", "CREATE-SPECIAL-USE", (*imap.Decoder).Create, (*session).create),
		row("DELETE", loggedIn, 0, "RFC 3501 §6.3.4", "", (*imap.Decoder).Mailbox, (*session).delete),
		row("RENAME", loggedIn, 0, "RFC 3501 §6.3.5", "", (*imap.Decoder).Rename, (*session).rename),
		row("SUBSCRIBE", loggedIn, 0, "RFC 3501 §6.3.6", "", (*imap.Decoder).Mailbox, (*session).subscribe),
		row("UNSUBSCRIBE", loggedIn, 0, "RFC 3501 §6.3.7", "", (*imap.Decoder).Mailbox, (*session).unsubscribe),
		row("LIST", loggedIn, 0, "RFC 3501 §6.3.8", "LIST-EXTENDED", (*imap.Decoder).List, (*session).list),
		row("LSUB", loggedIn, 0, "RFC 3501 §6.3.9", "", (*imap.Decoder).Lsub, (*session).lsub),
		row("STATUS", loggedIn, 0, "RFC 3501 §6.3.10", "STATUS=SIZE", (*imap.Decoder).Status, (*session).status),
		row("APPEND", loggedIn, 0, "RFC 3501 §6.3.11", "LITERAL+", (*imap.Decoder).Append, (*session).append),
		row("NAMESPACE", loggedIn, 0, "RFC 2342 §5", "NAMESPACE", d, (*session).namespace),
		row("IDLE", loggedIn, 0, "RFC 2177 §3", "IDLE", d, (*session).idle),

		row("CHECK", selected, 0, "RFC 3501 §6.4.1", "", d, (*session).noop),
		row("CLOSE", selected, quiet, "RFC 3501 §6.4.2", "", d, (*session).close),
		row("UNSELECT", selected, quiet, "RFC 3691 §2", "UNSELECT", d, (*session).unselect),
		row("EXPUNGE", selected, 0, "RFC 3501 §6.4.3", "", d, (*session).expunge),
		row("UID EXPUNGE", selected, byUID, "RFC 4315 §2.1", "UIDPLUS", (*imap.Decoder).UIDSet, (*session).uidExpunge),
		row("SEARCH", selected, noExpunge|looks, "RFC 3501 §6.4.4", "ESEARCH", (*imap.Decoder).Search, (*session).search),
		row("UID SEARCH", selected, byUID|looks, "RFC 3501 §6.4.8", "", (*imap.Decoder).Search, (*session).search),
		row("FETCH", selected, noExpunge|looks, "RFC 3501 §6.4.5", "", (*imap.Decoder).Fetch, (*session).fetch),
		row("UID FETCH", selected, byUID|looks, "RFC 3501 §6.4.8", "", (*imap.Decoder).Fetch, (*session).fetch),
		row("STORE", selected, noExpunge, "RFC 3501 §6.4.6", "", (*imap.Decoder).Store, (*session).store),
		row("UID STORE", selected, byUID, "RFC 3501 §6.4.8", "", (*imap.Decoder).Store, (*session).store),
		row("COPY", selected, looks, "RFC 3501 §6.4.7", "", (*imap.Decoder).Copy, (*session).copy),
		row("UID COPY", selected, byUID|looks, "RFC 3501 §6.4.8", "", (*imap.Decoder).Copy, (*session).copy),
		row("MOVE", selected, looks, "RFC 6851 §3.1", "MOVE", (*imap.Decoder).Copy, (*session).move),
		row("UID MOVE", selected, byUID|looks, "RFC 6851 §3.2", "", (*imap.Decoder).Copy, (*session).move),
	}
}

// features are capabilities that no single row gives.
var features = []string{"CHILDREN", "SPECIAL-USE", "LIST-STATUS"}

// capabilities gives what the server can for this session (RFC 3501 §6.1.1).
func (s *session) capabilities(ctx context.Context) []string {
	caps := []string{"IMAP4rev1"}
	for _, c := range s.srv.table {
		if c.cap != "" {
			caps = append(caps, c.cap)
		}
	}
	caps = append(caps, features...)
	if s.state != notAuthenticated {
		return caps
	}
	if s.mayStartTLS() {
		caps = append(caps, "STARTTLS")
	}
	mechs := s.srv.o.SASL.Mechanisms(ctx, s.link())
	if len(mechs) == 0 {
		caps = append(caps, "LOGINDISABLED")
	}
	for _, m := range mechs {
		caps = append(caps, "AUTH="+m)
	}
	return caps
}
