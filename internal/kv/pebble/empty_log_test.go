package pebble

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"

	"postel/internal/kv"
	"postel/internal/vfs"
)

// TestEmptyLog cuts the power when a log has something in it, but no record yet: zeros that were written ahead, or what it
// was before it was used again. The start after it, and the one after another power failure, find all that was there.
func TestEmptyLog(t *testing.T) {
	t.Parallel()
	key := kv.K(kv.Counters).U64(1)
	set := func(s *Store, v string) {
		t.Helper()
		if err := s.Update(t.Context(), kv.Txn{}, func(tx kv.Tx) error { tx.Set(key, []byte(v)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	must := func(s *Store, err error) *Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	twice := func(fs vfs.Crashable) {
		t.Helper()
		s := must(Open(small(fs)))
		set(s, "first")
		after := fs.Crash(100, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = must(Open(small(after)))
		err := s.View(t.Context(), nil, func(r kv.Reader) error {
			v, err := r.Get(key)
			if string(v) != "first" {
				t.Errorf("%q", v)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Run("zeros", func(t *testing.T) {
		fs := vfs.NewCrashable()
		var writes atomic.Int64
		var crashed vfs.Crashable
		s := must(Open(small(vfs.WithFaults(fs, func(op vfs.Op) error {
			if !op.Read && !op.Sync && strings.HasSuffix(op.Path, ".log") && writes.Add(1) == 3 { // behind create, and the zeros
				crashed = fs.Crash(100, 1)
			}
			return nil
		}))))
		set(s, "before")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if b, err := vfs.ReadFile(crashed, "/data/kv/000002.log", 1<<20); err != nil || len(b) != aheadStep || len(bytes.Trim(b, "\x00")) != 0 {
			t.Fatal("not just zeros were written:", len(b), err)
		}
		twice(crashed)
	})
	t.Run("used again", func(t *testing.T) {
		fs := vfs.NewCrashable()
		s := must(Open(small(fs)))
		for range 3 {
			set(s, strings.Repeat("x", 1000))
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		crashed := fs.Crash(100, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		twice(crashed)
	})
}
