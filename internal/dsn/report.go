package dsn

import (
	"slices"
	"strings"
	"time"

	"postel/internal/mail"
)

// Action is what was done with a recipient (RFC 3464 §2.3.3).
type Action string

// The actions.
const (
	Failed    Action = "failed"
	Delayed   Action = "delayed"
	Delivered Action = "delivered"
	Relayed   Action = "relayed"
	Expanded  Action = "expanded"
)

// known tells whether the action is one of RFC 3464.
func (a Action) known() bool {
	switch a {
	case Failed, Delayed, Delivered, Relayed, Expanded:
		return true
	}
	return false
}

// Return says how much of the original message a report carries.
type Return uint8

// The members of Return. The zero value is the header alone.
const (
	ReturnHeaders Return = iota
	ReturnFull
)

// ParseReturn reads the RET parameter, "FULL" or "HDRS" in any case (RFC 3461 §4.3); anything else asks for the header.
func ParseReturn(ret string) Return {
	if strings.EqualFold(ret, "FULL") {
		return ReturnFull
	}
	return ReturnHeaders
}

// DefaultLimit is the largest original that is returned in full, in octets.
const DefaultLimit = 256 << 10

// headerLimit is the most of a header that is returned alone.
const headerLimit = 64 << 10

// Report is one notification about one message to its sender. ReportingMTA, From, To, Date, MessageID and at least
// one recipient are needed.
type Report struct {
	From      mail.Address // who writes: the postmaster or MAILER-DAEMON of this host
	FromName  string       // display name; "" is "Mail Delivery System"
	To        mail.Address // the sender of the original
	Date      time.Time
	MessageID string // with its angle brackets
	// Boundary parts the report; it is not to be guessed by who wrote the original. "" lets WriteTo make one.
	Boundary string

	ReportingMTA mail.Domain // our name
	EnvelopeID   string      // ENVID of the original, decoded from xtext; "" when none was given
	ReceivedFrom string      // the name that the sending host gave; "" when not known
	Arrival      time.Time   // of the original; zero when not known
	Recipients   []Recipient

	Return Return // heeded when a recipient failed; other reports return the header alone (RFC 3461 §4.3)
	UTF8   bool   // the report may be sent with SMTPUTF8, so its headers may hold UTF-8 (RFC 6533)
	Stays  bool   // the report goes into a mailbox here, so octets above 127 may be anywhere in it
	Limit  int64  // of the returned original in octets; 0 is DefaultLimit
	// Languages of the part for people, by their tags, in their order (Languages); empty is all that are known.
	Languages []string
}

// Recipient is what a report tells of one recipient (RFC 3464 §2.3).
type Recipient struct {
	Original    string       // ORCPT, "rfc822;alice@example.org", decoded from xtext; "" when none was given
	Final       mail.Address // as we delivered to it
	Action      Action
	Status      mail.Enhanced
	RemoteMTA   string    // the host that said so; "" when it is us
	Diagnostic  string    // its SMTP reply, "550 5.1.1 no such user"; "" when there was none
	Reason      string    // a sentence for people; "" lets the report say what Diagnostic says
	LastAttempt time.Time // zero when there was none
	WillRetry   time.Time // until when; only told of a delay
}

// Written tells what WriteTo wrote, as the envelope of the report must.
type Written struct {
	Size int64
	Body mail.Body // Body8BitMIME when there are octets above 127
	UTF8 bool      // the report needs SMTPUTF8
}

// check tells what is missing.
func (r *Report) check() error {
	if r.ReportingMTA == "" || r.From.IsNull() || r.To.IsNull() || r.MessageID == "" || len(r.Recipients) == 0 {
		return mail.E("dsn.report", mail.Invalid, "report without reporting host, addresses, id or recipients")
	}
	for _, c := range r.Recipients {
		if !c.Action.known() || c.Final.IsNull() || c.Status.String() == "" {
			return mail.E("dsn.report", mail.Invalid, "recipient without action, address or status")
		}
	}
	return nil
}

// wanted gives how much of the original is to be returned.
func (r *Report) wanted() Return {
	if slices.ContainsFunc(r.Recipients, func(c Recipient) bool { return c.Action == Failed }) {
		return r.Return
	}
	return ReturnHeaders
}

// needsUTF8 tells whether a header or address of the report is not ASCII.
func (r *Report) needsUTF8() bool {
	if !r.From.ASCII() || !r.To.ASCII() {
		return true
	}
	for _, c := range r.Recipients {
		if !c.Final.ASCII() || !isASCII(c.Original) {
			return true
		}
	}
	return false
}

// worst gives the action that the subject is about: a failure before a delay before good news.
func (r *Report) worst() Action {
	worst := r.Recipients[0].Action
	for _, a := range []Action{Failed, Delayed, Expanded, Relayed, Delivered} {
		for _, c := range r.Recipients {
			if c.Action == a {
				return a
			}
		}
	}
	return worst
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
