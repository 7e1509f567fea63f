package admin

import (
	"context"
	"encoding/json"
	"net/http"

	"postel/internal/check"
	"postel/internal/mail"
)

// Checker checks what is stored; app gives it.
type Checker func(ctx context.Context, q check.Request, tell func(mail.Finding) error) (check.Summary, error)

// CheckRequest asks for a check.
type CheckRequest struct {
	Repair  bool   `json:"repair"`
	Bodies  bool   `json:"bodies"`
	Account string `json:"account"` // an address; "" is everything
}

// CheckLine is one line of the answer: a finding, or at last the summary.
type CheckLine struct {
	*mail.Finding
	Summary *check.Summary `json:"summary,omitempty"`
	Failed  string         `json:"failed,omitempty"` // why the check ended before its end
}

func (a *api) check(w http.ResponseWriter, r *http.Request) error {
	var in CheckRequest
	if err := read(r, &in); err != nil {
		return err
	}
	q := check.Request{Repair: in.Repair, Bodies: in.Bodies}
	if in.Account != "" {
		acc, err := a.accountID(r.Context(), in.Account)
		if err != nil {
			return err
		}
		q.Account = acc
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	say := func(l CheckLine) error {
		if err := enc.Encode(l); err != nil {
			return &mail.Error{Op: "admin.check", Kind: mail.Canceled, Err: err}
		}
		return flush.Flush()
	}
	sum, err := a.Check(r.Context(), q, func(f mail.Finding) error { return say(CheckLine{Finding: &f}) })
	last := CheckLine{Summary: &sum}
	if err != nil {
		a.Log.ErrorContext(r.Context(), "check", "err", err)
		last.Failed = mail.KindOf(err).String()
	}
	return say(last)
}

// accountID finds an account by its address, as long as its rows can be read.
func (a *api) accountID(ctx context.Context, address string) (mail.AccountID, error) {
	addr, err := mail.ParseAddress(address)
	if err != nil {
		return 0, err
	}
	for acc, err := range a.Accounts.Accounts(ctx) {
		if err != nil {
			return 0, err
		}
		if acc.Address == addr.Fold() {
			return acc.ID, nil
		}
	}
	return 0, mail.E("admin.check", mail.NotFound, "there is no account %s", addr)
}
