package message

import (
	"fmt"

	"postel/internal/mail"
)

// Check tells whether a header may be sent by our own users (RFC 5322 §3.6): every line is a field, no field is
// there more often than allowed, From is there once and names somebody, Sender names one mailbox and is there when
// From names several, and addresses, Date and message ids keep their grammar. Date and Message-ID may be missing;
// the submission server adds them. Errors have Kind Rejected and a text that names the field, with the status
// 5.6.0, or 5.1.7 for addresses of senders and 5.1.3 for those of recipients.
func (h *Header) Check() error {
	for i, f := range h.fields {
		if f.name == 0 {
			return rejected(mail.Enhanced{5, 6, 0}, "line %d of the header is no header field (RFC 5322 section 2.2)", i+1)
		}
	}
	for _, name := range []string{
		"From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Date", "Message-ID",
		"In-Reply-To", "References", "Subject",
	} {
		if n := h.Count(name); n > 1 {
			return rejected(mail.Enhanced{5, 6, 0}, "%d %s fields, only one is allowed (RFC 5322 section 3.6)", n, name)
		}
	}
	if err := h.checkAuthors(); err != nil {
		return err
	}
	for _, name := range []string{
		"Reply-To", "To", "Cc", "Bcc", "Resent-From", "Resent-Sender", "Resent-To",
		"Resent-Cc", "Resent-Bcc",
	} {
		for f := range h.Fields(name) {
			if _, err := checkAddresses(f, mail.Enhanced{5, 1, 3}); err != nil {
				return err
			}
		}
	}
	return h.checkIdentity()
}

// checkAuthors checks From and Sender (RFC 5322 §3.6.2).
func (h *Header) checkAuthors() error {
	if !h.Has("From") {
		return rejected(mail.Enhanced{5, 6, 0}, "the From field is missing (RFC 5322 section 3.6)")
	}
	code := mail.Enhanced{5, 1, 7}
	authors := 0
	for f := range h.Fields("From") {
		n, err := checkAddresses(f, code)
		if err != nil {
			return err
		}
		authors = n
	}
	if authors == 0 {
		return rejected(code, "the From field names nobody (RFC 5322 section 3.6.2)")
	}
	if authors > 1 && !h.Has("Sender") {
		return rejected(mail.Enhanced{5, 6, 0}, "From names several mailboxes, so a Sender field must name one (RFC 5322 section 3.6.2)")
	}
	for f := range h.Fields("Sender") {
		n, err := checkAddresses(f, code)
		if err != nil {
			return err
		}
		if n != 1 {
			return rejected(code, "the Sender field names %d mailboxes instead of one (RFC 5322 section 3.6.2)", n)
		}
	}
	return nil
}

// checkIdentity checks Date and the message ids.
func (h *Header) checkIdentity() error {
	for f := range h.Fields("Date") {
		if _, err := ParseDate(f.Value()); err != nil {
			return rejected(mail.Enhanced{5, 6, 0}, "the Date field is no date (RFC 5322 section 3.3)")
		}
	}
	for f := range h.Fields("Message-ID") {
		if !isMessageID(stripComments(f.Value())) {
			return rejected(mail.Enhanced{5, 6, 0}, "the Message-ID field is not <id@domain> (RFC 5322 section 3.6.4)")
		}
	}
	return nil
}

// checkAddresses gives the number of mailboxes that a field names.
func checkAddresses(f Field, code mail.Enhanced) (int, error) {
	p := addressParser{s: f.Value(), max: MaxAddresses}
	p.list()
	if p.flaw != "" {
		return 0, rejected(code, "the %s field has %s (RFC 5322 section 3.4)", f.Name(), p.flaw)
	}
	n := 0
	for _, a := range p.out {
		if a.Kind == Mailbox {
			n++
		}
	}
	return n, nil
}

func rejected(code mail.Enhanced, format string, args ...any) error {
	return &mail.Error{Op: "message.check", Kind: mail.Rejected, Code: code, Text: fmt.Sprintf(format, args...)}
}
