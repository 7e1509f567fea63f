package kvtest

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
)

func number(r kv.Reader, k kv.Key) (int64, error) {
	v, err := r.Get(k)
	if mail.Is(err, mail.NotFound) {
		return 0, nil
	}
	if err != nil || len(v) != 8 {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

func setNumber(tx kv.Tx, k kv.Key, n int64) { tx.Set(k, binary.BigEndian.AppendUint64(nil, uint64(n))) }

// testCounters has many writers count one number up: none is lost.
func testCounters(t *testing.T, s *suite) {
	const writers, times = 16, 25
	k := key(1, "n")
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range times {
				err := s.Update(s.ctx, kv.Txn{Lock: lock(1), Read: []kv.Key{k}}, func(tx kv.Tx) error {
					n, err := number(tx, k)
					setNumber(tx, k, n+1)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s.view(t, 1, func(r kv.Reader) error {
		n, err := number(r, k)
		if n != writers*times {
			t.Errorf("counted to %d of %d", n, writers*times)
		}
		return err
	})
}

// testTransfers moves amounts between accounts that are locked in any order: no deadlock, and the sum stays in
// every View under all locks.
func testTransfers(t *testing.T, s *suite) {
	const accounts = 5
	var every []kv.Key
	for a := range mail.AccountID(accounts) {
		every = append(every, kv.LockAccount(a))
	}
	var wg sync.WaitGroup
	for w := range 8 {
		rng := rand.New(rand.NewPCG(uint64(w), 1))
		wg.Go(func() {
			for range 40 {
				from, to := mail.AccountID(rng.IntN(accounts)), mail.AccountID(rng.IntN(accounts))
				if from == to {
					continue
				}
				if err := s.transfer(from, to, rng.Int64N(100)); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				err := s.View(s.ctx, every, func(r kv.Reader) error {
					var sum int64
					for a := range mail.AccountID(accounts) {
						n, err := number(r, key(a, "n"))
						if err != nil {
							return err
						}
						sum += n
					}
					if sum != 0 {
						t.Errorf("the sum is %d", sum)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func (s *suite) transfer(from, to mail.AccountID, amount int64) error {
	return s.Update(s.ctx, kv.Txn{Lock: lock(from, to)}, func(tx kv.Tx) error {
		a, err := number(tx, key(from, "n"))
		if err != nil {
			return err
		}
		b, err := number(tx, key(to, "n"))
		setNumber(tx, key(from, "n"), a-amount)
		setNumber(tx, key(to, "n"), b+amount)
		return err
	})
}
