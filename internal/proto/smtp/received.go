package smtp

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"postel/internal/mail"
)

// ReceivedInfo is what the field Received tells beside the peer.
type ReceivedInfo struct {
	Hostname string       // ours
	ID       mail.ID      // the message
	UTF8     bool         // SMTPUTF8 was asked for
	For      mail.Address // the recipient if there is only one; else zero, so that none learns of another
	Private  bool         // the client's name and address are not told
	Now      time.Time
}

// Received makes the trace field with its CRLF (RFC 5321 §4.4). What the client said of itself is made harmless.
func Received(p Peer, i ReceivedInfo) []byte {
	b := make([]byte, 0, 256)
	say := func(parts ...string) {
		for _, s := range parts {
			b = append(b, s...)
		}
	}
	say("Received: ")
	if !i.Private {
		say("from ", helloName(p.Helo))
		if info := tcpInfo(p); info != "" {
			say(" (", info, ")")
		}
		say("\r\n\t")
	}
	say("by ", i.Hostname, " with ", p.With(i.UTF8))
	if p.TLS != nil {
		say("\r\n\t(", tls.VersionName(p.TLS.Version), " ", tls.CipherSuiteName(p.TLS.CipherSuite), ")")
	}
	say(" id m-", i.ID.String())
	if !i.For.IsNull() {
		say("\r\n\tfor <", i.For.String(), ">")
	}
	say(";\r\n\t")
	return append(i.Now.AppendFormat(b, "Mon, 02 Jan 2006 15:04:05 -0700"), "\r\n"...)
}

// helloName gives Extended-Domain's first word: what the client said if it is a domain or a literal, else
// "unknown".
func helloName(helo string) string {
	d, err := mail.ParseDomain(helo)
	if err != nil {
		return "unknown"
	}
	if ip, ok := d.Literal(); ok {
		return literal(ip)
	}
	return string(d)
}

// tcpInfo gives TCP-info: the peer's name and address as we know them; for a Unix socket its user, as a comment.
func tcpInfo(p Peer) string {
	if !p.Remote.IsValid() {
		if p.System != nil {
			return fmt.Sprintf("uid %d", p.System.UID)
		}
		return ""
	}
	if d, err := mail.ParseDomain(p.Name); err == nil && !strings.HasPrefix(p.Name, "[") {
		return string(d) + " " + literal(p.Remote.Addr())
	}
	return literal(p.Remote.Addr())
}

// literal writes an address literal (RFC 5321 §4.1.3).
func literal(ip netip.Addr) string {
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return "[" + ip.String() + "]"
	}
	return "[IPv6:" + ip.String() + "]"
}
