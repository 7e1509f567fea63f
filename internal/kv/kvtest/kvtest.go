package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Run is the conformance suite: every backend passes it, plain and under Strict. open gives an empty store, which
// the suite closes.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, *suite){
		"Rows": testRows, "OwnWrites": testOwnWrites, "Scan": testScan, "DeleteRange": testDeleteRange,
		"LargeValues": testLargeValues, "Limits": testLimits, "Errors": testErrors, "Lifetime": testLifetime,
		"Snapshot": testSnapshot, "Counters": testCounters, "Transfers": testTransfers, "Canceled": testCanceled,
		"Digests": testDigests, "Lazy": testLazy, "Panic": testPanic, "Model": testModel, "Close": testClose,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &suite{Store: open(t), ctx: t.Context()}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			test(t, s)
		})
	}
}

// suite is a store with what every test needs.
type suite struct {
	kv.Store
	ctx context.Context
}

// key gives a row of an account, and lock its lock.
func key(a mail.AccountID, name string) kv.Key { return kv.K(kv.Objects).Account(a).Text(name) }

func lock(a ...mail.AccountID) (keys []kv.Key) {
	for _, a := range a {
		keys = append(keys, kv.LockAccount(a))
	}
	return keys
}

func (s *suite) update(t *testing.T, a mail.AccountID, fn func(kv.Tx) error) {
	t.Helper()
	if err := s.Update(s.ctx, kv.Txn{Lock: lock(a)}, fn); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) view(t *testing.T, a mail.AccountID, fn func(kv.Reader) error) {
	t.Helper()
	if err := s.View(s.ctx, lock(a), fn); err != nil {
		t.Fatal(err)
	}
}

// set writes rows of account 1.
func (s *suite) set(t *testing.T, pairs ...string) {
	t.Helper()
	s.update(t, 1, func(tx kv.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			tx.Set(key(1, pairs[i]), []byte(pairs[i+1]))
		}
		return nil
	})
}

// want checks one row; "-" is that it does not exist.
func want(t *testing.T, r kv.Reader, k kv.Key, value string) {
	t.Helper()
	v, err := r.Get(k)
	switch {
	case value == "-":
		if !errors.Is(err, kv.ErrNotFound) || !mail.Is(err, mail.NotFound) {
			t.Errorf("%q: got %q, %v; want none", k, v, err)
		}
	case err != nil || string(v) != value || v == nil:
		t.Errorf("%q: got %q, %v; want %q", k, v, err, value)
	}
}

// rows reads a range into text: key=value, in order, keys without their account.
func rows(r kv.Reader, from, to kv.Key, o kv.ScanOptions) (string, error) {
	var b bytes.Buffer
	for row, err := range r.Scan(from, to, o) {
		if err != nil {
			return b.String(), err
		}
		if row.Value == nil != o.KeysOnly {
			return "", fmt.Errorf("value of %q is nil: %v", row.Key, row.Value == nil)
		}
		fmt.Fprintf(&b, "%s=%s ", row.Key[10:], row.Value)
	}
	return b.String(), nil
}

func testRows(t *testing.T, s *suite) {
	s.set(t, "a", "1", "b", "", "c", "3")
	s.update(t, 1, func(tx kv.Tx) error { tx.Delete(key(1, "c")); tx.Delete(key(1, "never")); return nil })
	check := func(r kv.Reader) error {
		want(t, r, key(1, "a"), "1")
		want(t, r, key(1, "b"), "")
		want(t, r, key(1, "c"), "-")
		v, err := r.GetMulti([]kv.Key{key(1, "c"), key(1, "b"), key(1, "a"), key(1, "a")})
		if err != nil || len(v) != 4 || v[0] != nil || v[1] == nil || len(v[1]) != 0 || string(v[2])+string(v[3]) != "11" {
			t.Errorf("GetMulti: %q, %v", v, err)
		}
		return nil
	}
	s.view(t, 1, check)
	s.update(t, 1, func(tx kv.Tx) error { return check(tx) })
	if err := s.Update(s.ctx, kv.Txn{}, func(kv.Tx) error { return nil }); err != nil {
		t.Errorf("an empty transaction: %v", err)
	}
}

func testOwnWrites(t *testing.T, s *suite) {
	s.set(t, "old", "1", "gone", "1", "range1", "1", "range2", "1")
	for _, many := range []int{0, 100} { // few and many writes are found in different ways
		s.update(t, 1, func(tx kv.Tx) error {
			for i := range many {
				tx.Set(key(1, fmt.Sprint("fill", i)), []byte("f"))
			}
			name, value := key(1, "new"), []byte("2")
			tx.Set(name, value)
			copy(name, "xxxxxxxxxxxxx") // both may be reused
			copy(value, "x")
			want(t, tx, key(1, "new"), "2")
			tx.Set(key(1, "new"), nil)
			want(t, tx, key(1, "new"), "")
			tx.Set(key(1, "new"), []byte("3"))
			tx.Delete(key(1, "gone"))
			want(t, tx, key(1, "gone"), "-")
			want(t, tx, key(1, "old"), "1")
			tx.DeleteRange(key(1, "range"), key(1, "range9"))
			want(t, tx, key(1, "range1"), "-")
			tx.Set(key(1, "range2"), []byte("again"))
			want(t, tx, key(1, "range2"), "again")
			v, err := tx.GetMulti([]kv.Key{key(1, "new"), key(1, "gone"), key(1, "old"), key(1, "range1"), key(1, "range2")})
			if got := fmt.Sprintf("%q %v", v, err); got != `["3" "" "1" "" "again"] <nil>` || v[1] != nil || v[3] != nil {
				t.Errorf("GetMulti: %s", got)
			}
			return nil
		})
		s.view(t, 1, func(r kv.Reader) error {
			want(t, r, key(1, "new"), "3")
			want(t, r, key(1, "gone"), "-")
			want(t, r, key(1, "range1"), "-")
			want(t, r, key(1, "range2"), "again")
			return nil
		})
		s.set(t, "gone", "1", "range1", "1", "range2", "1")
	}
}

