package local

import (
	"bytes"
	"context"
	"crypto"
	"strings"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// Password checks a password. The answer takes one argon2id computation, whether the login exists or not,
// unless the password was found right within the last minutes.
func (d *Directory) Password(ctx context.Context, authzid, login, password string) (sasl.Identity, error) {
	u, err := d.user(ctx, login)
	if err != nil {
		return sasl.Identity{}, err
	}
	prepared, bad := sasl.Prepare(password)
	if bad != nil || len(password) > sasl.MaxPassword || password == "" {
		prepared, u.hash = "", nil // is hashed like any other, in vain
	}
	right := u.Catcher && password != ""
	if !right {
		if right, err = d.check(ctx, u, prepared); err != nil {
			return sasl.Identity{}, err
		}
	}
	if !right || !u.mayLogin() {
		return sasl.Identity{}, sasl.Failed()
	}
	if err := d.authorize(ctx, u, authzid); err != nil {
		return sasl.Identity{}, err
	}
	if u.scram1 == nil && u.hash != nil && !u.Catcher {
		_ = d.addKeys(ctx, u, prepared) // another login will do
	}
	return u.identity(), nil
}

// check verifies a password and remembers it when it is right.
func (d *Directory) check(ctx context.Context, u user, prepared string) (bool, error) {
	mac := d.known.mac(u.ID, u.hash, prepared)
	if u.hash != nil && d.known.has(mac, d.o.Clock()) {
		return true, nil
	}
	end, err := d.turn(ctx)
	if err != nil {
		return false, err
	}
	defer end()
	if u.hash != nil && d.known.has(mac, d.o.Clock()) {
		return true, nil // another session found it right while this one waited
	}
	right, err := d.verify(u.hash, prepared)
	if right && err == nil {
		d.known.add(mac, d.o.Clock())
	}
	return right, err
}

// authorize checks that an authorization identity, where there is one, names the same account.
func (d *Directory) authorize(ctx context.Context, u user, authzid string) error {
	if authzid == "" {
		return nil
	}
	as, _, err := d.find(ctx, authzid)
	if err != nil {
		return err
	}
	if as != u.ID {
		return sasl.Failed()
	}
	return nil
}

// SCRAM gives the stored keys of a login, or fake ones.
func (d *Directory) SCRAM(ctx context.Context, h crypto.Hash, login string) (sasl.SCRAMKeys, sasl.Identity, error) {
	u, err := d.user(ctx, login)
	if err != nil {
		return sasl.SCRAMKeys{}, sasl.Identity{}, err
	}
	keys, row := d.fakeSCRAM(h, u.named), u.scram
	if h == crypto.SHA1 {
		row = u.scram1
	}
	if row == nil {
		return keys, sasl.Identity{}, nil
	}
	if keys, err = decodeSCRAM(h, row); err != nil || !u.mayLogin() {
		return keys, sasl.Identity{}, err
	}
	id := u.identity()
	id.Anyone = false // whoever comes this way knows the password
	return keys, id, nil
}

// addKeys derives the keys of SCRAM-SHA-1 for an account that had a password before we kept them.
func (d *Directory) addKeys(ctx context.Context, u user, prepared string) error {
	keys, err := d.newSCRAM(crypto.SHA1, prepared)
	if err != nil {
		return err
	}
	defer d.coverage.changed(u.ID)
	hash := credentialKey(u.ID, kindHash)
	t := kv.Txn{Lock: []kv.Key{kv.LockAccount(u.ID)}, Read: []kv.Key{hash}}
	return d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		have, err := tx.Get(hash)
		if err == nil && bytes.Equal(have, u.hash) { // else the password is another by now
			tx.Set(credentialKey(u.ID, keys.kind), keys.value)
		}
		return err
	})
}

// Vouched gives the account that a login names.
func (d *Directory) Vouched(ctx context.Context, login string) (sasl.Identity, error) {
	u, err := d.user(ctx, login)
	if err != nil {
		return sasl.Identity{}, err
	}
	if !u.mayLogin() {
		return sasl.Identity{}, sasl.Failed()
	}
	return u.identity(), nil
}

// user is an account with its secrets; all but named is zero when the login is unknown.
type user struct {
	directory.Account
	named string // the address that was meant, the same for each way to write it
	// The rows of its credentials, nil where there is none.
	hash, scram, sealed, scram1, shared []byte
}

func (u user) mayLogin() bool { return u.ID != 0 && !u.Disabled }

func (u user) identity() sasl.Identity {
	return sasl.Identity{Account: u.ID, Login: u.Address.String(), Anyone: u.Catcher}
}

// user reads all that is needed to let a login in.
func (d *Directory) user(ctx context.Context, login string) (u user, err error) {
	id, named, err := d.find(ctx, login)
	if err != nil {
		return user{}, err
	}
	keys := []kv.Key{accountKey(id)}
	for _, kind := range [...]uint8{kindHash, kindSCRAM, kindSealed, kindSCRAM1, kindShared} {
		keys = append(keys, credentialKey(id, kind))
	}
	err = d.o.KV.View(ctx, []kv.Key{kv.LockAccount(id)}, func(r kv.Reader) error { // for 0 as well: equal time
		u = user{named: named}
		rows, err := r.GetMulti(keys)
		if err != nil || rows[0] == nil {
			return err
		}
		a, err := decodeAccount(id, rows[0])
		if err != nil {
			return err
		}
		u = user{Account: a.Account, named: named, hash: clone(rows[1]), scram: clone(rows[2]), sealed: clone(rows[3])}
		u.scram1, u.shared = clone(rows[4]), clone(rows[5])
		return nil
	})
	return u, err
}

func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}

// find gives the account that a login names, 0 when there is none, and the address that is meant: an unknown login
// must answer alike however it is written, as a known one does.
func (d *Directory) find(ctx context.Context, login string) (id mail.AccountID, named string, err error) {
	name, err := sasl.Prepare(login)
	if err != nil || len(login) > sasl.MaxName || name == "" {
		return 0, strings.ToLower(login), nil
	}
	err = d.o.KV.View(ctx, Locks(), func(r kv.Reader) error {
		id, named = 0, strings.ToLower(name)
		full := name
		if !strings.Contains(name, "@") {
			only, err := localDomain(r)
			if err != nil || only == "" {
				return err
			}
			full = name + "@" + string(only)
		}
		a, err := mail.ParseAddress(full)
		if err != nil {
			return nil // no such login
		}
		a = a.Fold()
		named = a.String()
		id, err = d.owner(r, a, false)
		return err
	})
	return id, named, err
}
