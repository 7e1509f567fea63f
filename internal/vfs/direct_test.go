package vfs_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"postel/internal/vfs"
)

const mib = 1 << 20

// writeDirect writes data in pieces of any size and gives what is in the file then.
func writeDirect(t *testing.T, d *vfs.Direct, fs vfs.FS, name string, data []byte, rnd *rand.Rand) []byte {
	t.Helper()
	f, err := vfs.Create(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	w := d.Writer(f)
	for rest := bytes.Clone(data); len(rest) > 0; {
		k := min(len(rest), 1+rnd.IntN(400_000))
		if n, err := w.Write(rest[:k]); n != k || err != nil {
			t.Fatal(n, err)
		}
		rest = rest[k:]
	}
	if err := errors.Join(w.Finish(), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	got, err := vfs.ReadFile(fs, name, 64*mib)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestDirect: what was written is in the file whole and in order, however it came, on a disk and in memory, also when more
// write at once than there are buffers.
func TestDirect(t *testing.T) {
	t.Parallel()
	for name, fs := range map[string]vfs.FS{"disk": vfs.Default(), "memory": vfs.NewMem()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := fs.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			var d vfs.Direct
			var all sync.WaitGroup
			for i, size := range []int{0, 1, 4096, mib - 1, mib, mib + 1, 2 * mib, 5*mib + 4096, 3*mib + 12345} {
				for k := range 3 {
					all.Go(func() {
						rnd := rand.New(rand.NewPCG(uint64(i), uint64(k)))
						data := make([]byte, size)
						for j := range data {
							data[j] = byte(rnd.Uint32())
						}
						path := filepath.Join(dir, string(rune('a'+i))+string(rune('0'+k)))
						if got := writeDirect(t, &d, fs, path, data, rnd); !bytes.Equal(got, data) {
							t.Errorf("%d octets came back as %d others", size, len(got))
						}
					})
				}
			}
			all.Wait()
		})
	}
}

// TestDirectFault: a write that fails is told by Write or Finish, and the memory can be used again.
func TestDirectFault(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	failing := false
	fs := vfs.WithFaults(vfs.Default(), func(op vfs.Op) error {
		if failing && !op.Read && !op.Sync {
			return vfs.ErrInjected
		}
		return nil
	})
	var d vfs.Direct
	for range 40 { // more than there are buffers
		failing = false
		f, err := vfs.Create(fs, filepath.Join(dir, "f"))
		if err != nil {
			t.Fatal(err)
		}
		failing = true
		w := d.Writer(f)
		_, err = w.Write(make([]byte, mib+1))
		if !errors.Is(err, vfs.ErrInjected) {
			t.Fatal(err)
		}
		w.Abort()
		failing = false
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	data := bytes.Repeat([]byte("0123456789abcdef"), 2*mib/16)
	if got := writeDirect(t, &d, fs, filepath.Join(dir, "g"), data, rnd); !bytes.Equal(got, data) {
		t.Error("differs")
	}
}
