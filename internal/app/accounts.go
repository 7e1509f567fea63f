package app

import (
	"context"
	"iter"
	"strings"

	"postel/internal/admin"
	"postel/internal/config"
	"postel/internal/directory"
	dirlocal "postel/internal/directory/local"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/tool"
)

// A node manages accounts for the API: an account is rows of the directory and of the store, made in one commit.

func (n *node) openDirectory(ctx context.Context) (*dirlocal.Directory, error) {
	return dirlocal.New(ctx, dirlocal.Options{
		KV: n.kv, Clock: n.clock, Postmaster: n.Config.Admin, Recoverable: n.Dev != nil, Unchecked: n.Bare,
		Alone: !config.IsDatabase(n.Config.Storage),
	})
}

// quota gives the octets that an account may hold, for APPEND, or fails when there is no room; 0 is unlimited.
func (n *node) quota(ctx context.Context, id mail.AccountID, size int64) (int64, error) {
	if err := n.quotas.Room(ctx, id, size); err != nil {
		return 0, err
	}
	a, err := n.directory.Account(ctx, id)
	return a.Quota, err
}

// DomainUsage gives a domain and what its accounts hold together.
func (n *node) DomainUsage(ctx context.Context, name mail.Domain) (d directory.Domain, octets, messages int64, err error) {
	if d, err = n.directory.Domain(ctx, name); err != nil {
		return d, 0, 0, err
	}
	n.quotas.Forget(name)
	octets, messages, err = n.quotas.Domain(ctx, name)
	return d, octets, messages, err
}

// SetDomainLimits says what a domain's accounts may hold together.
func (n *node) SetDomainLimits(ctx context.Context, d mail.Domain, octets, messages int64) error {
	return n.directory.SetDomainLimits(ctx, d, octets, messages)
}

// SetQuota says what an account may hold, in octets; 0 is unlimited.
func (n *node) SetQuota(ctx context.Context, a mail.Address, octets int64) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.SetQuota(ctx, acc.ID, octets)
}

// SetDisabled takes an account out of use, or puts it back.
func (n *node) SetDisabled(ctx context.Context, a mail.Address, disabled bool) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.SetDisabled(ctx, acc.ID, disabled)
}

// AllowSendAs lets an account write as another address, or takes that back.
func (n *node) AllowSendAs(ctx context.Context, a, as mail.Address, allow bool) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.AllowSendAs(ctx, acc.ID, as, allow)
}

// SetBulk says whether an account is a bulk sender.
func (n *node) SetBulk(ctx context.Context, a mail.Address, bulk, verp bool) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.SetBulk(ctx, acc.ID, bulk, verp)
}

// Suppressions lists the recipients to whom bulk senders may not write.
func (n *node) Suppressions(ctx context.Context) iter.Seq2[directory.Suppression, error] {
	return n.directory.Suppressions(ctx)
}

// Suppress puts one on that list.
func (n *node) Suppress(ctx context.Context, s directory.Suppression) error {
	return n.directory.Suppress(ctx, s)
}

// Unsuppress takes one off it.
func (n *node) Unsuppress(ctx context.Context, a mail.Address) error {
	return n.directory.Unsuppress(ctx, a)
}

// makeSure makes what the configuration and the flags name and is not there yet.
func (n *node) makeSure(ctx context.Context) error {
	if err := n.unlessFull(n.resumeJobs(ctx)); err != nil {
		return err
	}
	for _, d := range n.Config.Domains {
		if err := n.unlessFull(n.ensureDomain(ctx, d)); err != nil {
			return err
		}
	}
	if n.Dev == nil {
		return nil
	}
	for _, a := range n.Dev.Accounts {
		if err := n.unlessFull(n.ensureAccount(ctx, a)); err != nil {
			return err
		}
	}
	if err := n.customersExist(ctx); err != nil {
		return err
	}
	return n.ensureCatcher(ctx)
}

