package admin

import (
	"net/http"
	"time"

	"postel/internal/directory"
	"postel/internal/mail"
)

// Suppression is an entry of the suppression list as JSON.
type Suppression struct {
	Address string     `json:"address"`
	Source  string     `json:"source,omitempty"` // operator, bounce, report
	Reason  string     `json:"reason,omitempty"`
	Since   time.Time  `json:"since"`
	Expires *time.Time `json:"expires,omitempty"`
}

// Bulk says of an account whether it sends to many.
type Bulk struct {
	Bulk bool `json:"bulk"`
	VERP bool `json:"verp,omitempty"`
}

func suppressionJSON(s directory.Suppression) Suppression {
	out := Suppression{Address: s.Address.String(), Source: string(s.Source), Reason: s.Reason, Since: s.Since.UTC()}
	if !s.Expires.IsZero() {
		t := s.Expires.UTC()
		out.Expires = &t
	}
	return out
}

func (a *api) listSuppressions(w http.ResponseWriter, r *http.Request) error {
	return lines(w, a.Accounts.Suppressions(r.Context()), suppressionJSON)
}

func (a *api) addSuppression(w http.ResponseWriter, r *http.Request) error {
	var in Suppression
	if err := read(r, &in); err != nil {
		return err
	}
	addr, err := mail.ParseAddress(in.Address)
	if err != nil {
		return err
	}
	s := directory.Suppression{Address: addr.Fold(), Source: directory.ByOperator, Reason: in.Reason, Since: time.Now()}
	if in.Expires != nil {
		if s.Expires = *in.Expires; !s.Expires.After(s.Since) {
			return mail.E("admin.suppression", mail.Invalid, "the time of expiry has passed")
		}
	}
	if err := a.Accounts.Suppress(r.Context(), s); err != nil {
		return err
	}
	return answer(w, suppressionJSON(s))
}

func (a *api) removeSuppression(w http.ResponseWriter, r *http.Request) error {
	return a.byAddress(w, r, "removed", func(addr mail.Address) error { return a.Accounts.Unsuppress(r.Context(), addr) })
}

// setBulk says whether an account is a bulk sender.
func (a *api) setBulk(w http.ResponseWriter, r *http.Request) error {
	var in Bulk
	if err := read(r, &in); err != nil {
		return err
	}
	return a.byAddress(w, r, "changed", func(addr mail.Address) error {
		return a.Accounts.SetBulk(r.Context(), addr, in.Bulk, in.VERP)
	})
}
