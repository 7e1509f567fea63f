package kvtest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
)

// testDigests has many transactions at once over few accounts, which sets, deletes and ranges make differ. Each account
// has a row with the digest of its others: every transaction finds it right, whatever was written before it and with it,
// and by those that failed.
func testDigests(t *testing.T, s *suite) {
	const writers, times = 24, 20
	var wg sync.WaitGroup
	for w := range writers {
		rng := rand.New(rand.NewPCG(uint64(w), 2))
		wg.Go(func() {
			for range times {
				accounts := []mail.AccountID{mail.AccountID(1 + rng.IntN(4))}
				if other := mail.AccountID(1 + rng.IntN(4)); rng.IntN(3) == 0 && other != accounts[0] {
					accounts = append(accounts, other)
				}
				if err := s.digested(accounts, rng.Uint64()); err != nil && !errors.Is(err, errRefused) {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for a := range mail.AccountID(4) {
		s.view(t, a+1, func(r kv.Reader) error {
			_, err := readDigested(r, a+1, true)
			return err
		})
	}
}

var errRefused = errors.New("refused")

func (s *suite) digested(accounts []mail.AccountID, seed uint64) error {
	txn := kv.Txn{Lock: lock(accounts...)}
	if seed%2 == 0 {
		for _, a := range accounts {
			txn.Read = append(txn.Read, key(a, "digest"), key(a, "row3"))
		}
	}
	return s.Update(s.ctx, txn, func(tx kv.Tx) error {
		rng := rand.New(rand.NewPCG(seed, 3)) // here, for fn may run again
		for _, a := range accounts {
			if err := changeDigested(tx, a, rng); err != nil {
				return err
			}
		}
		if rng.IntN(4) == 0 {
			return errRefused
		}
		return nil
	})
}

// readDigested gives the rows of an account, and compares their digest.
func readDigested(r kv.Reader, a mail.AccountID, scan bool) (have map[string]string, err error) {
	if scan {
		have = map[string]string{}
		for row, err := range r.Scan(key(a, "row"), key(a, "row").End(), kv.ScanOptions{}) {
			if err != nil {
				return nil, err
			}
			have[string(row.Key[10:])] = string(row.Value)
		}
	} else if have, err = eachDigested(r, a); err != nil {
		return nil, err
	}
	v, err := r.GetMulti([]kv.Key{key(a, "digest")})
	if err == nil && string(v[0]) != digest(have) {
		err = fmt.Errorf("account %d: digest %s, rows have %s: %q", a, v[0], digest(have), have)
	}
	return have, err
}

const digestedRows = 30

func rowName(n int) string { return fmt.Sprint("row", n) }

// eachDigested reads the rows one by one.
func eachDigested(r kv.Reader, a mail.AccountID) (map[string]string, error) {
	var keys []kv.Key
	for n := range digestedRows {
		keys = append(keys, key(a, rowName(n)))
	}
	values, err := r.GetMulti(keys)
	have := map[string]string{}
	for n, v := range values {
		if v != nil {
			have[rowName(n)] = string(v)
		}
	}
	return have, err
}

func digest(rows map[string]string) string {
	if len(rows) == 0 {
		return ""
	}
	h := fnv.New64a()
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		_, _ = fmt.Fprintf(h, "%q %q\n", k, rows[k])
	}
	return fmt.Sprintf("%x", h.Sum64())
}

// changeDigested changes rows of an account at random and reads all of them back.
func changeDigested(tx kv.Tx, a mail.AccountID, rng *rand.Rand) error {
	have, err := readDigested(tx, a, rng.IntN(2) == 0)
	if err != nil {
		return err
	}
	for n := range rng.IntN(40) {
		name := rowName(rng.IntN(digestedRows))
		switch rng.IntN(16) {
		case 0, 1:
			tx.Delete(key(a, name))
			delete(have, name)
		case 2:
			to := rowName(rng.IntN(digestedRows))
			tx.DeleteRange(key(a, name), key(a, to))
			maps.DeleteFunc(have, func(k, _ string) bool { return k >= name && k < to })
		default:
			have[name] = fmt.Sprint(n, rng.Uint64())
			tx.Set(key(a, name), []byte(have[name]))
		}
	}
	if own, err := eachDigested(tx, a); err != nil || !maps.Equal(own, have) {
		return fmt.Errorf("account %d: reads %q, written was %q, %v", a, own, have, err)
	}
	tx.Set(key(a, "digest"), []byte(digest(have)))
	return nil
}
