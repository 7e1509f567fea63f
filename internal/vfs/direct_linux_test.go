package vfs_test

import (
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"postel/internal/vfs"
)

// TestDirectFlag: a long file is written past the page cache, where that can be done, and its end is not.
func TestDirectFlag(t *testing.T) {
	t.Parallel()
	f, err := vfs.Create(vfs.Default(), filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	direct := func() bool {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
		return err == nil && flags&unix.O_DIRECT != 0
	}
	var d vfs.Direct
	w := d.Writer(f)
	if _, err := w.Write(make([]byte, 1000)); err != nil || direct() {
		t.Fatal("a short file is written directly", err)
	}
	if _, err := w.Write(make([]byte, 3<<20)); err != nil {
		t.Fatal(err)
	}
	if !direct() {
		t.Log("this file system has no O_DIRECT")
	}
	if err := w.Finish(); err != nil || direct() {
		t.Error("still direct", err)
	}
}
