package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// BenchmarkUpdate measures durable commits of a delivery's size (a body of 5 KB that does not compress and eight
// small rows) by 1, 16 and 128 writers to as many accounts, beside a bare Pebble that commits the same and a bare
// fsync of as many octets, all in one run on one disk.
func BenchmarkUpdate(b *testing.B) {
	body := make([]byte, 5000)
	rand.NewChaCha8([32]byte{1}).Read(body)
	b.Run("fsync", func(b *testing.B) { benchFsync(b, body) })
	for _, n := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("bare-pebble/%d", n), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 64 << 20, Logger: engineLog{discard(b)}})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			parallel(b, n, func(writer, i int) error {
				t := db.NewBatch()
				defer t.Close()
				deliver(body, uint64(writer), uint64(i), func(k kv.Key, v []byte) { _ = t.Set(k, v, nil) })
				return db.Apply(t, pebble.Sync)
			})
		})
		for _, accounts := range []int{n, 1} {
			b.Run(fmt.Sprintf("update/%d-writers-%d-accounts", n, accounts), func(b *testing.B) {
				benchUpdate(b, body, n, accounts)
			})
			if n == 1 {
				break
			}
		}
	}
}

func benchUpdate(b *testing.B, body []byte, writers, accounts int) {
	hook, syncs := vfs.FailSync(".log", 0)
	s, err := Open(Options{FS: vfs.WithFaults(vfs.Default(), hook), Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	before := syncs()
	parallel(b, writers, func(writer, i int) error {
		account := mail.AccountID(writer % accounts)
		return s.Update(context.Background(), kv.Txn{Lock: []kv.Key{kv.LockAccount(account)}}, func(t kv.Tx) error {
			if _, err := t.Get(kv.K(kv.Counters).Account(account)); err != nil && err != kv.ErrNotFound {
				return err
			}
			deliver(body, uint64(writer), uint64(i), t.Set)
			return nil
		})
	})
	b.ReportMetric(float64(b.N)/float64(max(1, syncs()-before)), "commits/sync")
}

// deliver writes the rows of one delivery.
func deliver(body []byte, account, i uint64, set func(kv.Key, []byte)) {
	small := make([]byte, 30)
	binary.BigEndian.PutUint64(small, i)
	set(kv.K(kv.Blobs).U64(i).U64(account), body)
	set(kv.K(kv.BlobLinks).U64(i).U64(account).U8('e').U64(account).U64(i), nil)
	set(kv.K(kv.Counters).U64(account), small)
	set(kv.K(kv.BoxCounters).U64(account).U32(1), small)
	set(kv.K(kv.Entries).U64(account).U32(1).U32(uint32(i)), small)
	set(kv.K(kv.Emails).U64(account).U64(i), body[:700])
	set(kv.K(kv.Where).U64(account).U64(i), small[:8])
	set(kv.K(kv.Log).U64(account).U64(i), small)
}

// parallel runs b.N calls in n goroutines.
func parallel(b *testing.B, n int, call func(writer, i int) error) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range n {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= b.N; i = int(next.Add(1)) {
				if err := call(w, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func benchFsync(b *testing.B, body []byte) {
	f, err := os.Create(filepath.Join(b.TempDir(), "x"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := f.Write(body); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
}

func discard(b *testing.B) *Store {
	b.Helper()
	return &Store{log: Options{}.withDefaults().Logger, failed: make(chan struct{})}
}

// BenchmarkView reads one row of 30 octets and one of 3000 under a lock, from a store that was flushed.
func BenchmarkView(b *testing.B) {
	for _, n := range []int{30, 3000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := OpenMemory()
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			ctx, lock := context.Background(), []kv.Key{kv.LockAccount(1)}
			for i := range 2000 {
				err := s.Update(ctx, kv.Txn{Lock: lock}, func(t kv.Tx) error {
					t.Set(kv.K(kv.Emails).Account(1).U64(uint64(i)), make([]byte, n))
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			if err := s.db.Flush(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			i := uint64(0)
			for b.Loop() {
				i = (i + 7) % 2000
				err := s.View(ctx, lock, func(r kv.Reader) error {
					_, err := r.Get(kv.K(kv.Emails).Account(1).U64(i))
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkTx compares the transaction's own index with Pebble's indexed batch: ten writes, three reads of them.
func BenchmarkTx(b *testing.B) {
	s, err := OpenMemory()
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	key, value := kv.K(kv.Entries).Account(1).U32(0), make([]byte, 100)
	nth := func(i int) kv.Key { return append(key[:10], byte(i>>24), byte(i>>16), byte(i>>8), byte(i)) }
	for _, rows := range []int{10, 1000} {
		b.Run(fmt.Sprintf("own/%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t := newTx(s)
				for i := range rows {
					t.Set(nth(i), value)
				}
				for i := range rows / 3 {
					if _, err := t.Get(nth(i)); err != nil {
						b.Fatal(err)
					}
				}
				t.close()
			}
		})
		b.Run(fmt.Sprintf("indexed/%d", rows), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t := s.db.NewIndexedBatch()
				for i := range rows {
					_ = t.Set(nth(i), value, nil)
				}
				for i := range rows / 3 {
					_, closer, err := t.Get(nth(i))
					if err != nil {
						b.Fatal(err)
					}
					_ = closer.Close()
				}
				_ = t.Close()
			}
		})
	}
}
