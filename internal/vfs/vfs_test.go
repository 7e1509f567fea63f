package vfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestWriteFileSyncSurvivesCrash(t *testing.T) {
	t.Parallel()
	for _, keep := range []int{0, 50, 100} {
		f := NewCrashable()
		if err := MkdirAllSync(f, "/data/kv"); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			want := fmt.Sprintf("content %d", i)
			if err := WriteFileSync(f, "/data/kv/FORMAT", []byte(want)); err != nil {
				t.Fatal(err)
			}
			got, err := ReadFile(f.Crash(keep, uint64(i)), "/data/kv/FORMAT", 100)
			if err != nil || string(got) != want {
				t.Fatalf("keep %d: got %q, %v; want %q", keep, got, err, want)
			}
		}
	}
}

// TestWriteFileSyncFaults fails each operation in turn: the old content or the new is there, never anything else.
func TestWriteFileSyncFaults(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		base := NewCrashable()
		if err := MkdirAllSync(base, "/d"); err != nil {
			t.Fatal(err)
		}
		if err := WriteFileSync(base, "/d/x", []byte("old")); err != nil {
			t.Fatal(err)
		}
		seen := 0
		f := WithFaults(base, func(Op) error {
			if seen++; seen == n+1 {
				return ErrInjected
			}
			return nil
		})
		err := WriteFileSync(f, "/d/x", []byte("new"))
		got, readErr := ReadFile(base.Crash(50, uint64(n)), "/d/x", 100)
		if readErr != nil {
			t.Fatalf("fault %d: %v", n, readErr)
		}
		if err == nil && string(got) != "new" || string(got) != "old" && string(got) != "new" {
			t.Fatalf("fault %d: error %v, content %q", n, err, got)
		}
		if seen <= n {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestDefaultModes(t *testing.T) {
	t.Parallel()
	f, dir := Default(), t.TempDir()
	sub := filepath.Join(dir, "a", "b")
	if err := MkdirAllSync(f, sub); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(sub, "x")
	if err := WriteFileSync(f, name, []byte("x")); err != nil {
		t.Fatal(err)
	}
	l, err := f.Lock(filepath.Join(sub, "LOCK"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := f.Lock(filepath.Join(sub, "LOCK")); err == nil {
		t.Fatal("locked twice")
	}
	for p, want := range map[string]os.FileMode{sub: 0o700, name: 0o600, filepath.Join(sub, "LOCK"): 0o600} {
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", p, got, want)
		}
	}
	if _, err := ReadFile(f, name, 0); err == nil {
		t.Error("a file beyond the limit was read")
	}
	if _, err := ReadFile(f, name+"y", 10); !IsNotExist(err) {
		t.Errorf("a missing file gives %v", err)
	}
}

func TestFailSync(t *testing.T) {
	t.Parallel()
	hook, count := FailSync("/d", 2)
	f := WithFaults(NewMem(), hook)
	if err := MkdirAllSync(f, "/d"); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileSync(f, "/d/x", []byte("1")); !errors.Is(err, ErrInjected) {
		t.Fatalf("got %v after %d syncs", err, count())
	}
}
