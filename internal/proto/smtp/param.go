package smtp

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"postel/internal/mail"
)

// Extensions says which parameters a server takes; others are answered 555 (RFC 5321 §4.1.1.11).
type Extensions struct {
	Size          bool // SIZE (RFC 1870)
	EightBit      bool // BODY (RFC 6152)
	Binary        bool // BODY=BINARYMIME (RFC 3030)
	UTF8          bool // SMTPUTF8 (RFC 6531)
	DSN           bool // RET, ENVID, NOTIFY, ORCPT (RFC 3461)
	DeliverBy     bool // BY (RFC 2852)
	FutureRelease bool // HOLDFOR, HOLDUNTIL (RFC 4865)
	Priority      bool // MT-PRIORITY (RFC 6710)
	RequireTLS    bool // REQUIRETLS (RFC 8689)
	Auth          bool // AUTH (RFC 4954 §5)
	Bare          bool // an address may come without its angle brackets
}

// Mail is the argument of MAIL. What it says in seconds from now stays so: By and HoldFor are the server's to add to
// its clock; Envelope.By is left zero, and Envelope.Hold is set by HOLDUNTIL alone.
type Mail struct {
	From     Path
	Envelope mail.Envelope // From and the parameters; no recipients
	By       By
	HoldFor  time.Duration // HOLDFOR; 0 when not given
	Auth     string        // AUTH=, decoded; "<>" or an address, "" when not given. Nothing is believed of it
}

// Rcpt is the argument of RCPT.
type Rcpt struct {
	To        Path
	Recipient mail.Recipient
}

// ParseMail reads "FROM:<reverse-path> [parameters]" (RFC 5321 §4.1.1.2).
func ParseMail(rest string, x Extensions) (Mail, error) {
	arg, ok := cutKeyword(rest, "FROM")
	if !ok {
		return Mail{}, argError("MAIL FROM:<address>")
	}
	p, params, err := cutPath(arg, pathOptions{null: true, bare: x.Bare})
	if err != nil {
		return Mail{}, senderStatus(err)
	}
	m := Mail{From: p, Envelope: mail.Envelope{From: p.Address}}
	if err := eachParam(params, func(k, v string, has bool) error { return m.param(k, v, has, x) }); err != nil {
		return Mail{}, err
	}
	return m, p.permit(m.Envelope.UTF8)
}

// ParseRcpt reads "TO:<forward-path> [parameters]" (RFC 5321 §4.1.1.3). utf8 tells that MAIL said SMTPUTF8.
func ParseRcpt(rest string, x Extensions, utf8 bool) (Rcpt, error) {
	arg, ok := cutKeyword(rest, "TO")
	if !ok {
		return Rcpt{}, argError("RCPT TO:<address>")
	}
	p, params, err := cutPath(arg, pathOptions{postmaster: true, bare: x.Bare})
	if err != nil {
		return Rcpt{}, err
	}
	r := Rcpt{To: p, Recipient: mail.Recipient{Address: p.Address}}
	if err := eachParam(params, func(k, v string, _ bool) error { return r.param(k, v, x, utf8) }); err != nil {
		return Rcpt{}, err
	}
	return r, p.permit(utf8)
}

// cutKeyword takes "FROM:" or "TO:" off, spaces around the colon forgiven: Outlook sends one behind it.
func cutKeyword(s, word string) (string, bool) {
	if len(s) < len(word) || !strings.EqualFold(s[:len(word)], word) {
		return "", false
	}
	s, ok := strings.CutPrefix(strings.TrimLeft(s[len(word):], " "), ":")
	return strings.TrimLeft(s, " "), ok
}

// senderStatus turns the status of a bad recipient into that of a bad sender.
func senderStatus(err error) error {
	var e *mail.Error
	if errors.As(err, &e) && e.Code == (mail.Enhanced{5, 1, 3}) {
		return Fail(501, mail.Invalid, mail.Enhanced{5, 1, 7}, "sender: %s", e.Text)
	}
	return err
}

// maxParams bounds the parameters of a command.
const maxParams = 32