// customersExist sees that the accounts of --odmr are there: nobody else could take the mail.
func (n *node) customersExist(ctx context.Context) error {
	for _, d := range n.Config.Domains {
		for _, a := range d.ODMR {
			if _, err := n.directory.AccountOf(ctx, a); mail.Is(err, mail.NotFound) {
				return tool.Fail(tool.Usage, "--odmr %s=%s: there is no such account; add it with --account", d.Name, a)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// unlessFull passes over what a full disk forbids, so that mail can be read meanwhile; the next start does it.
func (n *node) unlessFull(err error) error {
	if mail.Is(err, mail.Full) {
		n.Log.Error("not done, as the disk is full", "err", err)
		return nil
	}
	return err
}

func (n *node) ensureDomain(ctx context.Context, d config.Domain) error {
	err := n.directory.EnsureDomain(ctx, directory.Domain{
		Name: d.Name, Kind: directory.DomainKind(d.Kind), CatchAll: d.CatchAll, Quota: d.Quota, MaxMessages: d.Messages,
		ETRN: d.ETRN, ODMR: d.ODMR,
	})
	for name, targets := range d.Aliases {
		if err != nil {
			break
		}
		if !strings.Contains(name, "@") {
			name += "@" + string(d.Name)
		}
		var a mail.Address
		var to []mail.Address
		if a, err = mail.ParseAddress(name); err == nil {
			to, err = addresses(targets)
		}
		if err == nil {
			err = n.directory.SetAlias(ctx, a, to...) // who is taken out of the file gets no more
		}
	}
	return mail.Wrap("domain "+string(d.Name), err)
}

func addresses(list []string) ([]mail.Address, error) {
	var out []mail.Address
	for _, s := range list {
		a, err := mail.ParseAddress(s)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// ensureAccount makes an account of dev, with its domain, or sets the password of one that is there.
func (n *node) ensureAccount(ctx context.Context, a DevAccount) error {
	if err := n.directory.EnsureDomain(ctx, directory.Domain{Name: a.Address.Domain, Kind: directory.Local}); err != nil {
		return err
	}
	_, err := n.AddAccount(ctx, a.Address, a.Password, 0)
	if mail.Is(err, mail.Exists) {
		err = n.SetPassword(ctx, a.Address, a.Password)
	}
	return mail.Wrap("account "+a.Address.String(), err)
}

// ensureCatcher makes catch@ of the first domain, and leads catch@ of the others to it.
func (n *node) ensureCatcher(ctx context.Context) error {
	if !n.Dev.Catch {
		return nil
	}
	main := mail.Address{Local: "catch", Domain: n.Config.Domains[0].Name}
	// Any password opens it; this one also by SCRAM, for programs that insist on that.
	_, err := n.addAccount(ctx, dirlocal.NewAccount{Address: main, Password: "postel", Catcher: true})
	if err != nil && !mail.Is(err, mail.Exists) {
		return err
	}
	for _, d := range n.Config.Domains[1:] {
		if d.Kind != string(directory.Local) {
			continue
		}
		err := n.directory.AddAlias(ctx, mail.Address{Local: "catch", Domain: d.Name}, main)
		if err != nil && !mail.Is(err, mail.Exists) {
			return err
		}
	}
	acc, err := n.directory.AccountOf(ctx, main)
	n.catcher = acc.ID
	return err
}

// AddAccount makes an account with its mailboxes.
func (n *node) AddAccount(ctx context.Context, a mail.Address, password string, quota int64) (directory.Account, error) {
	if password == "" {
		return directory.Account{}, mail.E("app.account", mail.Invalid, "an account needs a password")
	}
	return n.addAccount(ctx, dirlocal.NewAccount{Address: a, Password: password, Quota: quota})
}

func (n *node) addAccount(ctx context.Context, a dirlocal.NewAccount) (directory.Account, error) {
	if _, err := n.directory.AccountOf(ctx, a.Address); err == nil { // before the costly hash; AddAccount decides
		return directory.Account{}, mail.E("app.account", mail.Exists, "the address %s is taken", a.Address)
	}
	p, err := n.directory.PrepareAccount(ctx, a)
	if err != nil {
		return directory.Account{}, err
	}
	err = n.directory.Update(ctx, kv.Txn{Lock: p.Locks()}, func(tx kv.Tx) error {
		if err := n.directory.AddAccount(tx, p); err != nil {
			return err
		}
		return n.store.InitAccount(tx, p.ID())
	})
	return p.Account(), err
}

// RemoveAccount takes the account out of the directory, so that nothing comes in any more, then removes its mail.
func (n *node) RemoveAccount(ctx context.Context, a mail.Address) error {
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	err = n.directory.Update(ctx, kv.Txn{Lock: dirlocal.Locks(acc.ID), Frees: true}, func(tx kv.Tx) error { return n.directory.RemoveAccount(tx, acc.ID) })
	if err != nil {
		return err
	}
	err = n.store.DeleteAccount(ctx, acc.ID)
	n.quotas.Forget(a.Fold().Domain)
	return err
}

// SetPassword changes the password of an account.
func (n *node) SetPassword(ctx context.Context, a mail.Address, password string) error {
	if password == "" {
		return mail.E("app.password", mail.Invalid, "an account needs a password")
	}
	acc, err := n.directory.AccountOf(ctx, a)
	if err != nil {
		return err
	}
	return n.directory.SetPassword(ctx, acc.ID, password)
}

// Accounts lists the accounts.
func (n *node) Accounts(ctx context.Context) iter.Seq2[directory.Account, error] {
	return n.directory.Accounts(ctx)
}

// AccountOf gives the account whose address this is.
func (n *node) AccountOf(ctx context.Context, a mail.Address) (directory.Account, error) {
	return n.directory.AccountOf(ctx, a)
}

// Domains lists the domains.
func (n *node) Domains(ctx context.Context) ([]directory.Domain, error) {
	return n.directory.Domains(ctx)
}

// AddDomain adds a domain.
func (n *node) AddDomain(ctx context.Context, d directory.Domain) error {
	return n.directory.AddDomain(ctx, d)
}

// RemoveDomain removes a domain.
func (n *node) RemoveDomain(ctx context.Context, d mail.Domain) error {
	return n.directory.RemoveDomain(ctx, d)
}

// AddAlias leads an address to others.
func (n *node) AddAlias(ctx context.Context, a mail.Address, to []mail.Address) error {
	return n.directory.AddAlias(ctx, a, to...)
}

// RemoveAlias removes an alias.
func (n *node) RemoveAlias(ctx context.Context, a mail.Address) error {
	return n.directory.RemoveAlias(ctx, a)
}

// Aliases lists the aliases.
func (n *node) Aliases(ctx context.Context) iter.Seq2[admin.Alias, error] {
	return func(yield func(admin.Alias, error) bool) {
		for a, err := range n.directory.Aliases(ctx) {
			if !yield(admin.Alias(a), err) {
				return
			}
		}
	}
}

// Resolve says where mail for an address ends.
func (n *node) Resolve(ctx context.Context, a mail.Address) ([]mail.Address, error) {
	return n.directory.Resolve(ctx, a)
}
