package tlsrpt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"postel/internal/dns"
	"postel/internal/mail"
)

// How reports are sent after their day (RFC 8460 §4.1, §5.5).
const (
	settle   = 5 * time.Minute // until every node has brought what it counted
	spread   = 4 * time.Hour   // within which the first attempts are
	tryAgain = 15 * time.Minute
	longest  = 4 * time.Hour  // between attempts
	giveUp   = 24 * time.Hour // after the first attempt
	lookAt   = 10 * time.Minute
	atOnce   = 8 // reports that are under way
)

// daily sends what is due, from time to time, until ctx ends.
func (r *Reporter) daily(ctx context.Context) {
	t := time.NewTicker(lookAt)
	defer t.Stop()
	for {
		r.o.Only(ctx, func() {
			if err := r.round(ctx); err != nil && ctx.Err() == nil {
				r.o.Log.Warn("reports on TLS cannot be looked after", "err", err)
			}
		})
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// round sends what is due now, and forgets what is old.
func (r *Reporter) round(ctx context.Context) error {
	now := r.o.Clock()
	today := DayOf(now)
	if err := r.o.Ledger.Forget(ctx, today-KeptDays); err != nil {
		return err
	}
	for d := today - KeptDays; d < today; d++ {
		if r.settled[d] {
			continue
		}
		waiting := 0
		due := func(m mail.Domain, row Row) bool {
			if row.Sending.State != Waiting {
				return false
			}
			waiting++
			return !r.due(d, m, row).After(now)
		}
		if err := r.sendAll(ctx, d, due, nil); err != nil {
			return err
		}
		if waiting == 0 && now.After(d.End().Add(spread)) { // all nodes have brought what they counted
			r.settled[d] = true
			delete(r.settled, d-KeptDays-1)
		}
	}
	return nil
}

// due is when a report is tried next: for the first time some hours after its day, at a moment that differs from domain
// to domain and from sender to sender, so that who takes many is not overrun (RFC 8460 §4.1).
func (r *Reporter) due(d Day, m mail.Domain, row Row) time.Time {
	if !row.Sending.Next.IsZero() {
		return row.Sending.Next
	}
	return d.End().Add(settle + time.Duration(hash(r.o.Hostname, string(m), d.String())%uint64(spread-settle)))
}

// sendAll sends the reports of a day that are wanted, some at once, and tells each.
func (r *Reporter) sendAll(ctx context.Context, d Day, wanted func(mail.Domain, Row) bool, tell func(mail.Domain, Sending)) error {
	var domains []mail.Domain
	err := r.o.Ledger.Rows(ctx, d, func(m mail.Domain, row Row) error {
		if wanted(m, row) {
			domains = append(domains, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	type outcome struct {
		m   mail.Domain
		s   Sending
		err error
	}
	out, places := make(chan outcome, len(domains)), make(chan struct{}, atOnce)
	for _, m := range domains {
		places <- struct{}{}
		go func() {
			s, err := r.send(ctx, d, m)
			out <- outcome{m, s, err}
			<-places
		}()
	}
	for range domains {
		o := <-out
		if err = errors.Join(err, o.err); o.err == nil && tell != nil {
			tell(o.m, o.s)
		}
	}
	return err
}

// Send sends the reports of a day at once, to one domain, or to all where m is empty, and tells what became of each, one after the other.
// Those that were sent stay as they are. Of a day that is not over what was counted so far is sent, and
// not told again later. Kind NotFound without anything to report; Busy while another node sends; Unsupported where
// nothing can be looked up.
func (r *Reporter) Send(ctx context.Context, d Day, m mail.Domain, tell func(mail.Domain, Sending)) error {
	if r.o.Resolver == nil {
		return mail.E("tlsrpt.send", mail.Unsupported, "reports are sent by a running server")
	}
	if err := r.Flush(ctx); err != nil {
		return err
	}
	var err error = mail.E("tlsrpt.send", mail.Busy, "reports are being sent by another node: try again in a moment")
	r.o.Only(ctx, func() {
		found := false
		err = r.sendAll(ctx, d, func(name mail.Domain, row Row) bool {
			wanted := m == "" || name == m
			found = found || wanted
			if wanted && row.Sending.State == Sent {
				tell(name, row.Sending)
			}
			return wanted && row.Sending.State != Sent
		}, tell)
		if err == nil && !found {
			err = mail.E("tlsrpt.send", mail.NotFound, "no session was counted that could be reported for %s", d)
		}
	})
	return err
}

// send makes one attempt at a report, and keeps what came of it.
func (r *Reporter) send(ctx context.Context, d Day, m mail.Domain) (Sending, error) {
	row, err := r.o.Ledger.Row(ctx, d, m)
	if err != nil {
		return Sending{}, err
	}
	now := r.o.Clock()
	rep := r.Report(d, m, row, now)
	s := row.Sending
	s.State, s.ID, s.At = Waiting, rep.ID, now
	if s.Tries++; s.First.IsZero() {
		s.First = now
	}
	r.attempt(ctx, m, rep, &s)
	if ctx.Err() != nil {
		return s, ctx.Err() // it was given up: not the other side's fault
	}
	early := now.Before(d.End())
	err = r.o.Ledger.Change(context.WithoutCancel(ctx), d, m, func(row *Row) {
		switch {
		case !early:
			row.Sending = s
		case s.State == Sent: // the rest of the day is another report
			row.Counts.Sub(rep.Policies)
			row.Sending = Sending{Why: "what was counted before was sent", At: now, Told: s.Told}
		}
	})
	if err == nil {
		r.log(d, m, s)
	}
	return s, err
}

// attempt finds out who wants the report, and hands it over.
func (r *Reporter) attempt(ctx context.Context, m mail.Domain, rep *Report, s *Sending) {
	if len(rep.Policies) == 0 { // all of it was told before
		s.State, s.Next = Sent, time.Time{}
		return
	}
	rec, why, err := r.record(ctx, m)
	switch {
	case err != nil:
		s.retry(why)
		return
	case why != "":
		s.State, s.Why, s.Next = Unwanted, why, time.Time{}
		return
	case len(rec.HTTPS) == 0:
		s.State, s.Why, s.Next = Unwanted, "it is wanted by mail alone, which is not sent yet (RFC 8460 §3 wants it signed)", time.Time{}
		return
	}
	taken, why := r.handAll(ctx, slices.DeleteFunc(rec.HTTPS, func(a string) bool { return slices.Contains(s.Done, a) }), rep)
	s.Done = append(s.Done, taken...)
	if why != "" {
		s.retry(why)
		return
	}
	s.State, s.Why, s.Next, s.Told = Sent, "", time.Time{}, rep.Total()
}

// handAll hands the report to all addresses at the same time, so that those that hang cost no more than one; why tells of the last
// that did not take it, "" when all did.
func (r *Reporter) handAll(ctx context.Context, addresses []string, rep *Report) (taken []string, why string) {
	errs := make([]error, len(addresses))
	var all sync.WaitGroup
	for i, a := range addresses {
		all.Go(func() { errs[i] = r.hand(ctx, a, rep) })
	}
	all.Wait()
	for i, err := range errs {
		if err != nil {
			why = publicText(err)
			continue
		}
		taken = append(taken, addresses[i])
	}
	return taken, why
}

// record asks where a domain's owner wants reports; why is "" when there is such a place, and an error means that nobody
// can tell.
func (r *Reporter) record(ctx context.Context, m mail.Domain) (rec Record, why string, err error) {
	name := "_smtp._tls." + string(m)
	a, err := r.o.Resolver.Lookup(ctx, name, dns.TXT)
	switch {
	case mail.Is(err, mail.NotFound), mail.Is(err, mail.Invalid), err == nil && len(a.Records) == 0:
		return Record{}, name + " has no TXT record", nil
	case err != nil:
		return Record{}, name + " cannot be looked up", err
	}
	texts := make([]string, len(a.Records))
	for i, t := range a.Records {
		texts[i] = t.Text
	}
	rec, why, _ = ParseRecord(texts)
	return rec, why, nil
}

// retry puts it off, or gives it up when a day is over since the first attempt.
func (s *Sending) retry(why string) {
	s.Why = why
	last := s.First.Add(giveUp)
	if !s.At.Before(last) {
		s.State, s.Next = Dropped, time.Time{}
		return
	}
	s.Next = s.At.Add(min(longest, tryAgain<<min(s.Tries-1, 10)))
	if s.Next.After(last) {
		s.Next = last
	}
}

func (r *Reporter) log(d Day, m mail.Domain, s Sending) {
	switch {
	case s.State == Sent:
		r.o.Log.Info("a report on TLS was sent", "domain", m, "day", d, "to", s.Done)
	case s.State == Dropped:
		r.o.Log.Warn("a report on TLS could not be sent for a day and is given up", "domain", m, "day", d, "why", s.Why)
	}
}

// Report writes what was counted of a day, as far as it has gone, for the owner of a domain (RFC 8460 §4.4).
func (r *Reporter) Report(d Day, m mail.Domain, row Row, now time.Time) *Report {
	rep := &Report{
		Organization: r.o.Organization, Contact: r.o.Contact, ID: row.Sending.ID, Range: Range{d.Start(), d.End()}, Policies: row.Counts,
	}
	if early := now.UTC().Truncate(time.Second); early.Before(rep.Range.End) {
		rep.Range.End, rep.ID = early, ""
	}
	if rep.ID == "" { // the same for every attempt, so that who got it already can tell (§5.3)
		rep.ID = fmt.Sprintf("%d.%d.%s@%s", rep.Range.Start.Unix(), rep.Range.End.Unix(), m, r.o.Hostname)
	}
	return rep
}

// hash is FNV-1a over parts.
func hash(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ '!') * 1099511628211
	}
	return h
}

func publicText(err error) string {
	var e *mail.Error
	if errors.As(err, &e) && e.Text != "" {
		return e.Text
	}
	return err.Error()
}
