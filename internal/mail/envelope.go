package mail

import "time"

// Body is the BODY parameter of MAIL (RFC 6152 §2, RFC 3030 §3): how the content is to be taken.
type Body uint8

// The body types. The zero value is a message of seven-bit text.
const (
	Body7Bit Body = iota
	Body8BitMIME
	BodyBinaryMIME
)

// Notify is the set of events of which the sender wants to be told (RFC 3461 §4.1). Zero means that NOTIFY was
// not given: failures and, at the server's choice, delays.
type Notify uint8

// The members of Notify. NotifyNever stands alone.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Recipient is one forward path of an envelope.
type Recipient struct {
	Address  Address
	Notify   Notify
	Original string // ORCPT as given, "rfc822;alice@example.org", decoded from xtext; "" when not given
}

// Parameters are what MAIL asked for beyond the reverse path. They go with a message through the queue to the next
// server. The zero value asks for nothing.
type Parameters struct {
	Body       Body
	UTF8       bool      // SMTPUTF8 was asked for (RFC 6531 §3.4)
	Return     string    // RET: "FULL", "HDRS" or "" (RFC 3461 §4.3)
	EnvelopeID string    // ENVID, decoded from xtext (RFC 3461 §4.4)
	By         DeliverBy // BY (RFC 2852)
	Hold       time.Time // HOLDFOR, HOLDUNTIL: not to be sent before (RFC 4865); zero: at once
	Priority   int8      // MT-PRIORITY, -9 to 9, as far as it is honoured (RFC 6710); 0 is normal
	RequireTLS bool      // REQUIRETLS: in clear to nobody (RFC 8689)
}

// DeliverBy is a time by which a message is to be delivered (RFC 2852 §4). The zero value is none.
type DeliverBy struct {
	Deadline time.Time
	Return   bool // at the deadline it goes back (R); otherwise it goes on and the sender is told (N)
	Trace    bool // each server on the way reports to the sender (T)
}

// Content says what a message's octets ask of the way that it goes, whatever its sender said of them. The zero value
// says that nobody looked.
type Content uint8

// The members of Content.
const (
	ContentKnown   Content = 1 << iota // somebody looked: what is not named is not there
	EightBitHeader                     // octets above 127 in the header section of the message or of a part (RFC 6532)
	EightBitBody                       // octets above 127 elsewhere (RFC 6152)
	LongLines                          // lines of more than 998 octets (RFC 5321 §4.5.3.1.6)
)

// Envelope is what MAIL and RCPT said. A zero From is the null reverse path.
type Envelope struct {
	From Address
	Parameters
	Content    Content // as found when it was taken
	Size       int64   // SIZE as declared; 0 when not (RFC 1870 §5)
	Recipients []Recipient
	Received   time.Time
}

// Demands gives what the content asks for: what was found in it or, where nobody looked, what MAIL said of it.
func (e *Envelope) Demands() Content {
	if e.Content != 0 {
		return e.Content
	}
	var c Content
	if e.Body != Body7Bit {
		c |= EightBitBody
	}
	if e.UTF8 {
		c |= EightBitHeader
	}
	return c
}
