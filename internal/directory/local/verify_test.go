package local

import (
	"strings"
	"testing"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// mailboxes stands in for the store: an account has mail when it has a row na.
type mailboxes struct{}

func (mailboxes) HasAccount(r kv.Reader, a mail.AccountID) (bool, error) {
	_, err := r.Get(kv.K(kv.Counters).Account(a))
	if mail.Is(err, mail.NotFound) {
		return false, nil
	}
	return err == nil, err
}

func (mailboxes) InitAccount(tx kv.Tx, a mail.AccountID) error {
	tx.Set(kv.K(kv.Counters).Account(a), nil)
	return nil
}

// TestVerify damages the directory's rows, one kind after the other: they are made anew from the others, and what is
// lost is said.
func TestVerify(t *testing.T) {
	t.Parallel()
	junk := []byte{9}
	alice, all := mail.Address{Local: "alice", Domain: "a.test"}, mail.Address{Local: "all", Domain: "a.test"}
	for _, c := range []struct {
		name   string
		hurt   func(tx kv.Tx, id mail.AccountID)
		lost   string
		beyond bool
	}{
		{name: "an account's row", hurt: func(tx kv.Tx, id mail.AccountID) { tx.Set(accountKey(id), junk) }, lost: "its quota"},
		{name: "an account's row is missing", hurt: func(tx kv.Tx, id mail.AccountID) { tx.Delete(accountKey(id)) }, lost: "its quota"},
		{name: "its address", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Set(addressKey(alice), junk) }},
		{name: "its address is missing", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Delete(addressKey(alice)) }},
		{name: "an alias", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Set(addressKey(all), junk) }, lost: "where the alias led"},
		{name: "the domain", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Set(domainKey("a.test"), junk) }, lost: "its kind"},
		{name: "the domain is missing", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Delete(domainKey("a.test")) }, lost: "its catchall"},
		{name: "the counter", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Set(counterKey(), junk) }},
		{name: "an address of nobody", hurt: func(tx kv.Tx, _ mail.AccountID) {
			tx.Set(addressKey(mail.Address{Local: "ghost", Domain: "a.test"}), entry{account: 99}.encode())
		}},
		{name: "a suppression", hurt: func(tx kv.Tx, _ mail.AccountID) {
			tx.Set(suppressionKey(mail.Address{Local: "gone", Domain: "b.test"}), junk)
		}, lost: "that bulk senders may not write there"},
		{name: "no mailboxes", hurt: func(tx kv.Tx, id mail.AccountID) { tx.Delete(kv.K(kv.Counters).Account(id)) }},
		{
			name: "the hash of a password", lost: "its password", beyond: true,
			hurt: func(tx kv.Tx, id mail.AccountID) { tx.Set(credentialKey(id, kindHash), junk) },
		},
		{
			name: "the keys of SCRAM", lost: "its password", beyond: true,
			hurt: func(tx kv.Tx, id mail.AccountID) { tx.Delete(credentialKey(id, kindSCRAM)) },
		},
		{
			name: "the password that can be read back", lost: "APOP",
			hurt: func(tx kv.Tx, id mail.AccountID) { tx.Set(credentialKey(id, kindSealed), junk) },
		},
		{
			name: "a shared secret", lost: "APOP",
			hurt: func(tx kv.Tx, id mail.AccountID) { tx.Set(credentialKey(id, kindShared), junk) },
		},
		{
			name: "the keys of SCRAM-SHA-1", lost: "SCRAM-SHA-1",
			hurt: func(tx kv.Tx, id mail.AccountID) { tx.Set(credentialKey(id, kindSCRAM1), junk) },
		},
		{name: "the secret, as long as the directory is open", hurt: func(tx kv.Tx, _ mail.AccountID) { tx.Set(secretKey(), junk) }},
		{name: "an account and its address", hurt: func(tx kv.Tx, id mail.AccountID) {
			tx.Set(accountKey(id), junk)
			tx.Delete(addressKey(alice))
		}, lost: "its address", beyond: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, err := pebble.OpenMemory()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			// All accounts are read at once, as a hint: what is mended is looked at again under its locks.
			f := open(t, Options{
				Recoverable: true, KV: kvtest.Strict(s, kvtest.Options{Report: t.Error, Unlocked: []kv.Prefix{kv.Accounts}}),
			})
			if err := f.AddDomain(t.Context(), directory.Domain{Name: "a.test", Kind: directory.Local}); err != nil {
				t.Fatal(err)
			}
			id := add(t, f, NewAccount{Address: alice, Password: "secret"})
			alias(t, f, all.String(), alice.String())
			locks := append(Locks(id), kv.LockServer(), kv.LockAccount(99))
			update := func(fn func(tx kv.Tx)) {
				t.Helper()
				if err := f.o.KV.Update(t.Context(), kv.Txn{Lock: locks}, func(tx kv.Tx) error { fn(tx); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			update(func(tx kv.Tx) { tx.Set(kv.K(kv.Counters).Account(id), nil) })
			if found, err := f.Verify(t.Context(), true, mailboxes{}); err != nil || len(found) > 0 {
				t.Fatalf("before: %v, %v", found, err)
			}
			update(func(tx kv.Tx) { c.hurt(tx, id) })
			if found, err := f.Verify(t.Context(), false, mailboxes{}); err != nil || len(found) == 0 {
				t.Fatalf("nothing found: %v", err)
			}
			found, err := f.Verify(t.Context(), true, mailboxes{})
			if err != nil {
				t.Fatal(err)
			}
			lost, beyond := "", false
			for _, x := range found {
				lost, beyond = lost+x.Lost, beyond || x.State != mail.Mended
			}
			if (c.lost == "") != (lost == "") || !strings.Contains(lost, c.lost) || beyond != c.beyond {
				t.Errorf("found %+v, want %q lost", found, c.lost)
			}
			again, err := f.Verify(t.Context(), true, mailboxes{})
			if err != nil || !c.beyond && len(again) > 0 {
				t.Errorf("after: %v, %v", again, err)
			}
			if c.beyond {
				return
			}
			if a, err := f.AccountOf(t.Context(), alice); err != nil || a.ID != id {
				t.Errorf("%+v, %v", a, err)
			}
		})
	}
}

