package vfs_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"
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

// narrowFS gives files of a disk that is full once, in the middle of a write, and takes nothing unaligned with O_DIRECT.
type narrowFS struct {
	vfs.FS
	file *narrowFile
}

func (n *narrowFS) Create(name string, c pvfs.DiskWriteCategory) (vfs.File, error) {
	f, err := n.FS.Create(name, c)
	n.file = &narrowFile{File: f}
	return n.file, err
}

type narrowFile struct {
	vfs.File
	got    []byte
	full   bool
	direct int // writes that were
}

func (f *narrowFile) Write(p []byte) (int, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return 0, err
	}
	if flags&unix.O_DIRECT != 0 {
		f.direct++
		if len(f.got)%512 != 0 || len(p)%512 != 0 {
			return 0, syscall.EINVAL
		}
	}
	if !f.full && len(f.got) >= mib {
		f.full = true
		f.got = append(f.got, p[:1000]...)
		return 1000, syscall.ENOSPC
	}
	f.got = append(f.got, p...)
	return len(p), nil
}

// TestDirectShort: what is left of a write that the full disk cut short within a block goes through the page cache, once there
// is room, and nothing is lost or twice there.
func TestDirectShort(t *testing.T) {
	t.Parallel()
	narrow := &narrowFS{FS: vfs.Default()}
	called := 0
	f, err := vfs.Create(vfs.OnDiskFull(narrow, func() { called++ }), filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	data := make([]byte, 3*mib+77)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	var d vfs.Direct
	w := d.Writer(f)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(); err != nil || called != 1 || !bytes.Equal(narrow.file.got, data) {
		t.Errorf("%v, %d octets, room was made %d times", err, len(narrow.file.got), called)
	}
	if narrow.file.direct == 0 {
		t.Log("this file system has no O_DIRECT")
	}
}
