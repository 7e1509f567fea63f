package vfs

import (
	"errors"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// private is the operating system's file system with files of mode 0600 and directories of at most 0700. Pebble
// leaves the mode of its files to the umask, which is the operator's and may be wide open.
type private struct{ vfs.FS }

func (p private) Create(name string, c vfs.DiskWriteCategory) (File, error) {
	return restrict(p.FS.Create(name, c))
}

func (p private) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (File, error) {
	return restrict(p.FS.OpenReadWrite(name, c, o...))
}

func (p private) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (File, error) {
	return restrict(p.FS.ReuseForWrite(oldname, newname, c))
}

func (p private) MkdirAll(dir string, perm os.FileMode) error { return p.FS.MkdirAll(dir, perm&0o700) }

// Lock locks the file, which has mode 0600 from then on.
func (p private) Lock(name string) (io.Closer, error) {
	l, err := p.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(name, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (p private) Unwrap() vfs.FS { return p.FS }

// restrict sets the mode of a file just opened for writing (fchmod).
func restrict(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	if named, ok := f.(interface{ Chmod(os.FileMode) error }); ok {
		if err := named.Chmod(0o600); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}
