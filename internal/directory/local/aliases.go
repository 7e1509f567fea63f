package local

import (
	"context"
	"iter"
	"slices"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// Alias is an address that leads to others.
type Alias struct {
	Address mail.Address
	To      []mail.Address
}

// AddAlias adds targets to an alias, which is made where it is missing. Kinds: Exists when the address is an
// account's, NotFound or Denied for a domain that is not local, TooMany, Invalid.
func (d *Directory) AddAlias(ctx context.Context, a mail.Address, to ...mail.Address) error {
	return d.putAlias(ctx, a, to, merge)
}

// SetAlias makes an alias lead to exactly these targets. Kinds as AddAlias.
func (d *Directory) SetAlias(ctx context.Context, a mail.Address, to ...mail.Address) error {
	return d.putAlias(ctx, a, to, func(_, to []mail.Address) []mail.Address { return merge(nil, to) })
}

func (d *Directory) putAlias(ctx context.Context, a mail.Address, to []mail.Address, with func(have, to []mail.Address) []mail.Address) error {
	a = a.Fold()
	if err := checkAddress(a); err != nil {
		return err
	}
	if len(to) == 0 {
		return mail.E("directory.alias", mail.Invalid, "an alias leads to at least one address")
	}
	for _, t := range to {
		if err := checkAddress(t); err != nil {
			return err
		}
		if t.Fold() == a {
			return mail.E("directory.alias", mail.Invalid, "an alias cannot lead to itself")
		}
	}
	t := kv.Txn{Lock: Locks(), Read: []kv.Key{domainKey(a.Domain), addressKey(a)}}
	return d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		dom, err := readDomain(tx, a.Domain)
		if err != nil {
			return err
		}
		if dom.Kind != directory.Local {
			return mail.E("directory.alias", mail.Denied, "the domain %s is relayed: it has no aliases here", dom.Name)
		}
		have, err := readAlias(tx, a)
		if err != nil && !mail.Is(err, mail.NotFound) {
			return err
		}
		return setAlias(tx, a, with(have, to))
	})
}

// merge adds addresses that are not there yet.
func merge(have, more []mail.Address) []mail.Address {
	seen := make(map[mail.Address]bool, len(have)+len(more))
	out := make([]mail.Address, 0, len(have)+len(more))
	for _, a := range append(slices.Clip(have), more...) {
		if !seen[a.Fold()] {
			seen[a.Fold()] = true
			out = append(out, a)
		}
	}
	return out
}

func setAlias(tx kv.Tx, a mail.Address, to []mail.Address) error {
	if len(to) > directory.MaxTargets {
		return mail.E("directory.alias", mail.TooMany, "an alias leads to at most %d addresses", directory.MaxTargets)
	}
	tx.Set(addressKey(a), entry{targets: to}.encode())
	return nil
}

// readAlias gives an alias' targets. Kinds: NotFound, Exists when the address is an account's.
func readAlias(r kv.Reader, a mail.Address) ([]mail.Address, error) {
	v, err := r.Get(addressKey(a))
	if err != nil {
		return nil, err
	}
	e, err := decodeEntry(v)
	if err != nil {
		return nil, err
	}
	if e.account != 0 {
		return nil, mail.E("directory.alias", mail.Exists, "the address %s is an account's", a)
	}
	return e.targets, nil
}

// RemoveAlias takes targets from an alias, all of them when none are given; an alias without targets is gone.
// Kind NotFound when there is no such alias or none of the targets.
func (d *Directory) RemoveAlias(ctx context.Context, a mail.Address, targets ...mail.Address) error {
	a = a.Fold()
	missing := mail.E("directory.alias", mail.NotFound, "there is no such alias")
	if !plausible(a) {
		return missing
	}
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{addressKey(a)}}, func(tx kv.Tx) error {
		have, err := readAlias(tx, a)
		if mail.Is(err, mail.NotFound) || mail.Is(err, mail.Exists) {
			return missing
		}
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(have), func(h mail.Address) bool {
			return slices.ContainsFunc(targets, func(t mail.Address) bool { return t.Fold() == h.Fold() })
		})
		switch {
		case len(targets) == 0 || len(left) == 0:
			tx.Delete(addressKey(a))
		case len(left) == len(have):
			return missing
		default:
			return setAlias(tx, a, left)
		}
		return nil
	})
}

// Aliases gives all aliases by domain and local part, read page by page.
func (d *Directory) Aliases(ctx context.Context) iter.Seq2[Alias, error] {
	return func(yield func(Alias, error) bool) {
		for e, err := range d.entries(ctx) {
			if err != nil {
				yield(Alias{}, err)
				return
			}
			if e.account == 0 && !yield(Alias{e.address, e.targets}, nil) {
				return
			}
		}
	}
}

// Resolve gives the addresses that an address leads to in the end: main addresses of accounts, then what is
// remote. Kinds as directory.Resolve has them.
func (d *Directory) Resolve(ctx context.Context, a mail.Address) ([]mail.Address, error) {
	res, err := directory.Resolve(ctx, d, a)
	if err != nil {
		return nil, err
	}
	var out []mail.Address
	for _, p := range res.Accounts {
		acc, err := d.Account(ctx, p.Account)
		if err != nil {
			return nil, err
		}
		out = append(out, acc.Address)
	}
	return append(out, res.Remote...), nil
}
