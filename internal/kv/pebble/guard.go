package pebble

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"postel/internal/vfs"
)

// guardFS stands between Pebble and the file system. The first error of the write-ahead log, of the manifest
// or of syncing a directory poisons the store instead of reaching Pebble, which would panic while it holds its locks. Once the
// store is poisoned, for whatever reason, the disk is frozen as after a power failure: changes happen in memory.
type guardFS struct {
	vfs.FS
	store *Store
	mem   vfs.FS // what was created since the freeze
	armed atomic.Bool
}

func newGuard(f vfs.FS, s *Store) *guardFS { return &guardFS{FS: f, store: s, mem: vfs.NewMem()} }

// arm begins the guarding; before, while the store is being opened, errors are Pebble's to return.
func (g *guardFS) arm() { g.armed.Store(true) }

// frozen tells whether changes happen in memory. A flush that fails while the store is being opened freezes too: the
// engine would do it again for ever.
func (g *guardFS) frozen() bool { return g.store.poisoned() }

// vital tells which files must not fail: the write-ahead log, and the manifest, after whose first error Pebble retries
// in vain for ever. (A table that cannot be written is written anew; only that of a flush is fatal, see Options.)
func vital(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.Contains(name, "MANIFEST-")
}

// fatal poisons the store by an error of a vital operation; it tells whether to pretend success from now on.
func (g *guardFS) fatal(op, name string, err error) bool {
	if !g.armed.Load() {
		return false
	}
	g.store.poison(fmt.Errorf("%s of %s: %w", op, g.PathBase(name), err))
	return true
}

// create opens a file for writing by open, or one in memory.
func (g *guardFS) create(name string, c pvfs.DiskWriteCategory, open func() (vfs.File, error)) (vfs.File, error) {
	if g.frozen() {
		return g.createMem(name)
	}
	f, err := open()
	if err != nil {
		if vital(name) && g.fatal("create", name, err) {
			return g.createMem(name)
		}
		return nil, err
	}
	return &guardFile{File: f, fs: g, name: name, vital: vital(name), waits: patient(c)}, nil
}

func (g *guardFS) createMem(name string) (vfs.File, error) {
	if err := g.mem.MkdirAll(g.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return vfs.Create(g.mem, name)
}

// Create creates a file. What a marker names (marker.manifest.000002.MANIFEST-000006) must be durable before the marker
// can be: Pebble syncs the directory behind both, and a crash between may keep the one entry and lose the other.
func (g *guardFS) Create(name string, c pvfs.DiskWriteCategory) (vfs.File, error) {
	if dir := g.PathDir(name); strings.HasPrefix(g.PathBase(name), "marker.") && !g.frozen() {
		if err := vfs.SyncDir(g.FS, dir); err != nil && !g.fatal("sync", dir, err) {
			return nil, err
		}
	}
	f, err := g.create(name, c, func() (vfs.File, error) { return g.FS.Create(name, c) })
	if own, ok := f.(*guardFile); ok {
		own.ahead = newAhead(own.File, name, g.store.space.Room)
	}
	return f, err
}

func (g *guardFS) ReuseForWrite(old, name string, c pvfs.DiskWriteCategory) (vfs.File, error) {
	return g.create(name, c, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

func (g *guardFS) OpenReadWrite(name string, c pvfs.DiskWriteCategory, o ...pvfs.OpenOption) (vfs.File, error) {
	return g.create(name, c, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guardFS) Open(name string, o ...pvfs.OpenOption) (vfs.File, error) {
	if g.frozen() {
		if f, err := g.mem.Open(name, o...); err == nil {
			return f, nil
		}
	}
	return g.FS.Open(name, o...)
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardFile{File: f, fs: g, name: name, vital: true}, nil
}

func (g *guardFS) Stat(name string) (vfs.FileInfo, error) {
	if g.frozen() {
		if i, err := g.mem.Stat(name); err == nil {
			return i, nil
		}
	}
	return g.FS.Stat(name)
}

func (g *guardFS) Remove(name string) error {
	if g.frozen() {
		_ = g.mem.Remove(name) // what is not in memory stays on disk
		return nil
	}
	return g.FS.Remove(name)
}

func (g *guardFS) RemoveAll(name string) error {
	if g.frozen() {
		_ = g.mem.RemoveAll(name) // as Remove
		return nil
	}
	return g.FS.RemoveAll(name)
}

func (g *guardFS) Rename(old, name string) error {
	if g.frozen() {
		_ = g.mem.Rename(old, name) // as Remove
		return nil
	}
	return g.FS.Rename(old, name)
}

func (g *guardFS) Link(old, name string) error {
	if g.frozen() {
		return nil
	}
	return g.FS.Link(old, name)
}

func (g *guardFS) MkdirAll(dir string, perm os.FileMode) error {
	if g.frozen() {
		return nil
	}
	return g.FS.MkdirAll(dir, perm)
}

func (g *guardFS) Lock(name string) (io.Closer, error) { return g.FS.Lock(name) }

func (g *guardFS) Unwrap() pvfs.FS { return g.FS }

// guardFile is an open file or directory of a guardFS.
type guardFile struct {
	vfs.File
	fs    *guardFS
	name  string
	vital bool
	waits patience // for room on the disk
	ahead *ahead   // of a new log, else nil
}

// do runs a change of the file, and pretends success where the guard must.
func (f *guardFile) do(op string, change func() error) error {
	if f.fs.frozen() {
		return nil
	}
	err := change()
	if err != nil && f.vital && f.fs.fatal(op, f.name, err) {
		return nil
	}
	return err
}

func (f *guardFile) Write(p []byte) (n int, err error) {
	err = f.do("write", func() error {
		f.ahead.before(len(p))
		n, err = f.write(p)
		f.ahead.after(n)
		return err
	})
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.do("write", func() error { n, err = f.File.WriteAt(p, off); return err })
	if err == nil {
		n = len(p)
	}
	return n, err
}

func (f *guardFile) Sync() error     { return f.do("sync", f.File.Sync) }
func (f *guardFile) SyncData() error { return f.do("sync", f.File.SyncData) }

func (f *guardFile) SyncTo(length int64) (full bool, err error) {
	err = f.do("sync", func() error { full, err = f.File.SyncTo(length); return err })
	return full, err
}

// Stat must not fail for the log: the engine asks for the size of one that it uses again, and panics without.
func (f *guardFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	if err == nil || !f.vital || !f.fs.fatal("stat", f.name, err) {
		return info, err
	}
	mem, err := f.fs.createMem(f.name)
	if err != nil {
		return nil, err
	}
	info, err = mem.Stat()
	return info, errors.Join(err, mem.Close())
}

// Preallocate only spares time, and takes the room of a whole log at once: not on a disk that is nearly full. The engine
// passes over its error; without it the write itself finds out whether there is room.
func (f *guardFile) Preallocate(off, length int64) error {
	if f.fs.frozen() {
		return nil
	}
	if f.fs.store.space.Room(length) != nil {
		return syscall.ENOSPC
	}
	return f.File.Preallocate(off, length)
}

func (f *guardFile) Close() error {
	err := f.File.Close() // the descriptor is given back whatever happened before
	return f.do("close", func() error { return err })
}
