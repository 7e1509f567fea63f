package local

import (
	"crypto"
	"fmt"
	"slices"
	"testing"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/proto/sasl"
)

// TestShared: a secret is for its uses, apart from the password, and its account's alone.
func TestShared(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	alice, bob := idOf(t, d, "alice@postel.test"), idOf(t, d, "bob@postel.test")
	one, err := d.NewShared(ctx, alice, sasl.ForODMR|sasl.ForPOP3)
	if err != nil || len(one) != 26 {
		t.Fatal(one, err)
	}
	want := func(use sasl.Use, secret string) {
		t.Helper()
		got, id, err := d.Shared(ctx, use, "alice@postel.test")
		if err != nil || (id.Account == alice) != (secret != "") || secret != "" && got != secret || got == "" {
			t.Errorf("%s: %q %v %v, want %q", use, got, id, err, secret)
		}
	}
	want(sasl.ForODMR, one)
	want(sasl.ForPOP3, one)
	want(sasl.ForIMAP, "")
	if err := d.SetPassword(ctx, alice, "another"); err != nil {
		t.Fatal(err)
	}
	want(sasl.ForODMR, one)
	two, err := d.NewShared(ctx, alice, sasl.ForIMAP)
	if err != nil || two == one {
		t.Fatal(two, err)
	}
	want(sasl.ForODMR, "")
	want(sasl.ForIMAP, two)
	if err := d.SetDisabled(ctx, alice, true); err != nil {
		t.Fatal(err)
	}
	want(sasl.ForIMAP, "")
	ok(t, d.SetDisabled(ctx, alice, false))

	// The row of one account, or of other uses, is no good elsewhere.
	ok(t, d.o.KV.Update(ctx, kv.Txn{Lock: Locks(alice, bob)}, func(tx kv.Tx) error {
		row, err := tx.Get(credentialKey(alice, kindShared))
		tx.Set(credentialKey(bob, kindShared), append([]byte(nil), row...))
		return err
	}))
	if _, _, err := d.Shared(ctx, sasl.ForIMAP, "bob@postel.test"); !mail.Is(err, mail.Internal) {
		t.Errorf("another's secret: %v", err)
	}

	ok(t, d.RemoveShared(ctx, alice))
	want(sasl.ForIMAP, "")
	if err := d.RemoveShared(ctx, alice); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if _, err := d.NewShared(ctx, 4711, sasl.ForIMAP); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if err := d.RemoveShared(ctx, 4711); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	for name, use := range map[string]sasl.Use{"nobody@postel.test": sasl.ForODMR, "": sasl.ForODMR} {
		if s, id, err := d.Shared(ctx, use, name); len(s) != 32 || id.Account != 0 || err != nil {
			t.Errorf("%q: %q %v %v", name, s, id, err)
		}
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestEvery: a mechanism is offered while all accounts that have a password can use it.
func TestEvery(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_790_000_000, 0)
	ctx, d := t.Context(), sample(t, Options{Clock: func() time.Time { return now }})
	alice, bob := idOf(t, d, "alice@postel.test"), idOf(t, d, "bob@postel.test")
	want := func(mech string, use sasl.Use, want bool) {
		t.Helper()
		if got := d.Every(ctx, mech, use); got != want {
			t.Errorf("%s for %s: %v", mech, use, got)
		}
	}
	want(sasl.ScramSHA256, 0, true)
	want(sasl.ScramSHA1, 0, true)
	want(sasl.CramMD5, sasl.ForPOP3, false)
	want("GSSAPI", 0, false)
	add(t, d, NewAccount{Address: addr("mute@postel.test")}) // without a password nobody logs in, whatever the mechanism
	want(sasl.ScramSHA1, 0, true)

	forget := func(id mail.AccountID) { // as an older program, or another node, left it
		ok(t, d.o.KV.Update(ctx, kv.Txn{Lock: Locks(id)}, func(tx kv.Tx) error {
			tx.Delete(credentialKey(id, kindSCRAM1))
			return nil
		}))
	}
	forget(alice)
	forget(bob)
	now = now.Add(2 * readAgain)
	want(sasl.ScramSHA1, 0, false)
	for login, pass := range map[string]string{"alice@postel.test": "postel", "bob@postel.test": "postel"} {
		if _, err := d.Password(ctx, "", login, "wrong"); err == nil {
			t.Fatal("a wrong password")
		}
		want(sasl.ScramSHA1, 0, false)
		if _, err := d.Password(ctx, "", login, pass); err != nil {
			t.Fatal(login, err)
		}
	}
	want(sasl.ScramSHA1, 0, true)

	for _, a := range []string{"alice@postel.test", "bob@postel.test", "carol@caught.test"} {
		want(sasl.CramMD5, sasl.ForPOP3, false)
		_, err := d.NewShared(ctx, idOf(t, d, a), sasl.ForPOP3|sasl.ForODMR)
		ok(t, err)
	}
	want(sasl.CramMD5, sasl.ForPOP3, true)
	want(sasl.CramMD5, sasl.ForIMAP, false)
	now = now.Add(time.Minute)
	add(t, d, NewAccount{Address: addr("new@postel.test"), Password: "x"})
	want(sasl.CramMD5, sasl.ForPOP3, false)
	want(sasl.ScramSHA1, 0, true)
}

// TestEveryReadsAll: accounts of many pages, the last of which lacks.
func TestEveryReadsAll(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{})
	var ids []mail.AccountID
	var locks []kv.Key
	for id := mail.AccountID(1000); id < 1000+2*page; id++ {
		ids, locks = append(ids, id), append(locks, kv.LockAccount(id))
	}
	ok(t, d.o.KV.Update(ctx, kv.Txn{Lock: append(locks, kv.LockDirectory())}, func(tx kv.Tx) error {
		for _, id := range ids {
			tx.Set(addressKey(addr(fmt.Sprintf("u%d@postel.test", id))), entry{account: id}.encode())
			tx.Set(credentialKey(id, kindHash), []byte{format, 'x'})
			tx.Set(credentialKey(id, kindSCRAM1), []byte{format, 'x'})
		}
		return nil
	}))
	for _, i := range []int{-1, 0, page, 2*page - 1} {
		if i >= 0 {
			ok(t, d.o.KV.Update(ctx, kv.Txn{Lock: Locks(ids[i])}, func(tx kv.Tx) error {
				tx.Delete(credentialKey(ids[i], kindSCRAM1))
				return nil
			}))
		}
		got, at, err := d.search(ctx, asked{sasl.ScramSHA1, 0}, kv.K(kv.Directory))
		if err != nil || (i < 0) != (got == 0) || i >= 0 && (got != ids[i] || at == nil) {
			t.Errorf("%d: %d %v", i, got, err)
		}
		if i >= 0 {
			ok(t, d.o.KV.Update(ctx, kv.Txn{Lock: Locks(ids[i])}, func(tx kv.Tx) error {
				tx.Set(credentialKey(ids[i], kindSCRAM1), []byte{format, 'x'})
				return nil
			}))
		}
	}
}

