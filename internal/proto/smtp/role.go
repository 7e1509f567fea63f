package smtp

import (
	"context"
	"crypto/tls"
	"io"
	"net/netip"

	"postel/internal/mail"
)

// Policy is what a server of SMTP or LMTP asks of a role: mx, msa and catcher are Policies.
type Policy interface {
	// Begin is called for each MAIL command; the Transaction lives until its end of data, RSET, a new greeting
	// or the end of the connection. An error is the reply to MAIL.
	Begin(ctx context.Context, p Peer) (Transaction, error)
}

// Transaction is one mail transaction (RFC 5321 §3.3), used by one goroutine. After an error from Mail it is
// Reset; after one from Rcpt it goes on without that recipient; Data ends it whatever comes of it.
type Transaction interface {
	// Mail says the reverse path and its parameters; e.Recipients is empty.
	Mail(ctx context.Context, e mail.Envelope) error
	// Rcpt says one more recipient; a zero Domain is the bare Postmaster (RFC 5321 §4.1.1.3).
	Rcpt(ctx context.Context, r mail.Recipient) error
	// Data takes the content: dot-decoded, limited in size, its line ends checked. An error of body.Read is
	// returned as it is, so that its reply reaches the client. nil results and an error is one reply for all.
	// SMTP has one Result; LMTP one for each accepted recipient, in their order (RFC 2033 §4.2).
	Data(ctx context.Context, body io.Reader) ([]Result, error)
	// Reset drops the transaction whole. It is called exactly once if Data is not.
	Reset()
}

// Verifier is a Policy that answers VRFY and EXPN (RFC 5321 §3.5) for those who may know: peers that are authenticated
// or users of this machine. An address without a Domain is a name at the peer's own.
type Verifier interface {
	// Verify gives the mailbox that is meant. Kind NotFound: there is none; Unsupported: that cannot be told here.
	Verify(ctx context.Context, p Peer, a mail.Address) (mail.Address, error)
	// Expand gives the members of a list that is the peer's to know; Kind Denied for any other, whether it exists or not.
	Expand(ctx context.Context, p Peer, a mail.Address) ([]mail.Address, error)
}

// Result is what became of a message, for SMTP as a whole, for LMTP for one recipient.
type Result struct {
	Message mail.ID // shown in the 250
	Err     error   // nil is 250
	Text    string  // said behind 250; empty lets the server choose
}

// Peer is what is known of a client when it says MAIL.
type Peer struct {
	Session   mail.ID
	Remote    netip.AddrPort
	Local     netip.AddrPort
	Looked                         // in DNS
	Forwarded string               // what a listed peer tells of where the message came from, for the records; "" for nothing
	Helo      string               // the argument of EHLO, HELO or LHLO as given
	ESMTP     bool                 // greeted with EHLO
	LMTP      bool                 // greeted with LHLO
	TLS       *tls.ConnectionState // nil in clear
	Account   mail.AccountID       // 0 when not authenticated
	Login     string               // as authenticated; "" when not
	Anyone    bool                 // authenticated as nobody in particular: a listener that takes any credentials
	System    *SystemUser          // the user of this machine on the other end of a Unix socket; nil on TCP
}

// SystemUser is a user of this machine, as the kernel tells it (SO_PEERCRED).
type SystemUser struct {
	UID  uint32
	Name string // the login name; "" when the machine has none for the UID
}

// With gives the protocol for the Received field (RFC 5321 §4.4, RFC 3848, RFC 6531 §4.3): ESMTPSA, UTF8LMTP, ….
func (p Peer) With(utf8 bool) string {
	w := "SMTP"
	switch {
	case p.LMTP:
		w = "LMTP"
	case utf8:
	case p.ESMTP:
		w = "ESMTP"
	default:
		return w // HELO has neither STARTTLS nor AUTH
	}
	if utf8 {
		w = "UTF8" + w
	}
	if p.TLS != nil {
		w += "S"
	}
	if p.Login != "" {
		w += "A"
	}
	return w
}

// Looked is what DNS says of a client, for the trace and for who judges mail. Nothing is refused for it alone.
type Looked struct {
	Name    string // of its address, leading back to it; "" when there is none, or nobody looked
	Reverse string // pass, fail, none or temperror (iprev, RFC 8601 §2.7.3); "" when nobody looked
	Hello   string // likewise: whether the name it greeted with leads to its address
}

// String tells it in words.
func (l Looked) String() string {
	name := l.Name
	if name == "" {
		name = "unknown"
	}
	return name + ", iprev=" + l.Reverse + ", helo=" + l.Hello
}
