package local

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base32"
	"encoding/hex"
	"strings"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

func (d *Directory) cipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(d.derive("recoverable"))
	if err != nil {
		return nil, mail.Wrap("directory.seal", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return aead, mail.Wrap("directory.seal", err)
}

// seal encrypts a secret for what it belongs to (AES-256-GCM, the nonce in front).
func (d *Directory) seal(secret string, owner []byte) ([]byte, error) {
	aead, err := d.cipher()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, []byte(secret), owner), nil
}

func (d *Directory) unseal(sealed, owner []byte) (string, error) {
	aead, err := d.cipher()
	if err != nil {
		return "", err
	}
	plain, err := aead.Open(nil, nil, sealed, owner)
	if err != nil {
		return "", damaged("cr")
	}
	return string(plain), nil
}

// sealedFor binds the sealed password to its account.
func sealedFor(id mail.AccountID) []byte { return kv.Key(nil).Account(id) }

// sharedFor binds a secret made apart to its account and its uses.
func sharedFor(id mail.AccountID, uses sasl.Use) []byte {
	return kv.Key(nil).Account(id).U8(kindShared).U8(uint8(uses))
}

// sharedUses gives what the secret of a row is for; none for a row that is missing or damaged.
func sharedUses(row []byte) sasl.Use {
	b, err := body("cr", row, 1)
	if err != nil {
		return 0
	}
	return sasl.Use(b[0])
}

// shared gives the recoverable secret of a user for a use: one made for it, else the password where it is kept. "" when
// there is none.
func (d *Directory) shared(u user, use sasl.Use) (string, error) {
	switch {
	case u.shared != nil && sharedUses(u.shared)&use == use:
		return d.openShared(u.ID, u.shared)
	case u.sealed != nil:
		return d.openSealed(u.ID, u.sealed)
	}
	return "", nil
}

// openSealed reads the password back.
func (d *Directory) openSealed(id mail.AccountID, row []byte) (string, error) {
	b, err := body("cr", row, 1)
	if err != nil {
		return "", err
	}
	return d.unseal(b, sealedFor(id))
}

// openShared reads the secret that was made apart.
func (d *Directory) openShared(id mail.AccountID, row []byte) (string, error) {
	b, err := body("cr", row, 2)
	if err != nil {
		return "", err
	}
	return d.unseal(b[1:], sharedFor(id, sasl.Use(b[0])))
}

// Shared gives the recoverable secret of a login, or a random one. For the catcher it gives an Identity that says
// Anyone: its digests are not to be compared.
func (d *Directory) Shared(ctx context.Context, use sasl.Use, login string) (string, sasl.Identity, error) {
	u, err := d.user(ctx, login)
	if err != nil {
		return "", sasl.Identity{}, err
	}
	fake := hex.EncodeToString(random(16))
	if u.Catcher && u.mayLogin() {
		return fake, u.identity(), nil
	}
	secret, err := d.shared(u, use)
	if err != nil || secret == "" || !u.mayLogin() {
		return fake, sasl.Identity{}, err
	}
	return secret, u.identity(), nil
}

// NewShared makes a secret for an account that is apart from its password, in place of the one there was, and gives it:
// it is told only now. Kind NotFound.
func (d *Directory) NewShared(ctx context.Context, id mail.AccountID, uses sasl.Use) (string, error) {
	// 26 letters and digits: 130 bits, for people to type once.
	secret := strings.ToLower(base32.StdEncoding.EncodeToString(random(17))[:26])
	sealed, err := d.seal(secret, sharedFor(id, uses))
	if err != nil {
		return "", err
	}
	row := append([]byte{format, uint8(uses)}, sealed...)
	return secret, d.setShared(ctx, id, func(tx kv.Tx) error {
		tx.Set(credentialKey(id, kindShared), row)
		return nil
	})
}

// RemoveShared takes that secret away. Kind NotFound, also when there is none.
func (d *Directory) RemoveShared(ctx context.Context, id mail.AccountID) error {
	return d.setShared(ctx, id, func(tx kv.Tx) error {
		_, err := tx.Get(credentialKey(id, kindShared))
		if mail.Is(err, mail.NotFound) {
			return mail.E("directory.secret", mail.NotFound, "the account has no secret apart from its password")
		}
		tx.Delete(credentialKey(id, kindShared))
		return err
	})
}

func (d *Directory) setShared(ctx context.Context, id mail.AccountID, set func(kv.Tx) error) error {
	defer d.coverage.changed(id)
	t := kv.Txn{Lock: []kv.Key{kv.LockAccount(id)}, Read: []kv.Key{accountKey(id), credentialKey(id, kindShared)}, Frees: true}
	return mail.Wrap("directory.secret", d.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		_, err := readAccount(tx, id)
		if err == nil {
			err = set(tx)
		}
		return err
	}))
}
