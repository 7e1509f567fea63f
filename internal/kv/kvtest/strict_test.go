package kvtest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

func strict(t *testing.T, o kvtest.Options) kv.Store {
	t.Helper()
	s, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return kvtest.Strict(s, o)
}

// TestViolations has every rule broken once.
func TestViolations(t *testing.T) {
	t.Parallel()
	one, two := kv.LockAccount(1), kv.LockAccount(2)
	entry := kv.K(kv.Entries).Account(1).U32(1).U32(1)
	scan := func(r kv.Reader, from, to kv.Key) error {
		for _, err := range r.Scan(from, to, kv.ScanOptions{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	for name, c := range map[string]struct {
		txn  kv.Txn
		fn   func(kv.Tx) error
		want string // part of the error; empty is none
	}{
		"good": {kv.Txn{Lock: []kv.Key{one}}, func(tx kv.Tx) error {
			tx.Set(entry, nil)
			tx.DeleteRange(kv.K(kv.Emails).Account(1), kv.K(kv.Emails).Account(1).End())
			_, err := tx.Get(kv.K(kv.Emails).Account(2).U64(1)) // written once: needs no lock
			if !mail.Is(err, mail.NotFound) {
				return err
			}
			return scan(tx, kv.K(kv.Where).Account(1), kv.K(kv.Where).Account(1).End())
		}, ""},
		"write without lock":  {kv.Txn{Lock: []kv.Key{two}}, func(tx kv.Tx) error { tx.Set(entry, nil); return nil }, "without lock"},
		"delete without lock": {kv.Txn{}, func(tx kv.Tx) error { tx.Delete(entry); return nil }, "without lock"},
		"read without lock":   {kv.Txn{Lock: []kv.Key{two}}, func(tx kv.Tx) error { _, err := tx.Get(entry); return err }, "without lock"},
		"multi without lock": {
			kv.Txn{},
			func(tx kv.Tx) error { _, err := tx.GetMulti([]kv.Key{entry}); return err },
			"without lock",
		},
		"hidden": {kv.Txn{}, func(tx kv.Tx) error { _, _ = tx.Get(entry); return nil }, "without lock"},
		"scan without lock": {kv.Txn{Lock: []kv.Key{one}}, func(tx kv.Tx) error {
			return scan(tx, kv.K(kv.Accounts), kv.K(kv.Accounts).End())
		}, "without lock"},
		"no table":  {kv.Txn{}, func(tx kv.Tx) error { tx.Set(kv.Key("zz1"), nil); return nil }, "of no table"},
		"short key": {kv.Txn{}, func(tx kv.Tx) error { tx.Set(kv.K(kv.Entries).U8(1), nil); return nil }, "of no table"},
		"own scan": {kv.Txn{Lock: []kv.Key{one}}, func(tx kv.Tx) error {
			tx.Set(entry, nil)
			return scan(tx, kv.K(kv.Entries).Account(1), kv.K(kv.Entries).Account(1).End())
		}, "written in the same transaction"},
		"lazy": {kv.Txn{Lock: []kv.Key{one}, Lazy: true}, func(tx kv.Tx) error { tx.Set(entry, nil); return nil }, "lazily"},
		"lazy good": {kv.Txn{Lock: []kv.Key{kv.LockQueueItem(5)}, Lazy: true}, func(tx kv.Tx) error {
			tx.Set(kv.K(kv.Rates).Text("x"), nil)
			tx.Delete(kv.K(kv.QueueItems).U16(1).U64(5))
			return nil
		}, ""},
		"range of all": {kv.Txn{Lock: []kv.Key{one}}, func(tx kv.Tx) error {
			tx.DeleteRange(kv.K(kv.Entries).Account(1), kv.K(kv.Entries).End())
			return nil
		}, "several accounts"},
		"range of names": {kv.Txn{Lock: []kv.Key{kv.LockDirectory()}}, func(tx kv.Tx) error {
			tx.DeleteRange(kv.K(kv.Domains), kv.K(kv.Domains).End())
			return nil
		}, "of no account"},
		"undeclared": {kv.Txn{Lock: []kv.Key{one}, Read: []kv.Key{kv.K(kv.Counters).Account(1)}}, func(tx kv.Tx) error {
			_, _ = tx.Get(entry)
			return nil
		}, "not declared"},
		"declared": {kv.Txn{Lock: []kv.Key{one}, Read: []kv.Key{entry}}, func(tx kv.Tx) error {
			_, _ = tx.Get(entry)
			return nil
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reported := 0
			s := strict(t, kvtest.Options{Report: func(...any) { reported++ }, Declared: true})
			for a := range mail.AccountID(3) {
				fill := kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}
				err := s.Update(context.Background(), fill, func(tx kv.Tx) error { tx.Set(kv.K(kv.Accounts).Account(a), nil); return nil })
				if err != nil {
					t.Fatal(err)
				}
			}
			err := s.Update(context.Background(), c.txn, c.fn)
			switch {
			case c.want == "" && (err != nil || reported > 0):
				t.Errorf("got %v, %d reports", err, reported)
			case c.want == "":
			case err == nil || !strings.Contains(err.Error(), c.want) || mail.KindOf(err) != mail.Internal:
				t.Errorf("got %v", err)
			case reported == 0 && !errors.Is(err, kv.ErrOwnWrites):
				t.Error("not reported")
			}
		})
	}
}

func TestStrictRunsTwice(t *testing.T) {
	t.Parallel()
	runs := 0
	k, txn := kv.K(kv.Accounts).Account(1), kv.Txn{Lock: []kv.Key{kv.LockAccount(1)}}
	s := strict(t, kvtest.Options{})
	var first []byte
	for range 2 {
		err := s.Update(context.Background(), txn, func(tx kv.Tx) error {
			runs++
			v, _ := tx.Get(k)
			if first == nil {
				first = v
			}
			tx.Set(k, append([]byte("x"), v...))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err := s.View(context.Background(), txn.Lock, func(r kv.Reader) error {
		v, err := r.Get(k)
		if string(v) != "xx" || runs != 4 {
			t.Errorf("got %q after %d runs", v, runs)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(first) == "x" {
		t.Error("a value lives on after its transaction")
	}
}

func TestStrictAfterTheEnd(t *testing.T) {
	t.Parallel()
	reported := 0
	s := strict(t, kvtest.Options{Report: func(...any) { reported++ }, Once: true})
	var kept kv.Tx
	txn := kv.Txn{Lock: []kv.Key{kv.LockAccount(1)}}
	if err := s.Update(context.Background(), txn, func(tx kv.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := kept.Get(kv.K(kv.Accounts).Account(1)); err == nil || reported != 1 {
		t.Errorf("got %v, %d reports", err, reported)
	}
	kept.Set(kv.K(kv.Accounts).Account(1), nil)
	if reported != 2 {
		t.Errorf("%d reports", reported)
	}
}
