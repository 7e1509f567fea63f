package mta

import (
	"context"
	"io"
	"time"

	"postel/internal/directory"
	"postel/internal/dsn"
	"postel/internal/mail"
	"postel/internal/message"
)

// reportKeeps is how long an address is suppressed on the word of a report that came: what it says can be forged.
const reportKeeps = 90 * 24 * time.Hour

// maxReportStatus bounds what is read of the status of a report, in octets.
const maxReportStatus = 256 << 10

// readReports looks into what comes with the null sender to an address that names a recipient (VERP) of a bulk sender of
// ours: a report of a hard bounce puts that recipient on the suppression list. The recipients that the report itself names
// count for nothing, as forwards change them and anybody can write them; and a report has one recipient, so that nobody
// forges one for a thousand.
func (m *MTA) readReports(ctx context.Context, in Incoming) {
	if m.o.Suppress == nil || in.Submitted || !in.Envelope.From.IsNull() || len(in.Envelope.Recipients) != 1 || !in.Message.Root().Is("multipart/report") {
		return
	}
	to, ok := m.namedBy(ctx, in.Envelope.Recipients[0].Address)
	if !ok {
		return
	}
	failure, ok := failureIn(ctx, in.Message.Root(), in.Message.Open)
	if !ok {
		return
	}
	s := directory.Suppression{Address: to, Source: directory.ByReport, Reason: failure.Diagnostic, Since: m.o.Clock()}
	if s.Reason == "" {
		s.Reason = failure.Status.String()
	}
	s.Expires = s.Since.Add(reportKeeps)
	m.addSuppression(ctx, s, "m-"+in.Message.ID().String())
}

// namedBy gives the recipient that an address of one of our bulk senders names.
func (m *MTA) namedBy(ctx context.Context, a mail.Address) (mail.Address, bool) {
	to, ok := mail.NamedByVERP(a)
	if !ok {
		return to, false
	}
	t, err := m.o.Directory.Lookup(ctx, a)
	if err == nil && len(t.Alias) == 1 { // an alias that the account writes as
		t, err = m.o.Directory.Lookup(ctx, t.Alias[0])
	}
	if err != nil || t.Account == 0 {
		return to, false
	}
	acc, err := m.o.Directory.Account(ctx, t.Account)
	return to, err == nil && acc.Bulk && acc.VERP
}

// failureIn gives the first hard bounce that a report tells of (RFC 3464).
func failureIn(ctx context.Context, root *message.Part, open func(context.Context) (io.ReadCloser, error)) (failure dsn.RecipientStatus, ok bool) {
	for _, p := range root.Children {
		if !p.Is("message/delivery-status") && !p.Is("message/global-delivery-status") {
			continue
		}
		body, err := open(ctx)
		if err != nil {
			return failure, false
		}
		defer func() { _ = body.Close() }() // only read
		if _, err := io.CopyN(io.Discard, body, p.BodyStart); err != nil {
			return failure, false
		}
		s, err := dsn.Parse(message.DecodeReader(p.Encoding, io.LimitReader(body, min(p.Size(), maxReportStatus))))
		if err != nil {
			return failure, false
		}
		for _, r := range s.Recipients {
			if r.Action == dsn.Failed && directory.HardBounce(r.Reported()) {
				return r, true
			}
		}
		return failure, false // a report has one
	}
	return failure, false
}
