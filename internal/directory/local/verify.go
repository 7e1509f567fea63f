package local

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Mailboxes is what Verify needs of the store.
type Mailboxes interface {
	// HasAccount tells whether the account has mailboxes here; under the account's lock.
	HasAccount(kv.Reader, mail.AccountID) (bool, error)
	// InitAccount makes the mailboxes of a new account, under the account's lock.
	InitAccount(kv.Tx, mail.AccountID) error
}

// Verify tells what of the directory's rows does not agree, and with mend mends it: an account has its row and the row
// of its address, these name one another, its domain is ours, it has mailboxes, and its password can be read. Damaged
// rows are made anew from the others where that can be done. It has the server to itself where Options.Unchecked is set.
func (d *Directory) Verify(ctx context.Context, mend bool, m Mailboxes) ([]mail.Finding, error) {
	v := &verifier{d: d, m: m, mend: mend}
	if err := v.secret(ctx); err != nil {
		return v.found, mail.Wrap("directory.verify", err)
	}
	for range 3 { // what is mended may bring something else to light
		mended, before := 0, len(v.found)
		if err := v.round(ctx); err != nil {
			return v.found, mail.Wrap("directory.verify", err)
		}
		for _, f := range v.found[before:] {
			if f.State == mail.Mended {
				mended++
			}
		}
		if mended == 0 {
			break
		}
		v.found = slices.DeleteFunc(v.found, func(f mail.Finding) bool { return f.State == mail.Beyond })
	}
	return v.found, nil
}

// verifier is one Verify.
type verifier struct {
	d      *Directory
	m      Mailboxes
	mend   bool
	found  []mail.Finding
	unread bool                   // a range cannot be read: nothing is decided upon what may be there
	names  map[mail.Address]entry // rows of dr
	bad    []mail.Address         // damaged rows of dr
	boxes  map[mail.AccountID]account
	lost   []mail.AccountID // damaged rows of ac
	ours   map[mail.Domain]bool
	gone   []mail.Domain // damaged rows of dm
	sp     []kv.Key      // damaged rows of sp
	rt     []kv.Key      // damaged rows of rt
	last   mail.AccountID
}

func (v *verifier) round(ctx context.Context) error {
	if err := v.read(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{v.domains, v.addresses, v.accounts, v.counter, v.suppressions, v.routes} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// read takes the whole directory from one snapshot.
func (v *verifier) read(ctx context.Context) error {
	return v.d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		v.names, v.boxes, v.ours = map[mail.Address]entry{}, map[mail.AccountID]account{}, map[mail.Domain]bool{}
		v.bad, v.lost, v.gone, v.sp, v.rt, v.last = nil, nil, nil, nil, nil, 0
		err := v.scan(r, kv.Domains, func(k kv.Key, b []byte) {
			name := domainOf(slices.Clone(k))
			v.ours[name] = true
			if _, err := decodeDomain(name, b); err != nil {
				v.gone = append(v.gone, name)
			}
		})
		if err != nil {
			return err
		}
		if err = v.readSuppressions(r); err != nil {
			return err
		}
		if err = v.readRoutes(r); err != nil {
			return err
		}
		err = v.scan(r, kv.Directory, func(k kv.Key, b []byte) {
			a := addressOf(slices.Clone(k))
			e, err := decodeEntry(b)
			if err != nil {
				v.bad = append(v.bad, a)
				return
			}
			v.names[a] = e
			v.last = max(v.last, e.account)
		})
		if err != nil {
			return err
		}
		return v.scan(r, kv.Accounts, func(k kv.Key, b []byte) {
			if len(k) != 10 {
				return
			}
			id := mail.AccountID(binary.BigEndian.Uint64(k[2:]))
			v.last = max(v.last, id)
			a, err := decodeAccount(id, b)
			if err != nil {
				v.lost = append(v.lost, id)
				return
			}
			v.boxes[id] = a
		})
	})
}

func (v *verifier) scan(r kv.Reader, p kv.Prefix, fn func(k kv.Key, b []byte)) error {
	unreadable := func(from, to kv.Key, err error) {
		v.unread = true
		v.tell(mail.Finding{Text: fmt.Sprintf("the rows from %x to %x cannot be read: %v", []byte(from), []byte(to), err), State: mail.Beyond})
	}
	for row, err := range kv.Salvage(r, kv.K(p), kv.K(p).End(), kv.ScanOptions{}, unreadable) {
		if err != nil {
			return err
		}
		fn(row.Key, row.Value)
	}
	return nil
}

