package upgrade

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

const rows = 60

// migrations are two that must not touch a row twice.
func migrations() []Migration {
	mark := func(s string) func(tx kv.Tx, from kv.Key) (kv.Key, int, error) {
		return func(tx kv.Tx, from kv.Key) (next kv.Key, n int, err error) {
			table := kv.K(kv.Objects)
			if from == nil {
				from = table
			}
			var keys []kv.Key
			var values [][]byte
			for row, err := range tx.Scan(from, table.End(), kv.ScanOptions{Limit: 20}) {
				if err != nil {
					return nil, 0, err
				}
				keys, values = append(keys, slices.Clone(row.Key)), append(values, append(slices.Clone(row.Value), s...))
			}
			for i := range keys {
				tx.Set(keys[i], values[i])
			}
			if len(keys) < 20 {
				return nil, len(keys), nil
			}
			return append(keys[len(keys)-1], 0), len(keys), nil
		}
	}
	return []Migration{{To: 2, Name: "a", Step: mark("a")}, {To: 3, Name: "b", Step: mark("b")}}
}

func open(fs vfs.FS, newest uint32) (*pebble.Store, error) {
	return pebble.Open(pebble.Options{FS: fs, Dir: "data/kv", MemTableSize: 1 << 20, Format: newest})
}

// old gives a directory of format 1.
func old(t *testing.T) vfs.Crashable {
	t.Helper()
	fs := vfs.NewCrashable()
	s, err := open(fs, 1)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(t.Context(), kv.Txn{}, func(tx kv.Tx) error {
		for i := range uint64(rows) {
			tx.Set(kv.K(kv.Objects).U64(1).U64(i), []byte("v"))
		}
		return nil
	})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	return fs
}

// upgrade opens the directory and brings it to the newest format.
func upgrade(ctx context.Context, fs vfs.FS, tell func(Done)) error {
	list := migrations()
	s, err := open(fs, Newest(list))
	if err != nil {
		return err
	}
	err = Run(ctx, Options{KV: s, Migrations: list, Tell: tell, Prepare: func(ctx context.Context, from, to uint32) error {
		dir := fmt.Sprintf("data/before-%d", to)
		if err := fs.RemoveAll(dir); err != nil {
			return err
		}
		return errors.Join(s.Checkpoint(ctx, dir), s.RaiseFormat(to))
	}})
	return errors.Join(err, s.Close())
}

// content gives the format and all rows.
func content(t *testing.T, fs vfs.FS, dir string) (uint32, map[string]int) {
	t.Helper()
	s, err := pebble.Open(pebble.Options{FS: fs, Dir: dir, MemTableSize: 1 << 20, Format: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := Format(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]int{}
	err = s.View(t.Context(), nil, func(r kv.Reader) error {
		for row, err := range r.Scan(kv.K(kv.Objects), kv.K(kv.Objects).End(), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			values[string(row.Value)]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return f, values
}

func TestUpgrade(t *testing.T) {
	t.Parallel()
	fs := old(t)
	var told []Done
	for range 2 {
		if err := upgrade(t.Context(), fs, func(d Done) { told = append(told, d) }); err != nil {
			t.Fatal(err)
		}
	}
	if len(told) != 2 || told[0] != (Done{1, 2, "a", rows}) || told[1] != (Done{2, 3, "b", rows}) {
		t.Errorf("told %+v", told)
	}
	if f, v := content(t, fs, "data/kv"); f != 3 || !maps.Equal(v, map[string]int{"vab": rows}) {
		t.Errorf("format %d, %v", f, v)
	}
	// What was there before each of them is kept.
	for to, want := range map[int]string{2: "v", 3: "va"} {
		if _, v := content(t, fs, fmt.Sprintf("data/before-%d", to)); !maps.Equal(v, map[string]int{want: rows}) {
			t.Errorf("the snapshot before format %d has %v", to, v)
		}
	}
}

// TestKilled kills an upgrade at each of its operations on the disk, with power lost; the next start completes it, and
// no row is changed twice or left out.
func TestKilled(t *testing.T) {
	t.Parallel()
	step := int64(3)
	if testing.Short() {
		step = 11
	}
	for n := int64(1); ; n += step {
		fs := old(t)
		var seen atomic.Int64
		var after vfs.Crashable // what is on the disk when it is killed
		watched := vfs.WithFaults(fs, func(op vfs.Op) error {
			if !op.Read && seen.Add(1) == n {
				after = fs.Crash([]int{0, 50, 100}[n%3], uint64(n))
			}
			return nil
		})
		if err := upgrade(t.Context(), watched, nil); err != nil {
			t.Fatal(err)
		}
		if seen.Load() < n {
			break
		}
		if err := upgrade(t.Context(), after, nil); err != nil {
			t.Fatalf("killed at operation %d: %v", n, err)
		}
		if f, v := content(t, after, "data/kv"); f != 3 || !maps.Equal(v, map[string]int{"vab": rows}) {
			t.Fatalf("killed at operation %d: format %d, %v", n, f, v)
		}
	}
}

// TestNewer refuses data of a newer format, also half made, and leaves every octet as it is.
func TestNewer(t *testing.T) {
	t.Parallel()
	fs := old(t)
	stop := migrations()
	stop[1].Step = func(kv.Tx, kv.Key) (kv.Key, int, error) { return nil, 0, errors.New("stop") }
	for _, list := range [][]Migration{stop, migrations()} {
		s, err := open(fs, 3)
		if err != nil {
			t.Fatal(err)
		}
		_ = Run(t.Context(), Options{KV: s, Migrations: list, Prepare: func(_ context.Context, _, to uint32) error { return s.RaiseFormat(to) }})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := files(t, fs)
		_, err = open(fs, 2)
		if !mail.Is(err, mail.Unsupported) || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), "up to 2") {
			t.Fatalf("error %v", err)
		}
		if !maps.Equal(before, files(t, fs)) {
			t.Error("the refused directory was changed")
		}
	}
}

// files gives the content of all files.
func files(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	names, err := fs.List("data/kv")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		b, err := vfs.ReadFile(fs, fs.PathJoin("data/kv", n), 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		all[n] = string(b)
	}
	return all
}

// TestDamaged tells plainly of what cannot be understood.
func TestDamaged(t *testing.T) {
	t.Parallel()
	for name, hurt := range map[string]func(tx kv.Tx){
		"progress": func(tx kv.Tx) { tx.Set(progressKey(), []byte{7}) },
		"format":   func(tx kv.Tx) { tx.Set(formatKey(), []byte{1}) },
		"newer":    func(tx kv.Tx) { setFormat(tx, 9) },
	} {
		s, err := pebble.OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Update(t.Context(), kv.Txn{}, func(tx kv.Tx) error { hurt(tx); return nil }); err != nil {
			t.Fatal(err)
		}
		if err := Run(t.Context(), Options{KV: s, Migrations: migrations()}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
