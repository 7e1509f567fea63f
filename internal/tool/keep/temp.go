package keep

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"postel/internal/tool"
)

// temporary is what an archive's name ends in while it is written. Who writes has the file's lock: kill -9 leaves the
// file, and no lock.
const temporary = ".tmp"

// claim makes a temporary file anew, and locks it. What a killed backup left there goes first.
func claim(name string) (*os.File, error) {
	for {
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if err = discard(name); err == nil {
				continue
			}
		}
		if err != nil {
			return nil, err
		}
		if lock(f) && named(f, name) {
			return f, nil
		}
		if err := f.Close(); err != nil { // somebody took it for left behind, before it was locked
			return nil, err
		}
	}
}

// discard removes a temporary file that nobody writes; one that is gone is no error.
func discard(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = tool.Fail(tool.Found, "%s is in the way", name)
	}
	if err != nil {
		return err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if !lock(f) {
		return tool.Fail(tool.Found, "another backup writes %s", name)
	}
	if !named(f, name) {
		return nil
	}
	return os.Remove(name)
}

// named tells whether a file still has its name.
func named(f *os.File, name string) bool {
	have, err := f.Stat()
	there, terr := os.Lstat(name)
	return err == nil && terr == nil && os.SameFile(have, there)
}

// tidy removes what backups into a directory left there when they were killed.
func tidy(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, archiveName("*")+temporary))
	for _, name := range left {
		_ = discard(name) // in nobody's way but the disk's
	}
}
