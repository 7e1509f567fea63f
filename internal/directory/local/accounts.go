package local

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// NewAccount is an account to be made.
type NewAccount struct {
	Address  mail.Address
	Password string // empty: no one can log in until one is set
	Quota    int64  // octets; 0 is unlimited
	Catcher  bool   // takes any password
}

// Pending is an account that has an id and secrets but no rows yet.
type Pending struct {
	account
	secrets []secret
}

// ID gives the account's id, which belongs to it whether it is made or not.
func (p *Pending) ID() mail.AccountID { return p.account.ID }

// Locks gives the locks under which AddAccount is to run.
func (p *Pending) Locks() []kv.Key { return Locks(p.account.ID) }

// Account gives the account as it will be.
func (p *Pending) Account() directory.Account { return p.account.Account }

// PrepareAccount does what takes long before a transaction: it gives the account an id and hashes its password.
// Kinds: Invalid, TooLarge.
func (d *Directory) PrepareAccount(ctx context.Context, n NewAccount) (*Pending, error) {
	n.Address = n.Address.Fold()
	if err := checkAddress(n.Address); err != nil {
		return nil, err
	}
	if n.Quota < 0 {
		return nil, mail.E("directory.account", mail.Invalid, "a quota cannot be negative")
	}
	id, err := d.nextID(ctx)
	if err != nil {
		return nil, err
	}
	p := &Pending{}
	p.made = d.o.Clock()
	p.account.Account = directory.Account{
		ID: id, Address: n.Address, Addresses: []mail.Address{n.Address}, Quota: n.Quota, Catcher: n.Catcher,
	}
	if n.Password != "" {
		p.secrets, err = d.secrets(ctx, id, n.Password)
	}
	return p, err
}

// nextID counts accounts; an id is used at most once.
func (d *Directory) nextID(ctx context.Context) (id mail.AccountID, err error) {
	t := kv.Txn{Lock: []kv.Key{kv.LockServer()}, Read: []kv.Key{counterKey()}}
	err = d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		id = 1
		v, err := tx.Get(counterKey())
		switch {
		case err == nil && len(v) != 8:
			return damaged("sv")
		case err == nil:
			id = mail.AccountID(binary.BigEndian.Uint64(v))
		case !mail.Is(err, mail.NotFound):
			return err
		}
		tx.Set(counterKey(), kv.Key(nil).Account(id+1))
		return nil
	})
	return id, mail.Wrap("directory.account", err)
}

// AddAccount writes a pending account, in a transaction of Update; the caller holds p.Locks() and adds the mailboxes in the same transaction.
// Kinds: Exists for an address that is taken, NotFound or Denied for a domain that is not local.
func (d *Directory) AddAccount(tx kv.Tx, p *Pending) error {
	addr := p.Address
	dom, err := readDomain(tx, addr.Domain)
	if err != nil {
		return err
	}
	if dom.Kind != directory.Local {
		return mail.E("directory.account", mail.Denied, "the domain %s is relayed: it has no accounts here", dom.Name)
	}
	if err := vacant(tx, addr); err != nil {
		return err
	}
	tx.Set(addressKey(addr), entry{account: p.ID(), catcher: p.Catcher}.encode())
	tx.Set(accountKey(p.ID()), p.encode())
	for _, s := range p.secrets {
		tx.Set(credentialKey(p.ID(), s.kind), s.value)
	}
	d.coverage.changed(p.ID())
	return nil
}

// vacant tells whether an address has no row; Kind Exists.
func vacant(r kv.Reader, a mail.Address) error {
	_, err := r.Get(addressKey(a))
	switch {
	case err == nil:
		return mail.E("directory.address", mail.Exists, "the address %s is taken", a)
	case mail.Is(err, mail.NotFound):
		return nil
	}
	return err
}

// RemoveAccount removes an account's rows of the directory, in a transaction of Update; the caller holds Locks(id) and sees to its mail.
// Aliases that lead to it stay and lead nowhere. Kind NotFound.
func (d *Directory) RemoveAccount(tx kv.Tx, id mail.AccountID) error {
	a, err := readAccount(tx, id)
	if err != nil {
		return err
	}
	tx.Delete(addressKey(a.Address))
	tx.Delete(accountKey(id))
	for _, kind := range [...]uint8{kindHash, kindSCRAM, kindSealed, kindSCRAM1, kindShared} {
		tx.Delete(credentialKey(id, kind))
	}
	return nil
}

// Account gives an account by its id.
func (d *Directory) Account(ctx context.Context, id mail.AccountID) (directory.Account, error) {
	return d.accounts.get(id, func() (directory.Account, error) {
		var a account
		err := d.o.KV.View(ctx, []kv.Key{kv.LockAccount(id)}, func(r kv.Reader) (err error) {
			a, err = readAccount(r, id)
			return err
		})
		return a.Account, err
	})
}

func readAccount(r kv.Reader, id mail.AccountID) (account, error) {
	v, err := r.Get(accountKey(id))
	if mail.Is(err, mail.NotFound) {
		return account{}, mail.E("directory.account", mail.NotFound, "there is no such account")
	}
	if err != nil {
		return account{}, err
	}
	return decodeAccount(id, v)
}

// AccountOf gives the account whose main address this is. Kind NotFound, also for aliases.
func (d *Directory) AccountOf(ctx context.Context, a mail.Address) (directory.Account, error) {
	a = a.Fold()
	var e entry
	err := d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		if !plausible(a) {
			return unknown(a)
		}
		v, err := r.Get(addressKey(a))
		if err == nil {
			e, err = decodeEntry(v)
		}
		return err
	})
	if err != nil && !mail.Is(err, mail.NotFound) {
		return directory.Account{}, err
	}
	if e.account == 0 {
		return directory.Account{}, unknown(a)
	}
	return d.Account(ctx, e.account)
}

