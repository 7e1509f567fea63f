package pebble

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"postel/internal/kv"
	"postel/internal/vfs"
)

// TestCacheRemains fills write buffers of the default size: the cache that they share room with still keeps blocks.
func TestCacheRemains(t *testing.T) {
	t.Parallel()
	s, err := Open(Options{FS: vfs.NewMem(), Dir: "/kv"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	key := func(i int) kv.Key { return kv.K(kv.Blobs).U64(uint64(i)) }
	noise := rand.NewChaCha8([32]byte{1})
	value := make([]byte, 1<<20)
	const rows = 64
	for i := range rows {
		_, _ = noise.Read(value)
		binary.BigEndian.PutUint64(value, uint64(i))
		err := s.Update(t.Context(), kv.Txn{Lock: []kv.Key{key(0)}}, func(tx kv.Tx) error { tx.Set(key(i), value); return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Flush(); err != nil { // what is read lies in tables, whatever the machine had time for
		t.Fatal(err)
	}
	before := s.db.Metrics().BlockCache
	for range 3 {
		for i := range 8 {
			err := s.View(t.Context(), []kv.Key{key(0)}, func(r kv.Reader) error {
				v, err := r.Get(key(i))
				if err == nil && binary.BigEndian.Uint64(v) != uint64(i) {
					t.Errorf("row %d is another", i)
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	after := s.db.Metrics().BlockCache
	if after.Size < 8<<20 || after.Hits <= before.Hits {
		t.Errorf("the cache holds %d octets and had %d hits", after.Size, after.Hits-before.Hits)
	}
}
