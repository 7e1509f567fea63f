package local

import (
	"bytes"
	"context"
	"slices"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// page is how many rows are read at once when listing.
const page = 256

// Domain gives one of our domains.
func (d *Directory) Domain(ctx context.Context, name mail.Domain) (directory.Domain, error) {
	return d.domains.get(name, func() (out directory.Domain, err error) {
		err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
			out, err = readDomain(r, name)
			return err
		})
		return out, err
	})
}

// readDomain reads a row of dm under the directory's lock.
func readDomain(r kv.Reader, name mail.Domain) (directory.Domain, error) {
	if !plausible(mail.Address{Local: "x", Domain: name}) {
		return directory.Domain{}, notOurs(name)
	}
	v, err := r.Get(domainKey(name))
	if mail.Is(err, mail.NotFound) {
		return directory.Domain{}, notOurs(name)
	}
	if err != nil {
		return directory.Domain{}, err
	}
	return decodeDomain(name, v)
}

func notOurs(name mail.Domain) error {
	return mail.E("directory.domain", mail.NotFound, "the domain %s is not one of ours", name)
}

// Domains gives all of them by name. A server with more than 100,000 gets the first of them.
func (d *Directory) Domains(ctx context.Context) ([]directory.Domain, error) {
	var out []directory.Domain
	err := d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		out = out[:0]
		from := kv.K(kv.Domains)
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: 100_000}) {
			if err != nil {
				return err
			}
			one, err := decodeDomain(domainOf(row.Key), row.Value)
			if err != nil {
				return err
			}
			out = append(out, one)
		}
		return nil
	})
	return out, err
}

// AddDomain adds one. Kinds: Exists, Invalid for an address literal or a catchall of kind Relay.
func (d *Directory) AddDomain(ctx context.Context, n directory.Domain) error {
	return d.putDomain(ctx, n, func(directory.Domain) (directory.Domain, error) {
		return n, mail.E("directory.domain", mail.Exists, "the domain %s exists", n.Name)
	})
}

// EnsureDomain adds a domain, or gives the one that exists the kind, who may ask for its mail and, where n has them,
// the catchall and the limits of n.
func (d *Directory) EnsureDomain(ctx context.Context, n directory.Domain) error {
	n = fold(n)
	merge := func(have directory.Domain) (directory.Domain, error) {
		out := n
		if out.CatchAll.IsNull() && out.Kind == directory.Local {
			out.CatchAll = have.CatchAll
		}
		if out.Quota == 0 && out.Kind == directory.Local {
			out.Quota = have.Quota
		}
		if out.MaxMessages == 0 && out.Kind == directory.Local {
			out.MaxMessages = have.MaxMessages
		}
		return out, nil
	}
	if have, err := d.Domain(ctx, n.Name); err == nil {
		if out, _ := merge(have); bytes.Equal(encodeDomain(out), encodeDomain(have)) {
			return nil
		}
	}
	return d.putDomain(ctx, n, merge)
}

// SetDomainLimits says what the accounts of a local domain may hold together: octets and messages, 0 for no limit.
// Kinds: NotFound, Invalid.
func (d *Directory) SetDomainLimits(ctx context.Context, name mail.Domain, octets, messages int64) error {
	return d.changeDomain(ctx, name, func(have *directory.Domain) { have.Quota, have.MaxMessages = octets, messages })
}

// SetCatchAll says where unknown local parts of a local domain lead; the null address refuses them. The target
// need not be ours.
func (d *Directory) SetCatchAll(ctx context.Context, name mail.Domain, to mail.Address) error {
	return d.changeDomain(ctx, name, func(have *directory.Domain) { have.CatchAll = to.Fold() })
}

// changeDomain changes a domain that exists.
func (d *Directory) changeDomain(ctx context.Context, name mail.Domain, with func(*directory.Domain)) error {
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{domainKey(name)}}, func(tx kv.Tx) error {
		have, err := readDomain(tx, name)
		if err != nil {
			return err
		}
		with(&have)
		if err := checkDomain(have); err != nil {
			return err
		}
		tx.Set(domainKey(name), encodeDomain(have))
		return nil
	})
}