func testScan(t *testing.T, s *suite) {
	s.set(t, "a", "1", "b", "2", "b\x00", "", "b\xff\xff", "4", "c", "5")
	s.update(t, 2, func(tx kv.Tx) error { tx.Set(key(2, "z"), []byte("other")); return nil })
	all, end := kv.K(kv.Objects).Account(1), kv.K(kv.Objects).Account(1).End()
	for _, c := range []struct {
		from, to kv.Key
		o        kv.ScanOptions
		want     string
	}{
		{all, end, kv.ScanOptions{}, "a=1 b=2 b\x00= b\xff\xff=4 c=5 "},
		{all, end, kv.ScanOptions{Reverse: true}, "c=5 b\xff\xff=4 b\x00= b=2 a=1 "},
		{all, end, kv.ScanOptions{KeysOnly: true, Limit: 2}, "a= b= "},
		{all, end, kv.ScanOptions{Reverse: true, Limit: 1}, "c=5 "},
		{key(1, "b"), key(1, "c"), kv.ScanOptions{}, "b=2 b\x00= b\xff\xff=4 "},
		{key(1, "b"), key(1, "b\x00"), kv.ScanOptions{}, "b=2 "},
		{key(1, "aa"), key(1, "ab"), kv.ScanOptions{}, ""},
		{key(1, "c"), key(1, "a"), kv.ScanOptions{}, ""},
		{key(1, "c"), key(1, "c"), kv.ScanOptions{}, ""},
		{key(1, "c"), nil, kv.ScanOptions{Limit: 1}, "c=5 "},
	} {
		s.view(t, 1, func(r kv.Reader) error {
			if got, err := rows(r, c.from, c.to, c.o); got != c.want || err != nil {
				t.Errorf("%q to %q, %+v: got %q, %v; want %q", c.from, c.to, c.o, got, err, c.want)
			}
			return nil
		})
	}
	s.update(t, 1, func(tx kv.Tx) error {
		tx.Set(key(1, "bb"), nil)
		tx.DeleteRange(key(1, "x"), key(1, "y"))
		for _, c := range []struct {
			from, to string
			own      bool
		}{
			{"a", "b", false},
			{"b", "c", true},
			{"bb", "bb\x00", true},
			{"bb\x00", "c", false},
			{"a", "bb", false},
			{"w", "x", false},
			{"w", "xx", true},
			{"xx", "xy", true},
			{"y", "z", false},
			{"a", "z", true},
		} {
			_, err := rows(tx, key(1, c.from), key(1, c.to), kv.ScanOptions{})
			if own := errors.Is(err, kv.ErrOwnWrites); own != c.own || !own && err != nil || own && !mail.Is(err, mail.Internal) {
				t.Errorf("%q to %q: %v", c.from, c.to, err)
			}
		}
		return nil
	})
	s.view(t, 1, func(r kv.Reader) error {
		n := 0
		for outer := range r.Scan(all, end, kv.ScanOptions{}) { // nested, and left early
			for range r.Scan(outer.Key, end, kv.ScanOptions{}) {
				n++
			}
			if n > 8 {
				break
			}
		}
		if n != 11 {
			t.Errorf("nested scans gave %d rows", n)
		}
		return nil
	})
}

func testDeleteRange(t *testing.T, s *suite) {
	s.set(t, "a", "1", "b", "2", "c", "3")
	s.update(t, 2, func(tx kv.Tx) error { tx.Set(key(2, "a"), []byte("2")); return nil })
	s.update(t, 1, func(tx kv.Tx) error {
		tx.DeleteRange(key(1, "a"), key(1, "a")) // empty
		tx.DeleteRange(key(1, "b"), kv.K(kv.Objects).Account(1).End())
		return nil
	})
	s.view(t, 1, func(r kv.Reader) error {
		want(t, r, key(1, "a"), "1")
		want(t, r, key(1, "b"), "-")
		want(t, r, key(1, "c"), "-")
		return nil
	})
	s.view(t, 2, func(r kv.Reader) error { want(t, r, key(2, "a"), "2"); return nil })
}

func testErrors(t *testing.T, s *suite) {
	s.set(t, "a", "1")
	mine := errors.New("mine")
	err := s.Update(s.ctx, kv.Txn{Lock: lock(1)}, func(tx kv.Tx) error { tx.Set(key(1, "a"), []byte("2")); return mine })
	if err != mine { //nolint:errorlint // as it is
		t.Errorf("got %v", err)
	}
	if err := s.View(s.ctx, lock(1), func(kv.Reader) error { return mine }); err != mine { //nolint:errorlint // as it is
		t.Errorf("got %v", err)
	}
	s.view(t, 1, func(r kv.Reader) error { want(t, r, key(1, "a"), "1"); return nil })
}

func testPanic(t *testing.T, s *suite) {
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = s.Update(s.ctx, kv.Txn{Lock: lock(1)}, func(tx kv.Tx) error {
			tx.Set(key(1, "a"), nil)
			panic("bug")
		})
	}()
	s.view(t, 1, func(r kv.Reader) error { want(t, r, key(1, "a"), "-"); return nil }) // the lock is free
}
