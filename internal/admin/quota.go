package admin

import (
	"net/http"

	"postel/internal/mail"
)

// Quota is what an account or a domain holds and may hold, as JSON. A limit of 0 is none.
type Quota struct {
	Address  string `json:"address,omitempty"`
	Domain   string `json:"domain,omitempty"`
	Quota    int64  `json:"quota"` // octets
	Used     int64  `json:"used"`
	Max      int64  `json:"max_messages"` // of a domain
	Messages int64  `json:"messages"`
}

// Limits is a change of limits as JSON; what is missing stays as it is, 0 is no limit.
type Limits struct {
	Quota    *int64 `json:"quota,omitempty"`
	Messages *int64 `json:"max_messages,omitempty"`
}

func (a *api) showQuota(w http.ResponseWriter, r *http.Request) error {
	acc, err := a.accountOf(r)
	if err != nil {
		return err
	}
	q := Quota{Address: acc.Address.String(), Quota: acc.Quota}
	if q.Used, q.Messages, err = a.Store.Usage(r.Context(), acc.ID); err != nil {
		return err
	}
	return answer(w, q)
}

func (a *api) setQuota(w http.ResponseWriter, r *http.Request) error {
	var in Limits
	if err := read(r, &in); err != nil {
		return err
	}
	if in.Messages != nil || in.Quota == nil {
		return mail.E("admin.quota", mail.Invalid, "an account's quota is a number of octets")
	}
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err == nil {
		err = a.Accounts.SetQuota(r.Context(), addr, *in.Quota)
	}
	if err != nil {
		return err
	}
	return a.showQuota(w, r)
}

func (a *api) showDomainQuota(w http.ResponseWriter, r *http.Request) error {
	name, err := mail.ParseDomain(r.PathValue("name"))
	if err != nil {
		return err
	}
	d, octets, messages, err := a.Accounts.DomainUsage(r.Context(), name)
	if err != nil {
		return err
	}
	return answer(w, Quota{Domain: string(d.Name), Quota: d.Quota, Used: octets, Max: d.MaxMessages, Messages: messages})
}

func (a *api) setDomainQuota(w http.ResponseWriter, r *http.Request) error {
	var in Limits
	if err := read(r, &in); err != nil {
		return err
	}
	name, err := mail.ParseDomain(r.PathValue("name"))
	if err != nil {
		return err
	}
	d, _, _, err := a.Accounts.DomainUsage(r.Context(), name)
	if err != nil {
		return err
	}
	if in.Quota != nil {
		d.Quota = *in.Quota
	}
	if in.Messages != nil {
		d.MaxMessages = *in.Messages
	}
	if err := a.Accounts.SetDomainLimits(r.Context(), d.Name, d.Quota, d.MaxMessages); err != nil {
		return err
	}
	return a.showDomainQuota(w, r)
}
