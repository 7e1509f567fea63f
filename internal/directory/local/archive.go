package local

import (
	"context"
	"encoding/binary"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// What backups keep of the directory are its rows as they are. Recoverable secrets are left out: an archive that is
// stolen gives nobody a password.

// ArchiveShared gives the rows that are no account's: domains, aliases, routes, suppressions, all of one moment.
func (d *Directory) ArchiveShared(ctx context.Context) (rows []kv.Row, err error) {
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		rows = nil
		for _, p := range []kv.Prefix{kv.Domains, kv.Directory, kv.Routes, kv.Suppressions} {
			for row, err := range r.Scan(kv.K(p), kv.K(p).End(), kv.ScanOptions{}) {
				if err != nil {
					return err
				}
				if p == kv.Directory {
					if e, err := decodeEntry(row.Value); err == nil && e.account != 0 {
						continue
					}
				}
				rows = append(rows, kv.Row{Key: slices.Clone(row.Key), Value: slices.Clone(row.Value)})
			}
		}
		return nil
	})
	return rows, mail.Wrap("directory.archive", err)
}

// ArchiveAccount gives the rows of one account, all of one moment. Kind NotFound.
func (d *Directory) ArchiveAccount(ctx context.Context, id mail.AccountID) (rows []kv.Row, err error) {
	err = d.o.KV.View(ctx, Locks(id), func(r kv.Reader) error {
		rows = nil
		a, err := readAccount(r, id)
		if err != nil {
			return err
		}
		keys := []kv.Key{addressKey(a.Address), accountKey(id), credentialKey(id, kindHash), credentialKey(id, kindSCRAM), credentialKey(id, kindSCRAM1)}
		values, err := r.GetMulti(keys)
		for i, v := range values {
			if v != nil {
				rows = append(rows, kv.Row{Key: keys[i], Value: slices.Clone(v)})
			}
		}
		return err
	})
	return rows, mail.Wrap("directory.archive", err)
}

// RestoreShared writes those of the rows that are missing, and tells how many.
func (d *Directory) RestoreShared(ctx context.Context, rows []kv.Row) (added int, err error) {
	for part := range slices.Chunk(rows, 1000) {
		n := 0
		err := d.o.KV.Update(ctx, kv.Txn{Lock: Locks()}, func(tx kv.Tx) error {
			n = 0
			for _, row := range part {
				if !sharedRow(row) {
					return mail.E("directory.restore", mail.Invalid, "the archive's directory has a row that is none of it")
				}
				v, err := tx.GetMulti([]kv.Key{row.Key})
				if err != nil {
					return err
				}
				if v[0] == nil {
					tx.Set(row.Key, row.Value)
					n++
				}
			}
			return nil
		})
		if added += n; err != nil {
			return added, mail.Wrap("directory.restore", err)
		}
	}
	return added, nil
}

func sharedRow(r kv.Row) bool {
	if len(r.Key) < 3 || len(r.Key) > kv.MaxKey || len(r.Value) == 0 {
		return false
	}
	switch kv.Prefix(r.Key[:2]) {
	case kv.Domains:
		_, err := decodeDomain(domainOf(r.Key), r.Value)
		return err == nil
	case kv.Routes:
		_, err := decodeRoute(r.Key, r.Value)
		return err == nil
	case kv.Suppressions:
		_, err := decodeSuppression(r.Key, r.Value)
		return err == nil
	case kv.Directory:
		e, err := decodeEntry(r.Value)
		return err == nil && e.account == 0
	}
	return false
}

// RestoreAccount writes the rows of an account that is not there, with the number it had. Kinds: Exists when its address
// or its number is taken, NotFound when its domain is missing, Invalid for rows of something else.
func (d *Directory) RestoreAccount(ctx context.Context, id mail.AccountID, rows []kv.Row) error {
	addr, err := archivedAddress(id, rows)
	if err != nil {
		return err
	}
	defer d.coverage.changed(id)
	t := kv.Txn{Lock: append(Locks(id), kv.LockServer())}
	return mail.Wrap("directory.restore", d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		if _, err := readDomain(tx, addr.Domain); err != nil {
			return err
		}
		if err := vacant(tx, addr); err != nil {
			return err
		}
		v, err := tx.GetMulti([]kv.Key{accountKey(id), counterKey()})
		if err != nil {
			return err
		}
		if v[0] != nil {
			return mail.E("directory.restore", mail.Exists, "the number of the account %s is another's: add the account, then restore into it", addr)
		}
		for _, row := range rows {
			tx.Set(row.Key, row.Value)
		}
		if len(v[1]) != 8 || binary.BigEndian.Uint64(v[1]) <= uint64(id) {
			tx.Set(counterKey(), kv.Key(nil).Account(id+1))
		}
		return nil
	}))
}

// archivedAddress checks that the rows are the account's, and gives its address.
func archivedAddress(id mail.AccountID, rows []kv.Row) (mail.Address, error) {
	bad := mail.E("directory.restore", mail.Invalid, "the archive's account has rows that are none of it")
	var addr, named mail.Address
	if id == 0 || id == ^mail.AccountID(0) {
		return addr, bad
	}
	for _, row := range rows {
		k := string(row.Key)
		switch {
		case len(k) > 2 && kv.Prefix(k[:2]) == kv.Directory:
			e, err := decodeEntry(row.Value)
			if err != nil || e.account != id {
				return addr, bad
			}
			addr = addressOf(row.Key)
		case k == string(accountKey(id)):
			a, err := decodeAccount(id, row.Value)
			if err != nil {
				return addr, bad
			}
			named = a.Address
		case k == string(credentialKey(id, kindHash)), k == string(credentialKey(id, kindSCRAM)), k == string(credentialKey(id, kindSCRAM1)):
		default:
			return addr, bad
		}
	}
	if addr != named || string(addressKey(addr)) != string(addressKey(named)) || checkAddress(addr) != nil {
		return addr, bad
	}
	return addr, nil
}