// TestDamagedSecret: a directory whose secret is damaged is open to a check alone, which gives it another one. Passwords
// stay; what was sealed with the old one is lost, and said so.
func TestDamagedSecret(t *testing.T) {
	t.Parallel()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	alice := mail.Address{Local: "alice", Domain: "a.test"}
	f := open(t, Options{KV: s, Recoverable: true})
	if err := f.AddDomain(t.Context(), directory.Domain{Name: "a.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	id := add(t, f, NewAccount{Address: alice, Password: "secret"})
	set := func(k kv.Key, v []byte) {
		t.Helper()
		if err := s.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(tx kv.Tx) error { tx.Set(k, v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	set(kv.K(kv.Counters).Account(id), nil)
	set(secretKey(), []byte{format, 1, 2})
	if _, err := New(t.Context(), Options{KV: s}); !mail.Is(err, mail.Internal) || !strings.Contains(err.Error(), "check --repair") {
		t.Error(err)
	}
	d, err := New(t.Context(), Options{KV: s, Unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := d.Verify(t.Context(), false, mailboxes{}); err != nil || len(found) != 1 || found[0].State != mail.Mendable {
		t.Errorf("%v, %v", found, err)
	}
	found, err := d.Verify(t.Context(), true, mailboxes{})
	if err != nil || len(found) != 2 || found[0].State != mail.Mended || found[0].Lost != "" || !strings.Contains(found[1].Lost, "APOP") {
		t.Errorf("%+v, %v", found, err)
	}
	again := open(t, Options{KV: s, Recoverable: true})
	if found, err := again.Verify(t.Context(), true, mailboxes{}); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	if _, err := again.Password(t.Context(), "", alice.String(), "secret"); err != nil {
		t.Error(err)
	}
}
