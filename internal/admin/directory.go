package admin

import (
	"net/http"

	"postel/internal/directory"
	"postel/internal/mail"
)

// Domain is a domain as JSON.
type Domain struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	CatchAll string `json:"catchall,omitempty"`
	Quota    int64  `json:"quota,omitempty"`        // octets of all its accounts
	Messages int64  `json:"max_messages,omitempty"` // of all its accounts
	// ETRN are the networks and accounts that may have its queued mail sent at once.
	ETRN []string `json:"etrn,omitempty"`
	// ODMR are the accounts that take its mail by ATRN; its kind is relay then.
	ODMR []string `json:"odmr,omitempty"`
}

// Account is an account as JSON; Password only when it is made.
type Account struct {
	Address   string   `json:"address"`
	Password  string   `json:"password,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Quota     int64    `json:"quota,omitempty"` // octets
	Used      int64    `json:"used"`            // octets
	Messages  int64    `json:"messages"`
	Disabled  bool     `json:"disabled,omitempty"`
	Bulk      bool     `json:"bulk,omitempty"`    // it sends to many
	VERP      bool     `json:"verp,omitempty"`    // from an address of its own to each recipient
	SendAs    []string `json:"send_as,omitempty"` // others that it may write as
}

// AliasJSON is an alias as JSON.
type AliasJSON struct {
	Address string   `json:"address"`
	To      []string `json:"to"`
}

func (a *api) listDomains(w http.ResponseWriter, r *http.Request) error {
	list, err := a.Accounts.Domains(r.Context())
	if err != nil {
		return err
	}
	return lines(w, each(list), domainJSON)
}

func domainJSON(d directory.Domain) Domain {
	return Domain{
		Name: d.Name.Unicode(), Kind: string(d.Kind), CatchAll: d.CatchAll.String(), Quota: d.Quota, Messages: d.MaxMessages,
		ETRN: d.ETRN.Strings(), ODMR: texts(d.ODMR),
	}
}

func (a *api) addDomain(w http.ResponseWriter, r *http.Request) error {
	var in Domain
	if err := read(r, &in); err != nil {
		return err
	}
	d := directory.Domain{Kind: directory.DomainKind(in.Kind), Quota: in.Quota, MaxMessages: in.Messages}
	var err error
	if d.Name, err = mail.ParseDomain(in.Name); err != nil {
		return err
	}
	for _, s := range in.ODMR {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return err
		}
		d.ODMR = append(d.ODMR, a)
	}
	switch {
	case d.Kind != "":
	case len(d.ODMR) > 0:
		d.Kind = directory.Relay
	default:
		d.Kind = directory.Local
	}
	if d.Kind != directory.Local && d.Kind != directory.Relay {
		return mail.E("admin.domain", mail.Invalid, "kind is local or relay")
	}
	if d.ETRN, err = mail.ParseCallers(in.ETRN); err != nil {
		return err
	}
	if in.CatchAll != "" {
		if d.CatchAll, err = mail.ParseAddress(in.CatchAll); err != nil {
			return err
		}
	}
	if err := a.Accounts.AddDomain(r.Context(), d); err != nil {
		return err
	}
	out := domainJSON(d)
	out.Name = string(d.Name)
	return answer(w, out)
}

func (a *api) removeDomain(w http.ResponseWriter, r *http.Request) error {
	d, err := mail.ParseDomain(r.PathValue("name"))
	if err == nil {
		err = a.Accounts.RemoveDomain(r.Context(), d)
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{"removed": string(d)})
}

// accountOf gives the account that a request names by its address.
func (a *api) accountOf(r *http.Request) (directory.Account, error) {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return directory.Account{}, err
	}
	return a.Accounts.AccountOf(r.Context(), addr)
}

func (a *api) listAccounts(w http.ResponseWriter, r *http.Request) error {
	return lines(w, a.Accounts.Accounts(r.Context()), func(acc directory.Account) Account {
		return a.account(r, acc)
	})
}

// account shows an account with what it uses; a failure to count shows none.
func (a *api) account(r *http.Request, acc directory.Account) Account {
	out := Account{Address: acc.Address.String(), Quota: acc.Quota, Disabled: acc.Disabled, Bulk: acc.Bulk, VERP: acc.VERP, Addresses: texts(acc.Addresses), SendAs: texts(acc.SendAs)}
	out.Used, out.Messages, _ = a.Store.Usage(r.Context(), acc.ID)
	return out
}

func (a *api) addAccount(w http.ResponseWriter, r *http.Request) error {
	var in Account
	if err := read(r, &in); err != nil {
		return err
	}
	addr, err := mail.ParseAddress(in.Address)
	if err != nil {
		return err
	}
	acc, err := a.Accounts.AddAccount(r.Context(), addr, in.Password, in.Quota)
	if err != nil {
		return err
	}
	return answer(w, a.account(r, acc))
}

func (a *api) removeAccount(w http.ResponseWriter, r *http.Request) error {
	return a.byAddress(w, r, "removed", func(addr mail.Address) error { return a.Accounts.RemoveAccount(r.Context(), addr) })
}

func (a *api) setPassword(w http.ResponseWriter, r *http.Request) error {
	var in Account
	if err := read(r, &in); err != nil {
		return err
	}
	return a.byAddress(w, r, "changed", func(addr mail.Address) error {
		return a.Accounts.SetPassword(r.Context(), addr, in.Password)
	})
}

// disable takes an account out of use, or puts it back.
func (a *api) disable(w http.ResponseWriter, r *http.Request) error {
	return a.byAddress(w, r, "changed", func(addr mail.Address) error {
		return a.Accounts.SetDisabled(r.Context(), addr, r.Method == http.MethodPut)
	})
}

// allowSendAs lets an account write as another address, or takes that back.
func (a *api) allowSendAs(w http.ResponseWriter, r *http.Request) error {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return err
	}
	as, err := mail.ParseAddress(r.PathValue("as"))
	if err == nil {
		err = a.Accounts.AllowSendAs(r.Context(), addr, as, r.Method == http.MethodPut)
	}
	if err != nil {
		return err
	}
	acc, err := a.Accounts.AccountOf(r.Context(), addr)
	if err != nil {
		return err
	}
	return answer(w, a.account(r, acc))
}

func (a *api) listAliases(w http.ResponseWriter, r *http.Request) error {
	return lines(w, a.Accounts.Aliases(r.Context()), func(al Alias) AliasJSON {
		return AliasJSON{Address: al.Address.String(), To: texts(al.To)}
	})
}

func (a *api) addAlias(w http.ResponseWriter, r *http.Request) error {
	var in AliasJSON
	if err := read(r, &in); err != nil {
		return err
	}
	addr, err := mail.ParseAddress(in.Address)
	if err != nil {
		return err
	}
	var to []mail.Address
	for _, s := range in.To {
		t, err := mail.ParseAddress(s)
		if err != nil {
			return err
		}
		to = append(to, t)
	}
	if len(to) == 0 {
		return mail.E("admin.alias", mail.Invalid, "an alias leads to at least one address")
	}
	if err := a.Accounts.AddAlias(r.Context(), addr, to); err != nil {
		return err
	}
	return answer(w, AliasJSON{Address: addr.String(), To: texts(to)})
}

func (a *api) removeAlias(w http.ResponseWriter, r *http.Request) error {
	return a.byAddress(w, r, "removed", func(addr mail.Address) error { return a.Accounts.RemoveAlias(r.Context(), addr) })
}

func (a *api) resolveAlias(w http.ResponseWriter, r *http.Request) error {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err != nil {
		return err
	}
	to, err := a.Accounts.Resolve(r.Context(), addr)
	if err != nil {
		return err
	}
	return answer(w, AliasJSON{Address: addr.String(), To: texts(to)})
}

// byAddress carries out a change of the address in the path.
func (a *api) byAddress(w http.ResponseWriter, r *http.Request, done string, change func(mail.Address) error) error {
	addr, err := mail.ParseAddress(r.PathValue("address"))
	if err == nil {
		err = change(addr)
	}
	if err != nil {
		return err
	}
	return answer(w, map[string]string{done: addr.String()})
}

func texts(list []mail.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}
