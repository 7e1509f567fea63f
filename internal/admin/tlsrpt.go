package admin

import (
	"net/http"

	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
)

// TLSReport is what was counted of the TLS of sessions with the hosts of a domain on a day, as JSON.
type TLSReport struct {
	Day       string        `json:"day"`
	Domain    mail.Domain   `json:"domain"`
	Successes int64         `json:"successes"`
	Failures  int64         `json:"failures"`
	Policies  tlsrpt.Counts `json:"policies,omitempty"` // only where one is shown
}

func showTLS(d tlsrpt.Day, m mail.Domain, row tlsrpt.Row) TLSReport {
	sum := row.Counts.Total()
	return TLSReport{Day: d.String(), Domain: m, Successes: sum.Successes, Failures: sum.Failures}
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
	domain := mail.Domain(q.Get("domain"))
	return lines(w, func(yield func(TLSReport, error) bool) {
		stop := mail.E("admin.tlsrpt", mail.Canceled, "")
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

// showTLSReport answers all that was counted for one domain and day.
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
	out.Policies = row.Counts
	return answer(w, out)
}
