package mail

import "fmt"

// Scope says what a delivery result is about, and so for whom it counts: a failure of the host is no verdict
// on the message, one of the message concerns all its recipients at that host.
type Scope uint8

// The scopes, from the widest to the narrowest.
const (
	ScopeSession   Scope = iota // this connection; another may work at once
	ScopeHost                   // this host or destination; others may work
	ScopeMessage                // this message at this destination
	ScopeRecipient              // this recipient
)

// String gives "session", "host", "message" or "recipient".
func (s Scope) String() string {
	return [...]string{"session", "host", "message", "recipient"}[s&3]
}

// Result is what one attempt came to for one recipient. Only the queue's scheduler decides what follows.
type Result struct {
	Recipient Address  // for whom
	Scope     Scope    // what the code is about
	Code      int      // SMTP reply code; 250 is delivered, 4yz may be retried, 5yz not
	Enhanced  Enhanced // RFC 3463 status; zero when the peer gave none
	Text      string   // the reply's text, or ours, one line
	Host      string   // the host that said so; empty when it is ours
}

// Delivered tells whether the recipient's mail was taken (2yz).
func (r Result) Delivered() bool { return r.Code/100 == 2 }

// Permanent tells whether a retry is of no use (5yz).
func (r Result) Permanent() bool { return r.Code/100 == 5 }

// String gives the reply as it would stand on the wire.
func (r Result) String() string {
	if e := r.Enhanced.String(); e != "" {
		return fmt.Sprintf("%d %s %s", r.Code, e, r.Text)
	}
	return fmt.Sprintf("%d %s", r.Code, r.Text)
}
