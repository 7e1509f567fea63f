package dsn

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
)

// Bounds of what Parse takes.
const (
	maxStatus     = 1 << 20
	maxRecipients = 10000
)

// Status is the content of a message/delivery-status or message/global-delivery-status part, as foreign hosts write
// it; nothing in it is to be trusted.
type Status struct {
	EnvelopeID   string
	ReportingMTA string // without its type; "" when missing
	ReceivedFrom string
	Arrival      time.Time // zero when missing or no date
	Recipients   []RecipientStatus
}

// RecipientStatus is one recipient's block.
type RecipientStatus struct {
	Original    string // address without its type, UTF-8 escapes decoded
	Final       string
	Action      Action // in lower case; may be one that RFC 3464 does not know
	Status      mail.Enhanced
	RemoteMTA   string
	Diagnostic  string // without its type
	LastAttempt time.Time
	WillRetry   time.Time
}

// Reported gives the status of a recipient: that of its field or, where that says no more than the class, that of the
// reply.
func (c RecipientStatus) Reported() mail.Enhanced {
	if c.Status[1] == 0 && c.Status[2] == 0 {
		if s := replyStatus(c.Diagnostic); s[0] != 0 {
			return s
		}
	}
	return c.Status
}

// Parse reads a status from the decoded body of its part: a block of fields for the message, then one for each
// recipient, parted by empty lines (RFC 3464 §2.1). Blocks without a Final-Recipient are skipped, except the first.
// Errors are those of r, and Kind TooLarge beyond 1 MiB or TooMany beyond 10,000 recipients.
func Parse(r io.Reader) (*Status, error) {
	br := bufio.NewReader(io.LimitReader(r, maxStatus+1))
	s := new(Status)
	size := 0
	for first := true; ; first = false {
		h, err := message.ReadHeader(br, maxStatus)
		if err != nil {
			return nil, mail.Wrap("dsn.parse", err)
		}
		if size += h.Size(); size > maxStatus {
			return nil, mail.E("dsn.parse", mail.TooLarge, "delivery status is larger than %d octets", maxStatus)
		}
		if first {
			s.message(&h)
		}
		if h.Has("Final-Recipient") {
			s.Recipients = append(s.Recipients, recipient(&h))
		}
		if len(s.Recipients) > maxRecipients {
			return nil, mail.E("dsn.parse", mail.TooMany, "delivery status of more than %d recipients", maxRecipients)
		}
		if _, err := br.Peek(1); err != nil {
			return s, nil
		}
	}
}

func (s *Status) message(h *message.Header) {
	s.EnvelopeID = h.Get("Original-Envelope-Id")
	s.ReportingMTA = untyped(h.Get("Reporting-MTA"))
	s.ReceivedFrom = untyped(h.Get("Received-From-MTA"))
	s.Arrival, _ = message.ParseDate(h.Get("Arrival-Date"))
}

func recipient(h *message.Header) RecipientStatus {
	c := RecipientStatus{
		Original:   address(h.Get("Original-Recipient")),
		Final:      address(h.Get("Final-Recipient")),
		Status:     parseStatus(h.Get("Status")),
		RemoteMTA:  untyped(h.Get("Remote-MTA")),
		Diagnostic: untyped(h.Get("Diagnostic-Code")),
	}
	word, _, _ := strings.Cut(h.Get("Action"), " ")
	c.Action = Action(strings.ToLower(word))
	c.LastAttempt, _ = message.ParseDate(h.Get("Last-Attempt-Date"))
	c.WillRetry, _ = message.ParseDate(h.Get("Will-Retry-Until"))
	return c
}

// untyped drops the type of "dns; host" and of "smtp; 550 …".
func untyped(s string) string {
	if kind, rest, ok := strings.Cut(s, ";"); ok && !strings.Contains(strings.TrimSpace(kind), " ") {
		return strings.TrimSpace(rest)
	}
	return s
}

// address drops the type and decodes \x{HEX} of utf-8-addr-xtext and utf-8-addr-unitext (RFC 6533 §3).
func address(s string) string {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok {
		return s
	}
	addr = strings.TrimSpace(addr)
	if !strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		return addr
	}
	var b strings.Builder
	for addr != "" {
		i := strings.Index(addr, `\x{`)
		if i < 0 {
			break
		}
		b.WriteString(addr[:i])
		hex, _, ok := strings.Cut(addr[i+3:min(len(addr), i+12)], "}")
		n, err := strconv.ParseUint(hex, 16, 32)
		if !ok || err != nil || n > 0x10ffff || n >= 0xd800 && n < 0xe000 || n < ' ' || n == 0x7f {
			b.WriteString(`\x{`)
			addr = addr[i+3:]
			continue
		}
		b.WriteRune(rune(n))
		addr = addr[i+3+len(hex)+1:]
	}
	return b.String() + addr
}

// parseStatus reads "5.1.1 (comment)"; what is no status is zero.
func parseStatus(s string) mail.Enhanced {
	var c mail.Enhanced
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	parts := strings.Split(word, ".")
	if len(parts) != 3 {
		return mail.Enhanced{}
	}
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n > 999 {
			return mail.Enhanced{}
		}
		c[i] = uint16(n)
	}
	return c
}
