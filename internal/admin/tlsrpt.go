package admin

import (
	"net/http"
	"time"

	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
)

// TLSReport is what was counted of the TLS of sessions with the hosts of a domain on a day, and what has become of the
// report on it, as JSON.
type TLSReport struct {
	Day       string         `json:"day"`
	Domain    mail.Domain    `json:"domain"`
	Successes int64          `json:"successes"`
	Failures  int64          `json:"failures"`
	State     string         `json:"state"`            // "waiting", "sent", "unwanted" or "dropped"
	Why       string         `json:"why,omitempty"`    // it is so
	At        time.Time      `json:"at,omitzero"`      // it became so
	Next      time.Time      `json:"next,omitzero"`    // the next attempt, when one failed
	Sent      []string       `json:"sent,omitempty"`   // the addresses that have it
	Report    *tlsrpt.Report `json:"report,omitempty"` // only where one is shown
}

func showTLS(d tlsrpt.Day, m mail.Domain, row tlsrpt.Row) TLSReport {
	sum := row.Counts.Total()
	return TLSReport{Successes: sum.Successes, Failures: sum.Failures}.with(d, m, row.Sending)
}

func (t TLSReport) with(d tlsrpt.Day, m mail.Domain, s tlsrpt.Sending) TLSReport {
	t.Day, t.Domain, t.Why, t.At, t.Next, t.Sent = d.String(), m, s.Why, s.At.UTC(), s.Next.UTC(), s.Done
	if t.State = string(s.State); s.State == tlsrpt.Waiting {
		t.State = "waiting"
	}
	return t
}

// listTLSReports answers what was counted, the newest day first.
func (a *api) listTLSReports(w http.ResponseWriter, r *http.Request) error {
	from, to := a.TLS.Today()-tlsrpt.KeptDays, a.TLS.Today()
	q := r.URL.Query()
	if s := q.Get("day"); s != "" {
		d, err := tlsrpt.ParseDay(s)
		if err != nil {
			return err
		}
		from, to = d, d
	}
	domain, err := anyDomain(q.Get("domain"))
	if err != nil {
		return err
	}
	return lines(w, func(yield func(TLSReport, error) bool) {
		stop := mail.E("admin.tlsrpt", mail.Canceled, "the client went away")
		err := a.TLS.Each(r.Context(), from, to, func(d tlsrpt.Day, m mail.Domain, row tlsrpt.Row) error {
			if (domain == "" || m == domain) && !yield(showTLS(d, m, row), nil) {
				return stop
			}
			return nil
		})
		if err != nil && err != stop { //nolint:errorlint // it is our own
			yield(TLSReport{}, err)
		}
	}, func(t TLSReport) TLSReport { return t })
}

// anyDomain reads a domain; "" is any.
func anyDomain(s string) (mail.Domain, error) {
	if s == "" {
		return "", nil
	}
	return mail.ParseDomain(s)
}

// showTLSReport answers the report to one domain on a day, as it is or would be sent.
func (a *api) showTLSReport(w http.ResponseWriter, r *http.Request) error {
	d, err := tlsrpt.ParseDay(r.PathValue("day"))
	if err != nil {
		return err
	}
	m, err := mail.ParseDomain(r.PathValue("domain"))
	if err != nil {
		return err
	}
	row, err := a.TLS.Row(r.Context(), d, m)
	if err != nil {
		return err
	}
	out := showTLS(d, m, row)
	out.Report = a.TLS.Report(d, m, row, time.Now())
	return answer(w, out)
}

// SendTLS says which reports are sent at once.
type SendTLS struct {
	Day    string `json:"day"`
	Domain string `json:"domain,omitempty"` // "": all
}

// sendTLSReports sends the reports of a day, and answers what became of each.
func (a *api) sendTLSReports(w http.ResponseWriter, r *http.Request) error {
	var in SendTLS
	if err := read(r, &in); err != nil {
		return err
	}
	d, err := tlsrpt.ParseDay(in.Day)
	if err != nil {
		return err
	}
	domain, err := anyDomain(in.Domain)
	if err != nil {
		return err
	}
	return lines(w, func(yield func(TLSReport, error) bool) {
		gone := false
		err := a.TLS.Send(r.Context(), d, domain, func(m mail.Domain, s tlsrpt.Sending) {
			told := TLSReport{Successes: s.Told.Successes, Failures: s.Told.Failures}.with(d, m, s)
			gone = gone || !yield(told, nil)
		})
		if err != nil && !gone {
			yield(TLSReport{}, err)
		}
	}, func(t TLSReport) TLSReport { return t })
}
