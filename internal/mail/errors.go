package mail

import (
	"errors"
	"fmt"
)

// Kind says what went wrong in the terms that all protocols share. Code branches on Kind only; each
// protocol has one table that maps Kinds to its own codes.
type Kind uint8

// The Kinds. The zero value is Internal: an error nobody has thought of is ours.
const (
	Internal     Kind = iota // a bug or a broken machine; an id is shown, the cause logged
	Invalid                  // the input breaks a grammar or a rule of its RFC
	Unsupported              // well-formed, but not done here
	TooLarge                 // one thing exceeds a size limit, for good
	TooMany                  // a count limit is reached; fewer or later may work
	NotFound                 // the named account, mailbox, message or recipient does not exist
	Exists                   // what is to be created is there already
	Denied                   // known and refused by policy or rights
	AuthRequired             // authentication is missing
	AuthFailed               // credentials are wrong
	NeedTLS                  // refused before encryption
	OverQuota                // no room for this account
	Busy                     // in use by another session; later works
	Unavailable              // the store or a dependency cannot serve now; later works
	Loop                     // a mail loop
	Rejected                 // the content is refused (line ends, header, spam)
	Canceled                 // the caller went away or time ran out
	Full                     // no room on the disk of this machine; later works
)

var kindNames = [...]string{
	"internal", "invalid", "unsupported", "too large", "too many", "not found", "exists", "denied",
	"auth required", "auth failed", "need tls", "over quota", "busy", "unavailable", "loop", "rejected", "canceled",
	"full",
}

// String gives the Kind's name in lower case, for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Error is the error of all packages: an operation, a Kind, what may be told to the public, and the cause,
// which is only logged. Text holds no path, no internal address and no detail of policy.
type Error struct {
	Op   string   // what was attempted, as "store.append"; for logs
	Kind Kind     // what code branches on
	Code Enhanced // RFC 3463 status; zero lets the protocol's table choose
	Text string   // one line for the client; empty lets the protocol's table choose
	Err  error    // the cause, never shown to a client; may be nil
}

// Error gives all of it, for logs.
func (e *Error) Error() string {
	s := e.Op
	if s != "" {
		s += ": "
	}
	if e.Text != "" {
		s += e.Text
	} else {
		s += e.Kind.String()
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// E builds an *Error from what was attempted, its Kind and a public text.
func E(op string, kind Kind, format string, args ...any) *Error {
	return &Error{Op: op, Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Wrap adds what was attempted to err and keeps its Kind, status and text; a nil err gives nil.
// An err without a Kind becomes Internal.
func Wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Op: op, Kind: e.Kind, Code: e.Code, Text: e.Text, Err: err}
	}
	return &Error{Op: op, Kind: Internal, Err: err}
}

// KindOf gives the Kind of err: that of the first *Error in its chain, Internal without one.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Internal
}

// Is tells whether err has the Kind k; a nil err has none.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }
