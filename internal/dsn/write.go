package dsn

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
)

// WriteTo writes the report with CRLF line ends. original is the message as we hold it, nil when it is gone; it is
// read up to the limit. Errors: Kind Invalid for a report that lacks what it needs, else those of w and original.
func (r *Report) WriteTo(w io.Writer, original io.Reader) (Written, error) {
	if err := r.check(); err != nil {
		return Written{}, err
	}
	limit := r.Limit
	if limit <= 0 {
		limit = DefaultLimit
	}
	o, err := readOriginal(original, r.wanted(), limit)
	if err != nil {
		return Written{}, mail.Wrap("dsn.report", err)
	}
	utf8 := r.UTF8 && (r.needsUTF8() || o.utf8) || !r.From.ASCII() || !r.To.ASCII()
	boundary := r.Boundary
	if boundary == "" {
		boundary = "=_" + rand.Text()
	}
	b := r.assemble(o, boundary, utf8, original != nil)
	if !utf8 && !r.Stays && !isASCII(string(b)) && !converts(b) {
		o.sealed = true
		b = r.assemble(o, boundary, utf8, true)
	}
	done := Written{Size: int64(len(b)), UTF8: utf8}
	if !isASCII(string(b)) {
		done.Body = mail.Body8BitMIME
	}
	_, err = w.Write(b)
	return done, mail.Wrap("dsn.report", err)
}

// converts tells whether a server without 8BITMIME can be given the report. Nobody is told of one that comes to nothing,
// so it must not fail for what failed before it: a multipart/signed part with octets above 127.
func converts(report []byte) bool {
	_, err := message.Recode(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(report)), nil }, message.SevenBit)
	return err == nil
}

