package kvtest

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

func testLargeValues(t *testing.T, s *suite) {
	for i, n := range []int{64 << 10, 64<<10 + 1, 200_000, 5 << 20} {
		body := make([]byte, n)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(body)
		k := key(1, string(rune('a'+i)))
		s.update(t, 1, func(tx kv.Tx) error {
			tx.Set(k, body)
			v, err := tx.Get(k)
			if !bytes.Equal(v, body) {
				t.Errorf("%d octets: own write differs", n)
			}
			return err
		})
		s.view(t, 1, func(r kv.Reader) error {
			v, err := r.Get(k)
			if !bytes.Equal(v, body) {
				t.Errorf("%d octets: got %d", n, len(v))
			}
			for row, err := range r.Scan(k, kv.Key(k).End(), kv.ScanOptions{}) {
				if err != nil || !bytes.Equal(row.Value, body) || !bytes.Equal(row.Key, k) {
					t.Errorf("%d octets: scan gives %d, %v", n, len(row.Value), err)
				}
			}
			return err
		})
	}
}

func testLimits(t *testing.T, s *suite) {
	half := make([]byte, kv.MaxTxnBytes/2)
	for name, c := range map[string]struct {
		kind mail.Kind
		fn   func(kv.Tx)
	}{
		"octets": {mail.TooLarge, func(tx kv.Tx) { tx.Set(key(1, "a"), half); tx.Set(key(1, "b"), half) }},
		"rows": {mail.TooLarge, func(tx kv.Tx) {
			for i := range kv.MaxTxnRows + 1 {
				tx.Delete(kv.K(kv.Objects).Account(1).U32(uint32(i)))
			}
		}},
		"key": {mail.Invalid, func(tx kv.Tx) { tx.Set(key(1, strings.Repeat("k", kv.MaxKey)), nil) }},
	} {
		err := s.Update(s.ctx, kv.Txn{Lock: lock(1)}, func(tx kv.Tx) error { c.fn(tx); return nil })
		if !mail.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.view(t, 1, func(r kv.Reader) error {
		if got, err := rows(r, kv.K(kv.Objects), kv.K(kv.Objects).End(), kv.ScanOptions{Limit: 3}); got != "" || err != nil {
			t.Errorf("left behind: %.100q, %v", got, err)
		}
		return nil
	})
	s.update(t, 1, func(tx kv.Tx) error { // just within
		tx.Set(key(1, "a"), half[:len(half)-100])
		tx.Set(key(1, "b"), half[:len(half)-100])
		tx.Set(key(1, strings.Repeat("k", 100)[:90]), nil)
		return nil
	})
}

// testLifetime keeps values until fn returns while much else is read and written.
func testLifetime(t *testing.T, s *suite) {
	for i := range 100 {
		s.set(t, string(rune('a'+i)), strings.Repeat(string(rune('a'+i)), 1+i*i*5))
	}
	check := func(r kv.Reader) error {
		var got [][]byte
		for i := range 100 {
			v, err := r.Get(key(1, string(rune('a'+i))))
			if err != nil {
				return err
			}
			got = append(got, v)
			if tx, ok := r.(kv.Tx); ok {
				tx.Set(key(1, string(rune('a'+i))), []byte("overwritten"))
			}
		}
		for i, v := range got {
			if string(v) != strings.Repeat(string(rune('a'+i)), 1+i*i*5) {
				t.Errorf("value %d changed", i)
			}
		}
		return nil
	}
	s.view(t, 1, check)
	s.update(t, 1, func(tx kv.Tx) error { return check(tx) })
}

// testSnapshot commits while a View runs, which must not see it.
func testSnapshot(t *testing.T, s *suite) {
	s.set(t, "a", "old")
	s.view(t, 1, func(r kv.Reader) error {
		s.set(t, "a", "new", "b", "new")
		want(t, r, key(1, "a"), "old")
		want(t, r, key(1, "b"), "-")
		got, err := rows(r, key(1, ""), key(1, "z"), kv.ScanOptions{})
		if got != "a=old " || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		return nil
	})
	s.view(t, 1, func(r kv.Reader) error { want(t, r, key(1, "a"), "new"); return nil })
}

// testCanceled has the context end before, and while waiting for a lock.
func testCanceled(t *testing.T, s *suite) {
	ended, end := context.WithCancel(s.ctx)
	end()
	must := func(err error) {
		t.Helper()
		if !mail.Is(err, mail.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	must(s.Update(ended, kv.Txn{Lock: lock(1)}, func(kv.Tx) error { return nil }))
	must(s.View(ended, lock(1), func(kv.Reader) error { return nil }))
	held, leave := make(chan struct{}, 9), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- s.Update(s.ctx, kv.Txn{Lock: lock(1, 2, 1)}, func(kv.Tx) error {
			held <- struct{}{}
			<-leave
			return nil
		})
	}()
	<-held
	soon, end := context.WithTimeout(s.ctx, 20*time.Millisecond)
	defer end()
	must(s.Update(soon, kv.Txn{Lock: lock(0, 2)}, func(kv.Tx) error { return nil }))
	must(s.View(soon, lock(0, 1), func(kv.Reader) error { return nil }))
	s.view(t, 0, func(kv.Reader) error { return nil }) // what was taken first is free again
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	s.view(t, 2, func(kv.Reader) error { return nil })
}

func testLazy(t *testing.T, s *suite) {
	k := kv.K(kv.Rates).Text("x")
	for _, v := range []string{"1", "2"} {
		err := s.Update(s.ctx, kv.Txn{Lazy: true}, func(tx kv.Tx) error { tx.Set(k, []byte(v)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		if err := s.View(s.ctx, nil, func(r kv.Reader) error { want(t, r, k, v); return nil }); err != nil {
			t.Fatal(err)
		}
	}
}

func testClose(t *testing.T, s *suite) {
	held, leave, done := make(chan struct{}, 9), make(chan struct{}), make(chan error, 2)
	go func() {
		done <- s.View(s.ctx, lock(1), func(kv.Reader) error { held <- struct{}{}; <-leave; return nil })
	}()
	<-held
	go func() { done <- s.Close() }()
	select {
	case err := <-done:
		t.Fatalf("closed while a View runs: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	close(leave)
	if err := errors.Join(<-done, <-done); err != nil {
		t.Error(err)
	}
	if err := s.Update(s.ctx, kv.Txn{}, func(kv.Tx) error { return nil }); !mail.Is(err, mail.Unavailable) {
		t.Errorf("Update after Close: %v", err)
	}
	if err := s.View(s.ctx, nil, func(kv.Reader) error { return nil }); !mail.Is(err, mail.Unavailable) {
		t.Errorf("View after Close: %v", err)
	}
}
