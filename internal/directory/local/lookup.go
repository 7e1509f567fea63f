package local

import (
	"context"
	"slices"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
)

// postmaster is the local part that every domain has (RFC 5321 §4.5.1).
const postmaster = "postmaster"

// plausible tells whether an address can have a row at all; it bounds the keys.
func plausible(a mail.Address) bool {
	return a.Local != "" && len(a.Local) <= mail.MaxLocal && a.Domain != "" && len(a.Domain) <= mail.MaxDomain
}

// checkAddress tells whether an address may be kept: it must read back as it is written.
func checkAddress(a mail.Address) error {
	back, err := mail.ParseAddress(a.String())
	if err != nil {
		return err
	}
	if back != a {
		return mail.E("directory.address", mail.Invalid, "not an address")
	}
	return nil
}

func unknown(a mail.Address) error {
	return &mail.Error{
		Op: "directory.lookup", Kind: mail.NotFound, Code: mail.Enhanced{5, 1, 1},
		Text: "there is no user " + a.String(),
	}
}

// Lookup says where an address leads; one read of three rows, unless a postmaster has to be found.
func (d *Directory) Lookup(ctx context.Context, a mail.Address) (directory.Target, error) {
	a = a.Fold()
	return d.targets.get(a, func() (out directory.Target, err error) {
		err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
			if a.Domain == "" && a.Local == postmaster {
				out, err = d.barePostmaster(r)
			} else {
				out, err = d.lookup(r, a, true)
			}
			return err
		})
		return out, err
	})
}

// lookup reads where a folded address leads. Without wide only what has a row of its own counts: neither
// catchall nor the postmaster that everyone has.
func (d *Directory) lookup(r kv.Reader, a mail.Address, wide bool) (directory.Target, error) {
	if !plausible(a) {
		return directory.Target{}, unknown(a)
	}
	user, detail := a.Sub()
	keys := []kv.Key{domainKey(a.Domain), addressKey(a)}
	if detail != "" || user != a {
		keys = append(keys, addressKey(user))
	}
	rows, err := r.GetMulti(keys)
	if err != nil {
		return directory.Target{}, err
	}
	if rows[0] == nil {
		return directory.Target{}, notOurs(a.Domain)
	}
	dom, err := decodeDomain(a.Domain, rows[0])
	if err != nil {
		return directory.Target{}, err
	}
	if dom.Kind == directory.Relay {
		return directory.Target{Relay: true}, nil
	}
	if rows[1] != nil {
		return target(rows[1], "")
	}
	if len(rows) > 2 && rows[2] != nil {
		return target(rows[2], detail)
	}
	if wide && !dom.CatchAll.IsNull() && dom.CatchAll != a {
		return directory.Target{Alias: []mail.Address{dom.CatchAll}}, nil
	}
	if wide && user.Local == postmaster {
		return d.anyPostmaster(r, a)
	}
	return directory.Target{}, unknown(a)
}

func target(v []byte, detail string) (directory.Target, error) {
	e, err := decodeEntry(v)
	return directory.Target{Account: e.account, Alias: e.targets, Detail: detail}, err
}

// barePostmaster finds the postmaster without a domain: that of the first local domain which has one of its own.
func (d *Directory) barePostmaster(r kv.Reader) (directory.Target, error) {
	from := kv.K(kv.Domains)
	var names []mail.Domain
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: page}) {
		if err != nil {
			return directory.Target{}, err
		}
		names = append(names, domainOf(append(kv.Key(nil), row.Key...)))
	}
	for _, n := range names {
		t, err := d.lookup(r, mail.Address{Local: postmaster, Domain: n}, false)
		if err == nil && !t.Relay {
			return t, nil
		}
		if err != nil && !mail.Is(err, mail.NotFound) {
			return directory.Target{}, err
		}
	}
	return d.anyPostmaster(r, mail.Address{Local: postmaster})
}

// anyPostmaster gives whoever reads mail to a postmaster that has no row: as configured, else the catcher, else
// the first account among the first thousand rows.
func (d *Directory) anyPostmaster(r kv.Reader, a mail.Address) (directory.Target, error) {
	if ok, err := d.takesMail(r, d.o.Postmaster.Fold(), a); ok || err != nil {
		return directory.Target{Alias: []mail.Address{d.o.Postmaster.Fold()}}, err
	}
	var first mail.AccountID
	from := kv.K(kv.Directory)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{Limit: 1000}) {
		if err != nil {
			return directory.Target{}, err
		}
		e, err := decodeEntry(row.Value)
		if err != nil {
			return directory.Target{}, err
		}
		if e.catcher {
			return directory.Target{Account: e.account}, nil
		}
		if first == 0 {
			first = e.account
		}
	}
	if first == 0 {
		return directory.Target{}, unknown(a)
	}
	return directory.Target{Account: first}, nil
}

// takesMail tells whether the configured postmaster p may stand in for a: it is another address, and if it is of a
// domain of ours it exists.
func (d *Directory) takesMail(r kv.Reader, p, a mail.Address) (bool, error) {
	if p.IsNull() || p == a {
		return false, nil
	}
	_, err := d.lookup(r, p, false)
	if mail.Is(err, mail.NotFound) {
		_, err = readDomain(r, p.Domain)
		if mail.Is(err, mail.NotFound) {
			return true, nil // elsewhere
		}
		return false, err
	}
	return err == nil, err
}

// MaySendAs tells whether the account may write as a.
func (d *Directory) MaySendAs(ctx context.Context, id mail.AccountID, a mail.Address) (bool, error) {
	var owner mail.AccountID
	err := d.o.KV.View(ctx, Locks(), func(r kv.Reader) (err error) {
		owner, err = d.owner(r, a.Fold(), true)
		return err
	})
	if err != nil || id == 0 || owner == id {
		return err == nil && owner == id && id != 0, err
	}
	acc, err := d.Account(ctx, id)
	return err == nil && slices.Contains(acc.SendAs, a.Fold()), err
}

// owner gives the account that a folded address leads to alone, through aliases with one target each; 0 when
// there is none. sub allows subaddresses.
func (d *Directory) owner(r kv.Reader, a mail.Address, sub bool) (mail.AccountID, error) {
	for range directory.MaxDepth {
		t, err := d.lookup(r, a, false)
		if mail.Is(err, mail.NotFound) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		if t.Detail != "" && !sub {
			return 0, nil
		}
		if len(t.Alias) != 1 {
			return t.Account, nil
		}
		a, sub = t.Alias[0].Fold(), true
	}
	return 0, nil
}
