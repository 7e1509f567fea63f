package admin

import (
	"net/http"

	"postel/internal/mail"
)

// Secret is a shared secret as JSON. Secret is told when it is made, and never again.
type Secret struct {
	Address string `json:"address,omitempty"`
	For     string `json:"for"`
	Secret  string `json:"secret,omitempty"`
}

func (a *api) newSecret(w http.ResponseWriter, r *http.Request) error {
	var in Secret
	if err := read(r, &in); err != nil {
		return err
	}
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return err
	}
	secret, err := a.Accounts.NewSecret(r.Context(), addr, in.For)
	if err != nil {
		return err
	}
	return answer(w, Secret{Address: addr.String(), For: in.For, Secret: secret})
}

func (a *api) removeSecret(w http.ResponseWriter, r *http.Request) error {
	return a.byAddress(w, r, "removed", func(addr mail.Address) error { return a.Accounts.RemoveSecret(r.Context(), addr) })
}
