package pebble

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/vfs"
)

// TestSalvage flips bits in tables on the disk: what can be read is read, and what cannot is told.
func TestSalvage(t *testing.T) {
	t.Parallel()
	for seed := range uint64(1) {
		fs := vfs.NewMem()
		open := func() *Store {
			t.Helper()
			s, err := Open(Options{FS: fs, Dir: "/kv"})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		s := open()
		rnd := rand.New(rand.NewPCG(seed, 7))
		want := map[string]string{}
		for part := range 40 {
			err := s.Update(t.Context(), kv.Txn{}, func(tx kv.Tx) error {
				for i := range 500 {
					k, v := kv.K(kv.Entries).U64(1).U32(uint32(part%3)).U32(uint32(part*1000+i)), make([]byte, 40+rnd.IntN(200))
					for j := range v {
						v[j] = byte(rnd.Uint32())
					}
					tx.Set(k, v)
					want[string(k)] = string(v)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Compact(t.Context(), []byte("a"), []byte("z"), false); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		flip(t, fs, rnd, 2)
		s = open()
		ranges := salvage(t, s, want, true)
		if len(ranges) == 0 {
			t.Fatalf("seed %d: nothing was damaged", seed)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// salvage reads what it can and compares; it gives the ranges it could not read. With lose, rows in these ranges are
// taken off want; they may be a few blocks at most.
func salvage(t *testing.T, s *Store, want map[string]string, lose bool) (ranges [][2]kv.Key) {
	t.Helper()
	got := 0
	err := s.View(t.Context(), nil, func(r kv.Reader) error {
		from := kv.K(kv.Entries)
		for row, err := range kv.Salvage(r, from, from.End(), kv.ScanOptions{}, func(from, to kv.Key, err error) {
			ranges = append(ranges, [2]kv.Key{append(kv.Key{}, from...), append(kv.Key{}, to...)})
		}) {
			if err != nil {
				return err
			}
			if want[string(row.Key)] != string(row.Value) {
				return fmt.Errorf("row %x differs", row.Key)
			}
			got++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for k := range want {
		for _, r := range ranges {
			if k >= string(r[0]) && k < string(r[1]) {
				lost++
				if lose {
					delete(want, k)
				}
			}
		}
	}
	if lose && got != len(want) || !lose && got != len(want)-lost || lost > 3*300 {
		t.Fatalf("read %d rows, %d are there and %d lost", got, len(want), lost)
	}
	return ranges
}

// flip flips bits in the data blocks of tables.
func flip(t *testing.T, fs vfs.FS, rnd *rand.Rand, n int) {
	t.Helper()
	names, err := fs.List("/kv")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := "/kv/" + name
		b, err := vfs.ReadFile(fs, path, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			b[rnd.IntN(len(b)*8/10)] ^= 1 << rnd.IntN(8)
		}
		f, err := vfs.Create(fs, path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