func checkDomain(n directory.Domain) error {
	const op = "directory.domain"
	if d, err := mail.ParseDomain(string(n.Name)); err != nil || d != n.Name {
		return mail.E(op, mail.Invalid, "not a domain name")
	}
	if _, literal := n.Name.Literal(); literal {
		return mail.E(op, mail.Invalid, "an address literal cannot be a domain of ours")
	}
	if n.Kind != directory.Local && n.Kind != directory.Relay {
		return mail.E(op, mail.Invalid, "a domain's kind is local or relay")
	}
	if len(n.ODMR) > mail.MaxCallers {
		return mail.E(op, mail.TooMany, "%d accounts at most take a domain's mail by ATRN", mail.MaxCallers)
	}
	if n.Kind == directory.Local && len(n.ODMR) > 0 {
		return mail.E(op, mail.Invalid, "mail that is taken by ATRN has no mailboxes here: the domain's kind is relay")
	}
	if n.Quota < 0 || n.MaxMessages < 0 {
		return mail.E(op, mail.Invalid, "a quota cannot be negative")
	}
	if n.Kind == directory.Relay && (n.Quota > 0 || n.MaxMessages > 0) {
		return mail.E(op, mail.Invalid, "a relayed domain has no quota: its mail is kept elsewhere")
	}
	if n.CatchAll.IsNull() {
		return nil
	}
	if n.Kind == directory.Relay {
		return mail.E(op, mail.Invalid, "a relayed domain has no catchall: its users are known elsewhere")
	}
	return checkAddress(n.CatchAll)
}

// fold gives a domain as it is kept.
func fold(n directory.Domain) directory.Domain {
	n.CatchAll = n.CatchAll.Fold()
	n.ODMR = slices.Clone(n.ODMR)
	for i := range n.ODMR {
		n.ODMR[i] = n.ODMR[i].Fold()
	}
	return n
}

// putDomain writes n, or what merge makes of the domain that exists.
func (d *Directory) putDomain(ctx context.Context, n directory.Domain, merge func(directory.Domain) (directory.Domain, error)) error {
	n = fold(n)
	if err := checkDomain(n); err != nil {
		return err
	}
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{domainKey(n.Name)}}, func(tx kv.Tx) error {
		out := n
		have, err := readDomain(tx, n.Name)
		switch {
		case err == nil:
			if out, err = merge(have); err != nil {
				return err
			}
		case !mail.Is(err, mail.NotFound):
			return err
		}
		tx.Set(domainKey(n.Name), encodeDomain(out))
		return nil
	})
}

// RemoveDomain removes a domain that has neither accounts nor aliases any more. Kinds: NotFound, Busy.
func (d *Directory) RemoveDomain(ctx context.Context, name mail.Domain) error {
	return d.o.KV.Update(ctx, kv.Txn{Lock: Locks(), Read: []kv.Key{domainKey(name)}}, func(tx kv.Tx) error {
		if _, err := readDomain(tx, name); err != nil {
			return err
		}
		from := addressKey(mail.Address{Domain: name})
		for row, err := range tx.Scan(from, from.End(), kv.ScanOptions{Limit: 1, KeysOnly: true}) {
			if err != nil {
				return err
			}
			return mail.E("directory.domain", mail.Busy, "the domain still has the address %s", addressOf(bytes.Clone(row.Key)))
		}
		tx.Delete(domainKey(name))
		return nil
	})
}

// localDomain gives the only local domain; false when there are several or none.
func localDomain(r kv.Reader) (only mail.Domain, err error) {
	from := kv.K(kv.Domains)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: page}) {
		if err != nil {
			return "", err
		}
		d, err := decodeDomain(domainOf(row.Key), row.Value)
		if err != nil {
			return "", err
		}
		if d.Kind == directory.Local && only != "" {
			return "", nil
		}
		if d.Kind == directory.Local {
			only = d.Name
		}
	}
	return only, nil
}
