package postgres

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"postel/internal/kv"
	"postel/internal/mail"
)

// TestOpenAtOnce opens one empty database many times at one moment: one makes the tables, all find them.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	url := server.URL(t)
	var wg sync.WaitGroup
	for a := range 8 {
		wg.Go(func() {
			s, err := Open(t.Context(), Options{URL: url})
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if n, err := raise(t.Context(), s, a); n != 1 || err != nil {
				t.Errorf("account %d: %d, %v", a, n, err)
			}
		})
	}
	wg.Wait()
}

func TestNewerFormat(t *testing.T) {
	t.Parallel()
	url := server.URL(t)
	s, err := Open(t.Context(), Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	for version, kind := range map[int]mail.Kind{Format + 1: mail.Unsupported, -1: mail.Internal} {
		if _, err := c.Exec(t.Context(), fmt.Sprint(`UPDATE postel_schema SET version = `, version)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), Options{URL: url}); !mail.Is(err, kind) {
			t.Errorf("version %d: %v", version, err)
		}
		got := 0
		if err := c.QueryRow(t.Context(), `SELECT version FROM postel_schema`).Scan(&got); got != version || err != nil {
			t.Errorf("the version is %d now, %v", got, err)
		}
	}
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for url, kind := range map[string]mail.Kind{
		"postgres://u:secret@127.0.0.1:notaport/x":        mail.Invalid,
		"postgres://u:secret@127.0.0.1:1/x?sslmode=bogus": mail.Invalid,
		"postgres://u:secret@127.0.0.1:1/x":               mail.Unavailable,
	} {
		_, err := Open(t.Context(), Options{URL: url})
		if !mail.Is(err, kind) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// TestDurableWhateverTheURLSays looks at the settings of both kinds of session.
func TestDurableWhateverTheURLSays(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"off": "on", "local": "on", "remote_apply": "remote_apply"} {
		pool, session, err := Options{URL: "postgres://u@127.0.0.1/x?synchronous_commit=" + given}.configs()
		if err != nil {
			t.Fatal(err)
		}
		a, b := pool.ConnConfig.RuntimeParams["synchronous_commit"], session.RuntimeParams["synchronous_commit"]
		if a != want || b != want {
			t.Errorf("%s: sessions have %s and %s", given, a, b)
		}
	}
}

// TestCoalesced holds one group up while 50 transactions come: they need few groups, also those under one lock.
func TestCoalesced(t *testing.T) {
	t.Parallel()
	s := open(t)
	leave, held := make(chan struct{}), make(chan struct{}, 2)
	var wg sync.WaitGroup
	for a := range 2 { // both workers
		wg.Go(func() {
			err := s.Update(t.Context(), kv.Txn{Lock: account(100 + a)}, func(kv.Tx) error { held <- struct{}{}; <-leave; return nil })
			if err != nil {
				t.Error(err)
			}
		})
		<-held
	}
	var mu sync.Mutex
	groups := map[*group]int{}
	for i := range 50 {
		wg.Go(func() {
			err := s.Update(t.Context(), kv.Txn{Lock: account(i % 5)}, func(x kv.Tx) error {
				mu.Lock()
				groups[x.(*tx).g]++
				mu.Unlock()
				if i == 20 {
					return errors.New("no")
				}
				n, err := count(x, counter(i%5))
				setCount(x, counter(i%5), n+1)
				return err
			})
			if (err != nil) != (i == 20) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	for s.line.waiting() < 50 {
		runtime.Gosched()
	}
	close(leave)
	wg.Wait()
	if len(groups) > 2 {
		t.Errorf("%d groups", len(groups))
	}
	for a := range 5 {
		want := uint64(10)
		if a == 0 {
			want = 9
		}
		err := s.View(t.Context(), account(a), func(r kv.Reader) error {
			if n, err := count(r, counter(a)); n != want || err != nil {
				t.Errorf("account %d: %d, %v", a, n, err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// TestScanInGroup has many transactions under one lock scan what those before them wrote, in one group or in several,
// and delete a range now and then.
func TestScanInGroup(t *testing.T) {
	t.Parallel()
	s := open(t)
	row := func(n int) kv.Key { return kv.K(kv.Emails).Account(1).U64(uint64(n)) }
	var wg sync.WaitGroup
	var mu sync.Mutex
	lengths := map[int]int{}
	for range 40 {
		wg.Go(func() {
			n := 0
			err := s.Update(t.Context(), kv.Txn{Lock: account(1), Read: []kv.Key{row(0)}}, func(tx kv.Tx) error {
				n = 0
				for r, err := range tx.Scan(row(0), row(1000), kv.ScanOptions{}) {
					if err != nil {
						return err
					}
					if string(r.Key) != string(row(n)) {
						t.Errorf("row %d is %q", n, r.Key)
					}
					n++
				}
				if _, err := tx.Get(row(0)); (err == nil) != (n > 0) {
					t.Errorf("with %d rows: %v", n, err)
				}
				if n == 10 {
					tx.DeleteRange(row(0), row(500))
					return nil
				}
				tx.Set(row(n), nil)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			lengths[n]++
			mu.Unlock()
		})
	}
	wg.Wait()
	for n, times := range lengths { // 0 to 10, over and over: 40 = 3 * 11 + 7
		if want := 3 + index(n < 7); times != want || n > 10 {
			t.Errorf("%d rows were seen %d times, want %d", n, times, want)
		}
	}
}

// TestTwoNodes has two stores on one database count the same things, under locks taken in any order.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	url := server.URL(t)
	const writers, times = 6, 20
	var wg sync.WaitGroup
	for range 2 {
		s, err := Open(t.Context(), Options{URL: url, Views: 2})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for w := range writers {
			wg.Go(func() {
				for i := range times {
					a, b := (w+i)%4, (w+3*i+1)%4
					err := s.Update(t.Context(), kv.Txn{Lock: append(account(a), account(b)...)}, func(tx kv.Tx) error {
						for _, k := range []kv.Key{counter(a), counter(b)} {
							n, err := count(tx, k)
							if err != nil {
								return err
							}
							setCount(tx, k, n+1)
						}
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	var sum uint64
	s, err := Open(t.Context(), Options{URL: url, Views: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for a := range 4 {
		err := s.View(t.Context(), account(a), func(r kv.Reader) error {
			n, err := count(r, counter(a))
			sum += n
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	if want := uint64(2 * 2 * writers * times); sum != want {
		t.Errorf("the counters sum to %d, want %d", sum, want)
	}
}

func setCount(tx kv.Tx, k kv.Key, n uint64) { tx.Set(k, binary.BigEndian.AppendUint64(nil, n)) }

// waiting tells how many transactions wait for a group.
func (l *line) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}
