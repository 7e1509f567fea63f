package vfs

import (
	"errors"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

type (
	// FS is a namespace of files. Safe for concurrent use.
	FS = vfs.FS
	// File is an open file. Writes and syncs must be sequential; ReadAt is safe for concurrent use.
	File = vfs.File
	// FileInfo describes a file.
	FileInfo = vfs.FileInfo
)

// category names our own writes in the statistics of an FS.
const category vfs.DiskWriteCategory = "postel"

// Default gives the operating system's file system. Files it creates have mode 0600, whatever the umask.
func Default() FS { return private{vfs.Default} }

// NewMem gives an empty file system in memory, on which syncs cost nothing.
func NewMem() FS { return vfs.NewMem() }

// Create creates the named file for writing, in place of one that exists.
func Create(f FS, name string) (File, error) { return f.Create(name, category) }

// MkdirAllSync creates dir (mode 0700) with its parents and makes it durable as an entry of its parent. It does
// nothing when dir exists.
func MkdirAllSync(f FS, dir string) error {
	if info, err := f.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	parent := f.PathDir(dir)
	if parent != dir && parent != "." && parent != "" {
		if err := MkdirAllSync(f, parent); err != nil {
			return err
		}
	}
	if err := f.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return SyncDir(f, parent)
}

// SyncDir makes the entries of a directory durable.
func SyncDir(f FS, dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := f.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Publish renames a file that is open as oldname, closes it, and makes the new name durable: it syncs the file, renames
// it and syncs the directory of newname. The file at newname, if any, is replaced. After a crash either name may be
// there, and under newname only the whole content. The two names may lie in different directories of one file system.
// Syncing the descriptor that wrote is what reports errors of writing for sure.
func Publish(f FS, file File, oldname, newname string) error {
	if err := errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.Rename(oldname, newname); err != nil {
		return err
	}
	return SyncDir(f, f.PathDir(newname))
}

// WriteFileSync writes data to the named file so that after a crash the file holds either what it held before or
// all of data: it writes a temporary file beside it and publishes that.
func WriteFileSync(f FS, name string, data []byte) error {
	temp := name + ".tmp"
	file, err := Create(f, temp)
	if err != nil {
		return err
	}
	// Write may change the slice that it is given (see File), so it gets a copy.
	if _, err = file.Write(append([]byte(nil), data...)); err != nil {
		err = errors.Join(err, file.Close())
	} else {
		err = Publish(f, file, temp, name)
	}
	if err != nil {
		_ = f.Remove(temp) // best effort: the error before it is the one that counts
	}
	return err
}

// ReadFile reads the whole of a file of at most limit octets; a larger one is an error.
func ReadFile(f FS, name string, limit int64) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = &fs.PathError{Op: "read", Path: name, Err: errors.New("file too large")}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// IsNotExist tells whether err says that a file does not exist.
func IsNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// IsNoSpace tells whether err says that the disk, or what the user may have of it, is used up.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// OnDiskFull gives f with a callback for its first ENOSPC: what failed is done once more after it, but never a sync. The
// callback makes room by way of f itself, quickly: all writing waits for it.
func OnDiskFull(f FS, callback func()) FS { return vfs.OnDiskFull(f, callback) }

// Free gives the octets that files in dir may still take, reserves of the superuser not counted.
func Free(f FS, dir string) (int64, error) {
	u, err := f.GetDiskUsage(dir)
	if err != nil {
		return 0, err
	}
	return int64(min(u.AvailBytes, 1<<62)), nil
}