// eachParam calls f for each esmtp-param, the keyword in capitals (RFC 5321 §4.1.2). None may come twice.
func eachParam(s string, f func(k, v string, has bool) error) error {
	var seen []string
	for w := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == '\t' }) {
		k, v, has := strings.Cut(w, "=")
		k = strings.ToUpper(k)
		if !isKeyword(k) || has && !isValue(v) {
			return argError("parameter is not keyword=value")
		}
		for _, s := range seen {
			if s == k {
				return argError("parameter %s given twice", k)
			}
		}
		if seen = append(seen, k); len(seen) > maxParams {
			return argError("too many parameters")
		}
		if err := f(k, v, has); err != nil {
			return err
		}
	}
	return nil
}

func isKeyword(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'A' || c > 'Z') && !isDigit(c) && (c != '-' || i == 0) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

func isValue(s string) bool {
	for i := range len(s) {
		if s[i] <= 0x20 || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

func (m *Mail) param(k, v string, has bool, x Extensions) error {
	e := &m.Envelope
	ok := true
	switch {
	case k == "SIZE" && x.Size:
		e.Size, ok = parseSize(v)
	case k == "BODY" && (x.EightBit || x.Binary):
		e.Body, ok = parseBody(v, x)
	case k == "SMTPUTF8" && x.UTF8:
		e.UTF8, ok = true, !has
	case k == "RET" && x.DSN:
		e.Return = strings.ToUpper(v)
		ok = e.Return == "FULL" || e.Return == "HDRS"
	case k == "ENVID" && x.DSN:
		e.EnvelopeID, ok = parseEnvelopeID(v)
	case k == "BY" && x.DeliverBy:
		m.By, ok = parseBy(v)
	case (k == "HOLDFOR" || k == "HOLDUNTIL") && x.FutureRelease:
		return m.hold(k, v)
	case k == "MT-PRIORITY" && x.Priority:
		e.Priority, ok = parsePriority(v)
	case k == "REQUIRETLS" && x.RequireTLS:
		e.RequireTLS, ok = true, !has
	case k == "AUTH" && x.Auth:
		m.Auth, ok = DecodeXtext(v)
		ok = ok && isPrintable(m.Auth)
	default:
		return unknownParam(k)
	}
	if !ok {
		return badParam(k)
	}
	return nil
}

// parseSize reads up to 20 digits (RFC 1870 §5); what no int64 holds is the largest.
func parseSize(v string) (int64, bool) {
	n, err := strconv.ParseUint(v, 10, 64)
	return int64(min(n, math.MaxInt64)), err == nil || errors.Is(err, strconv.ErrRange) && len(v) <= 20
}

func parseBody(v string, x Extensions) (mail.Body, bool) {
	switch strings.ToUpper(v) {
	case "7BIT":
		return mail.Body7Bit, true
	case "8BITMIME":
		return mail.Body8BitMIME, x.EightBit
	case "BINARYMIME":
		return mail.BodyBinaryMIME, x.Binary
	}
	return 0, false
}

// parsePriority reads priority-value: -9 to 9, without a plus and without needless zeros (RFC 6710 §4.1).
func parsePriority(v string) (int8, bool) {
	n, err := strconv.ParseInt(v, 10, 8)
	return int8(n), err == nil && n >= -9 && n <= 9 && strconv.FormatInt(n, 10) == v
}

func (r *Rcpt) param(k, v string, x Extensions, utf8 bool) error {
	ok := true
	switch {
	case k == "NOTIFY" && x.DSN:
		r.Recipient.Notify, ok = parseNotify(v)
	case k == "ORCPT" && x.DSN:
		r.Recipient.Original, ok = parseOriginal(v, utf8)
	default:
		return unknownParam(k)
	}
	if !ok {
		return badParam(k)
	}
	return nil
}

// isPrintable tells whether s is of printable ASCII, spaces included.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

func unknownParam(k string) error {
	return Fail(555, mail.Unsupported, mail.Enhanced{5, 5, 4}, "parameter %s not supported", k)
}

func badParam(k string) error { return argError("bad value of parameter %s", k) }