// SetQuota sets the octets an account may use; 0 is unlimited.
func (d *Directory) SetQuota(ctx context.Context, id mail.AccountID, octets int64) error {
	if octets < 0 {
		return mail.E("directory.quota", mail.Invalid, "a quota cannot be negative")
	}
	return d.change(ctx, id, func(a *account) { a.Quota = octets })
}

// SetDisabled says whether the account may log in and gets mail, which is refused with 5.2.1 while it is disabled. Its
// mail stays.
func (d *Directory) SetDisabled(ctx context.Context, id mail.AccountID, disabled bool) error {
	return d.change(ctx, id, func(a *account) { a.Disabled = disabled })
}

// maxSendAs is how many others an account may be allowed to write as.
const maxSendAs = 1000

// AllowSendAs lets an account write as another address, of whatever domain, or takes that back. Kinds: NotFound, also when
// there is nothing to take back; TooMany.
func (d *Directory) AllowSendAs(ctx context.Context, id mail.AccountID, as mail.Address, allow bool) error {
	as = as.Fold()
	var problem error
	err := d.change(ctx, id, func(a *account) {
		at := slices.Index(a.SendAs, as)
		problem = nil
		switch {
		case allow && len(a.SendAs) >= maxSendAs:
			problem = mail.E("directory.allow", mail.TooMany, "an account may write as %d others at most", maxSendAs)
		case allow && at < 0:
			a.SendAs = append(a.SendAs, as)
		case !allow && at < 0:
			problem = mail.E("directory.allow", mail.NotFound, "the account was not allowed to write as %s", as)
		case !allow:
			a.SendAs = slices.Delete(a.SendAs, at, at+1)
		}
	})
	if err == nil {
		err = problem
	}
	return err
}

func (d *Directory) change(ctx context.Context, id mail.AccountID, with func(*account)) error {
	t := kv.Txn{Lock: []kv.Key{kv.LockAccount(id)}, Read: []kv.Key{accountKey(id)}, Frees: true}
	return d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		a, err := readAccount(tx, id)
		if err != nil {
			return err
		}
		with(&a)
		tx.Set(accountKey(id), a.encode())
		return nil
	})
}

// SetPassword sets the password an account logs in with. Kinds: NotFound, Invalid, TooLarge.
func (d *Directory) SetPassword(ctx context.Context, id mail.AccountID, password string) error {
	secrets, err := d.secrets(ctx, id, password)
	if err != nil {
		return err
	}
	defer d.coverage.changed(id)
	t := kv.Txn{Lock: []kv.Key{kv.LockAccount(id)}, Read: []kv.Key{accountKey(id)}, Frees: true}
	return d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		if _, err := readAccount(tx, id); err != nil {
			return err
		}
		tx.Delete(credentialKey(id, kindSealed)) // unless it is among the new ones
		for _, s := range secrets {
			tx.Set(credentialKey(id, s.kind), s.value)
		}
		return nil
	})
}

// Accounts gives all accounts by domain and local part, read page by page: what changes meanwhile may or may not
// be seen.
func (d *Directory) Accounts(ctx context.Context) iter.Seq2[directory.Account, error] {
	return func(yield func(directory.Account, error) bool) {
		for e, err := range d.entries(ctx) {
			if err != nil {
				yield(directory.Account{}, err)
				return
			}
			if e.account == 0 {
				continue
			}
			a, err := d.Account(ctx, e.account)
			if mail.Is(err, mail.NotFound) {
				continue // removed since
			}
			if !yield(a, err) || err != nil {
				return
			}
		}
	}
}

// Members gives the accounts whose main address is of the domain, read page by page.
func (d *Directory) Members(ctx context.Context, name mail.Domain) ([]mail.AccountID, error) {
	var ids []mail.AccountID
	from := addressKey(mail.Address{Domain: name})
	end := from.End()
	for {
		rows, err := d.entryPage(ctx, from, end)
		if err != nil {
			return nil, err
		}
		for _, e := range rows {
			if e.account != 0 {
				ids = append(ids, e.account)
			}
		}
		if len(rows) < page {
			return ids, nil
		}
		from = append(addressKey(rows[len(rows)-1].address), 0)
	}
}

// addressed is a row of dr with its address.
type addressed struct {
	entry
	address mail.Address
}

// entries gives all rows of dr, read page by page.
func (d *Directory) entries(ctx context.Context) iter.Seq2[addressed, error] {
	return func(yield func(addressed, error) bool) {
		from := kv.K(kv.Directory)
		end := from.End()
		for {
			rows, err := d.entryPage(ctx, from, end)
			if err != nil {
				yield(addressed{}, err)
				return
			}
			for _, e := range rows {
				if !yield(e, nil) {
					return
				}
			}
			if len(rows) < page {
				return
			}
			from = append(addressKey(rows[len(rows)-1].address), 0)
		}
	}
}

func (d *Directory) entryPage(ctx context.Context, from, end kv.Key) (out []addressed, err error) {
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		out = out[:0]
		for row, err := range r.Scan(from, end, kv.ScanOptions{Limit: page}) {
			if err != nil {
				return err
			}
			e, err := decodeEntry(row.Value)
			if err != nil {
				return err
			}
			out = append(out, addressed{e, addressOf(row.Key)})
		}
		return nil
	})
	return out, err
}