func (v *verifier) tell(f mail.Finding) {
	f.Part = "directory"
	if len(v.found) < 1000 {
		v.found = append(v.found, f)
	}
}

// fix tells of something and mends it under the locks of the directory and of the account, if it is still so: with
// sees to that. Where something cannot be read nothing is changed.
func (v *verifier) fix(ctx context.Context, f mail.Finding, a mail.AccountID, with func(tx kv.Tx) error) error {
	f.AccountID, f.State = a, mail.Mendable
	if v.mend && !v.unread {
		lock := Locks()
		if a != 0 {
			lock = Locks(a)
		}
		if err := v.d.o.KV.Update(ctx, kv.Txn{Lock: lock}, with); err != nil {
			return err
		}
		f.State = mail.Mended
	}
	v.tell(f)
	return nil
}

// unreadable tells whether a row is there and no good: what a fix that rewrites it must find still so.
func unreadable[T any](r kv.Reader, k kv.Key, decode func([]byte) (T, error)) bool {
	b, err := r.Get(k)
	if err != nil {
		return mail.Is(err, mail.NotFound)
	}
	_, err = decode(b)
	return err != nil
}

func (v *verifier) domains(ctx context.Context) error {
	for _, name := range v.gone {
		f := mail.Finding{Text: fmt.Sprintf("the row of the domain %s is damaged; as a local one it can be used", name), Lost: "its kind and its catchall"}
		err := v.putDomain(ctx, f, name)
		if err != nil {
			return err
		}
	}
	for a := range v.names {
		if v.ours[a.Domain] {
			continue
		}
		v.ours[a.Domain] = true
		f := mail.Finding{Text: fmt.Sprintf("the domain %s has addresses and no row", a.Domain), Lost: "its catchall"}
		if err := v.putDomain(ctx, f, a.Domain); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) putDomain(ctx context.Context, f mail.Finding, name mail.Domain) error {
	return v.fix(ctx, f, 0, func(tx kv.Tx) error {
		decode := func(b []byte) (directory.Domain, error) { return decodeDomain(name, b) }
		if unreadable(tx, domainKey(name), decode) {
			tx.Set(domainKey(name), encodeDomain(directory.Domain{Name: name, Kind: directory.Local}))
		}
		return nil
	})
}

// addresses looks at the rows dr.
func (v *verifier) addresses(ctx context.Context) error {
	for _, a := range v.bad {
		id, acc := v.mainOf(a)
		f := mail.Finding{Text: fmt.Sprintf("the row of the address %s is damaged", a)}
		if id == 0 {
			f.Lost = "where the alias led"
		}
		err := v.fix(ctx, f, id, func(tx kv.Tx) error {
			switch {
			case !unreadable(tx, addressKey(a), decodeEntry):
			case id != 0:
				tx.Set(addressKey(a), entry{account: id, catcher: acc.Catcher}.encode())
			default:
				tx.Delete(addressKey(a))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for a, e := range v.names {
		if e.account == 0 {
			continue
		}
		if acc, ok := v.boxes[e.account]; ok {
			if acc.Address != a {
				f := mail.Finding{Text: fmt.Sprintf("the address %s names an account whose address is %s", a, acc.Address)}
				if err := v.dropAddress(ctx, f, a, e.account); err != nil {
					return err
				}
			}
			continue
		}
		if err := v.remakeAccount(ctx, a, e); err != nil {
			return err
		}
	}
	return nil
}

// mainOf gives the account whose main address it is.
func (v *verifier) mainOf(a mail.Address) (mail.AccountID, account) {
	for id, acc := range v.boxes {
		if acc.Address == a {
			return id, acc
		}
	}
	return 0, account{}
}

func (v *verifier) dropAddress(ctx context.Context, f mail.Finding, a mail.Address, id mail.AccountID) error {
	return v.fix(ctx, f, id, func(tx kv.Tx) error {
		b, err := tx.Get(addressKey(a))
		if err != nil {
			return nil //nolint:nilerr // gone
		}
		if e, err := decodeEntry(b); err == nil && e.account == id {
			tx.Delete(addressKey(a))
		}
		return nil
	})
}

// remakeAccount makes the row of an account anew that its address names, if it has mail.
func (v *verifier) remakeAccount(ctx context.Context, a mail.Address, e entry) error {
	has := false
	err := v.d.o.KV.View(ctx, Locks(e.account), func(r kv.Reader) (err error) {
		has, err = v.m.HasAccount(r, e.account)
		return err
	})
	if err != nil {
		return err
	}
	if !has && !slices.Contains(v.lost, e.account) {
		f := mail.Finding{Text: fmt.Sprintf("the address %s names an account that does not exist", a)}
		return v.dropAddress(ctx, f, a, e.account)
	}
	f := mail.Finding{
		Account: a.String(), Text: "the account's row is damaged or missing", Lost: "its quota, and whether it was disabled",
	}
	return v.fix(ctx, f, e.account, func(tx kv.Tx) error {
		decode := func(b []byte) (account, error) { return decodeAccount(e.account, b) }
		if !unreadable(tx, accountKey(e.account), decode) {
			return nil
		}
		acc := account{made: v.d.o.Clock()}
		acc.Account = directory.Account{ID: e.account, Address: a, Catcher: e.catcher}
		tx.Set(accountKey(e.account), acc.encode())
		return nil
	})
}

// accounts looks at the rows ac.
func (v *verifier) accounts(ctx context.Context) error {
	named := map[mail.AccountID]bool{}
	for _, e := range v.names {
		named[e.account] = true
	}
	for _, id := range v.lost {
		if named[id] {
			continue // made anew from its address
		}
		f := mail.Finding{AccountID: id, Text: "the account's row is damaged, and no address leads to it", State: mail.Beyond}
		f.Lost = "its address and its settings; its mail remains"
		v.tell(f)
	}
	for id, acc := range v.boxes {
		if err := v.account(ctx, id, acc); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) account(ctx context.Context, id mail.AccountID, acc account) error {
	e, ok := v.names[acc.Address]
	switch {
	case !ok && !slices.Contains(v.bad, acc.Address):
		f := mail.Finding{Account: acc.Address.String(), Text: "the row of its address is missing"}
		err := v.fix(ctx, f, id, func(tx kv.Tx) error {
			if vacant(tx, acc.Address) == nil {
				tx.Set(addressKey(acc.Address), entry{account: id, catcher: acc.Catcher}.encode())
			}
			return nil
		})
		if err != nil {
			return err
		}
	case ok && e.account != id:
		v.tell(mail.Finding{AccountID: id, Account: acc.Address.String(), Text: "its address leads elsewhere", State: mail.Beyond})
	}
	has, secret := false, true
	err := v.d.o.KV.View(ctx, Locks(id), func(r kv.Reader) (err error) {
		secret = goodSecret(r, id)
		has, err = v.m.HasAccount(r, id)
		return err
	})
	if !secret {
		v.tell(mail.Finding{
			AccountID: id, Account: acc.Address.String(), Text: "its password's rows are damaged", State: mail.Beyond,
			Lost: "its password: set one with `postel account passwd`",
		})
	}
	if err == nil && v.d.secret != nil { // else all of them would be told of
		err = v.sealed(ctx, id, acc)
	}
	if err != nil || has {
		return err
	}
	f := mail.Finding{Account: acc.Address.String(), Text: "it has no mailboxes"}
	return v.fix(ctx, f, id, func(tx kv.Tx) error {
		if has, err := v.m.HasAccount(tx, id); err != nil || has {
			return err
		}
		return v.m.InitAccount(tx, id)
	})
}

// counter looks whether the next account gets an id that is not taken.
func (v *verifier) counter(ctx context.Context) error {
	lock := []kv.Key{kv.LockServer()}
	low := func(r kv.Reader) (bool, error) {
		b, err := r.Get(counterKey())
		if mail.Is(err, mail.NotFound) {
			return v.last > 0, nil
		}
		return err == nil && (len(b) != 8 || mail.AccountID(binary.BigEndian.Uint64(b)) <= v.last), err
	}
	var bad bool
	err := v.d.o.KV.View(ctx, lock, func(r kv.Reader) (err error) { bad, err = low(r); return err })
	if err != nil || !bad {
		return err
	}
	f := mail.Finding{Text: "the next account's number is damaged, or taken", State: mail.Mendable}
	if v.mend && !v.unread {
		err := v.d.o.KV.Update(ctx, kv.Txn{Lock: lock}, func(tx kv.Tx) error {
			if bad, err := low(tx); err != nil || !bad {
				return err
			}
			tx.Set(counterKey(), kv.Key(nil).Account(v.last+jumpAccounts))
			return nil
		})
		if err != nil {
			return err
		}
		f.State = mail.Mended
	}
	v.tell(f)
	return nil
}

// jumpAccounts is how far the next account's number moves when it is not known any more: ids are never used again.
const jumpAccounts = 1000