// assemble gives the report, with the part for the original if there is any.
func (r *Report) assemble(o original, boundary string, utf8, returns bool) []byte {
	var b bytes.Buffer
	r.writeHeader(&b, boundary, utf8)
	r.writeText(&b, boundary, o)
	r.writeStatus(&b, boundary, utf8)
	if returns {
		mediaType, encoding, body := o.part(utf8)
		description := "Undelivered message"
		if a := r.worst(); a != Failed && a != Delayed {
			description = "Message"
		}
		writePart(&b, boundary, mediaType, encoding, description)
		b.Write(body)
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

// writeHeader writes the header of the report (RFC 3464 §2, RFC 3834 §3.1.7 for Auto-Submitted).
func (r *Report) writeHeader(b *bytes.Buffer, boundary string, utf8 bool) {
	name := r.FromName
	if name == "" {
		name = "Mail Delivery System"
	}
	kind := "delivery-status"
	if utf8 {
		kind = "global-delivery-status"
	}
	var h message.Header
	h.Add("Date", message.FormatDate(r.Date))
	h.Add("From", message.FormatAddressList([]message.Address{{Name: name, Local: r.From.Local, Host: string(r.From.Domain)}}))
	h.Add("To", r.To.String())
	h.AddText("Subject", r.subject())
	h.Add("Message-ID", r.MessageID)
	h.Add("Auto-Submitted", "auto-replied")
	h.Add("MIME-Version", "1.0")
	h.Add("Content-Type", "multipart/report; report-type="+kind+";\r\n\tboundary=\""+boundary+"\"")
	b.WriteString(h.String())
	b.WriteString("This is a delivery status notification in MIME format (RFC 3464).\r\n")
}

func (r *Report) subject() string {
	l := in(r.Languages)[0]
	switch r.worst() {
	case Failed:
		return l.failed
	case Delayed:
		return l.delayed
	}
	return l.success
}

func writePart(b *bytes.Buffer, boundary, mediaType, encoding, description string, more ...string) {
	fmt.Fprintf(b, "\r\n--%s\r\nContent-Type: %s\r\n", boundary, mediaType)
	if description != "" {
		fmt.Fprintf(b, "Content-Description: %s\r\n", description)
	}
	if encoding != "7bit" {
		fmt.Fprintf(b, "Content-Transfer-Encoding: %s\r\n", encoding)
	}
	for _, field := range more {
		b.WriteString(field + "\r\n")
	}
	b.WriteString("\r\n")
}

// writeText writes the part for people, in quoted-printable unless it is ASCII, so that it needs nothing of the
// transport and can still be read as it stands (RFC 2045 §6.7).
func (r *Report) writeText(b *bytes.Buffer, boundary string, o original) {
	text := strings.ReplaceAll(r.text(o), "\n", "\r\n")
	mediaType, encoding := "text/plain; charset=utf-8", "quoted-printable"
	if isASCII(text) {
		mediaType, encoding = "text/plain; charset=us-ascii", "7bit"
	}
	var tags []string
	for _, l := range in(r.Languages) {
		tags = append(tags, l.tag)
	}
	writePart(b, boundary, mediaType, encoding, "Notification", "Content-Language: "+strings.Join(tags, ", ")) // RFC 3282 §2
	if encoding == "7bit" {
		b.WriteString(text)
		return
	}
	w := quotedprintable.NewWriter(b)
	_, _ = io.WriteString(w, text) // into memory
	_ = w.Close()
}

// writeStatus writes the part for programs: fields of the message, then a block for each recipient (RFC 3464 §2.1).
func (r *Report) writeStatus(b *bytes.Buffer, boundary string, utf8 bool) {
	f := fields{b: new(bytes.Buffer), utf8: utf8}
	f.put("Original-Envelope-Id", r.EnvelopeID)
	f.put("Reporting-MTA", "dns; "+string(r.ReportingMTA))
	if r.ReceivedFrom != "" {
		f.put("Received-From-MTA", "dns; "+r.ReceivedFrom)
	}
	f.date("Arrival-Date", r.Arrival)
	for _, c := range r.Recipients {
		f.b.WriteString("\r\n")
		f.recipient(c)
	}
	mediaType, encoding := "message/delivery-status", "7bit"
	if utf8 {
		mediaType = "message/global-delivery-status"
	}
	if !isASCII(f.b.String()) {
		encoding = "8bit"
	}
	writePart(b, boundary, mediaType, encoding, "Delivery report")
	b.Write(f.b.Bytes())
}

// fields writes the fields of a status.
type fields struct {
	b    *bytes.Buffer
	utf8 bool
}

func (f fields) recipient(c Recipient) {
	if c.Original != "" {
		f.original(c.Original)
	}
	if c.Final.ASCII() {
		f.put("Final-Recipient", "rfc822; "+c.Final.String())
	} else {
		f.put("Final-Recipient", "utf-8; "+f.address(c.Final.String()))
	}
	f.put("Action", string(c.Action))
	f.put("Status", c.Status.String())
	if c.RemoteMTA != "" {
		f.put("Remote-MTA", "dns; "+c.RemoteMTA)
	}
	if c.Diagnostic != "" {
		f.put("Diagnostic-Code", "smtp; "+c.Diagnostic)
	}
	f.date("Last-Attempt-Date", c.LastAttempt)
	if c.Action == Delayed {
		f.date("Will-Retry-Until", c.WillRetry)
	}
}

// original writes ORCPT; an address that is not ASCII becomes one of the type utf-8 (RFC 6533 §3).
func (f fields) original(orcpt string) {
	kind, addr, ok := strings.Cut(orcpt, ";")
	if !ok {
		kind, addr = "rfc822", orcpt
	}
	if !isASCII(addr) {
		kind, addr = "utf-8", f.address(addr)
	}
	f.put("Original-Recipient", kind+"; "+strings.TrimSpace(addr))
}

// address gives an address of the type utf-8: itself where UTF-8 may go, else utf-8-addr-xtext (RFC 6533 §3).
func (f fields) address(s string) string {
	if f.utf8 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r > ' ' && r < 0x7f && r != '\\' && r != '+' && r != '=' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

func (f fields) date(name string, t time.Time) {
	if !t.IsZero() {
		f.put(name, message.FormatDate(t))
	}
}

// put writes a field on lines of its own, folded; an empty value is no field. Text that may not go into a header
// loses what is not ASCII.
func (f fields) put(name, value string) {
	if value == "" {
		return
	}
	if value = oneLine(value); !f.utf8 {
		value = strings.Map(func(r rune) rune {
			if r >= 0x80 {
				return '?'
			}
			return r
		}, value)
	}
	f.b.WriteString(name + ": " + message.FoldText(value, len(name)+2) + "\r\n")
}