// TestArchivedSecrets: an archive has what logs in, but nothing that tells a secret; one from before SCRAM-SHA-1 is
// restored, and then the mechanism is not offered.
func TestArchivedSecrets(t *testing.T) {
	t.Parallel()
	ctx, d := t.Context(), sample(t, Options{Recoverable: true})
	alice := idOf(t, d, "alice@postel.test")
	_, err := d.NewShared(ctx, alice, sasl.AllUses)
	ok(t, err)
	rows, err := d.ArchiveAccount(ctx, alice)
	ok(t, err)
	for _, old := range []bool{false, true} {
		if old {
			rows = slices.DeleteFunc(rows, func(r kv.Row) bool { return string(r.Key) == string(credentialKey(alice, kindSCRAM1)) })
		}
		other := open(t, Options{})
		ok(t, other.AddDomain(ctx, directory.Domain{Name: "postel.test", Kind: directory.Local}))
		if !other.Every(ctx, sasl.ScramSHA1, 0) {
			t.Error("nobody lacks keys where nobody is")
		}
		ok(t, other.RestoreAccount(ctx, alice, rows))
		for hash, want := range map[crypto.Hash]bool{crypto.SHA256: true, crypto.SHA1: !old} {
			if _, id, err := other.SCRAM(ctx, hash, "alice@postel.test"); err != nil || (id.Account == alice) != want {
				t.Errorf("old %v: %v: %v %v", old, hash, id, err)
			}
		}
		if _, id, err := other.Shared(ctx, sasl.ForPOP3, "alice@postel.test"); err != nil || id.Account != 0 {
			t.Errorf("a secret came out of an archive: %v %v", id, err)
		}
		if got := other.Every(ctx, sasl.ScramSHA1, 0); got == old {
			t.Errorf("old %v: SCRAM-SHA-1 is offered: %v", old, got)
		}
	}
}
