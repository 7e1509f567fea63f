package local

import (
	"context"
	"crypto"
	"crypto/sha256"

	"postel/internal/kv"
	"postel/internal/mail"
)

// secret looks at the row from whose content all keys are derived. While the directory is open it is remembered; else
// there is another one, and what was sealed with the old one is found by account.
func (v *verifier) secret(ctx context.Context) error {
	lock := []kv.Key{kv.LockServer()}
	good := func(r kv.Reader) (bool, error) {
		b, err := r.Get(secretKey())
		if mail.Is(err, mail.NotFound) {
			return false, nil
		}
		return len(b) == 1+sha256.Size && b[0] == format, err
	}
	var fine bool
	err := v.d.o.KV.View(ctx, lock, func(r kv.Reader) (err error) { fine, err = good(r); return err })
	if mail.Is(err, mail.Internal) {
		v.tell(mail.Finding{Text: "the row of the directory's secret cannot be read: " + err.Error(), State: mail.Beyond})
		return nil
	}
	if err != nil || fine {
		return err
	}
	f := mail.Finding{Text: "the row of the directory's secret is damaged or missing", State: mail.Mendable}
	fresh := v.d.secret
	if fresh == nil {
		fresh = random(sha256.Size)
	}
	if v.mend {
		err := v.d.o.KV.Update(ctx, kv.Txn{Lock: lock}, func(tx kv.Tx) error {
			if fine, err := good(tx); err != nil || fine {
				return err
			}
			tx.Set(secretKey(), append([]byte{format}, fresh...))
			return nil
		})
		if err != nil {
			return err
		}
		f.State = mail.Mended
		if v.d.secret == nil {
			v.d.secret = fresh
		}
	}
	v.tell(f)
	return nil
}

// sealed looks at the secrets of an account that can be read back, where it has any.
func (v *verifier) sealed(ctx context.Context, id mail.AccountID, acc account) error {
	for _, one := range []struct {
		kind       uint8
		read       func(id mail.AccountID, row []byte) error
		text, lost string
	}{
		{
			kindSealed, func(id mail.AccountID, row []byte) error { _, err := v.d.openSealed(id, row); return err },
			"its password cannot be read back", "APOP and CRAM-MD5, until its password is set again: `postel account passwd`",
		}, {
			kindShared, func(id mail.AccountID, row []byte) error { _, err := v.d.openShared(id, row); return err },
			"its shared secret cannot be read back", "APOP and CRAM-MD5, until another is made: `postel account secret`",
		}, {
			kindSCRAM1, func(_ mail.AccountID, row []byte) error { _, err := decodeSCRAM(crypto.SHA1, row); return err },
			"its keys of SCRAM-SHA-1 are damaged", "SCRAM-SHA-1, until its next login with PLAIN",
		},
	} {
		f := mail.Finding{Account: acc.Address.String(), Text: one.text, Lost: one.lost}
		if err := v.readable(ctx, f, id, one.kind, one.read); err != nil {
			return err
		}
	}
	return nil
}

// readable looks at one row of an account's credentials; one that cannot be read is removed.
func (v *verifier) readable(ctx context.Context, f mail.Finding, id mail.AccountID, kind uint8, read func(mail.AccountID, []byte) error) error {
	bad := func(r kv.Reader) (bool, error) {
		b, err := r.Get(credentialKey(id, kind))
		if mail.Is(err, mail.NotFound) {
			return false, nil
		}
		if err == nil {
			err = read(id, b)
		}
		if mail.Is(err, mail.Internal) {
			return true, nil
		}
		return false, err
	}
	var is bool
	err := v.d.o.KV.View(ctx, Locks(id), func(r kv.Reader) (err error) { is, err = bad(r); return err })
	if err != nil || !is {
		return err
	}
	return v.fix(ctx, f, id, func(tx kv.Tx) error {
		if is, err := bad(tx); err != nil || !is {
			return err
		}
		tx.Delete(credentialKey(id, kind))
		return nil
	})
}

// goodSecret tells whether an account's password can be compared, in both forms that every one has. An account may have
// none.
func goodSecret(r kv.Reader, id mail.AccountID) bool {
	hash, err1 := r.Get(credentialKey(id, kindHash))
	scram, err2 := r.Get(credentialKey(id, kindSCRAM))
	if mail.Is(err1, mail.NotFound) && mail.Is(err2, mail.NotFound) {
		return true
	}
	if err1 != nil || err2 != nil {
		return false
	}
	_, _, _, err1 = parseHash(hash)
	_, err2 = decodeSCRAM(crypto.SHA256, scram)
	return err1 == nil && err2 == nil
}
