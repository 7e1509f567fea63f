package vfs

import (
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

var errNotCleared = errors.New("cannot end direct writing")

// canDirect tells whether f is a file of the operating system.
func canDirect(f File) bool { return f.Fd() != vfs.InvalidFd }

// setDirect switches O_DIRECT of an open file; false where the file system knows no such thing.
func setDirect(f File, on bool) bool {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return false
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETFL, flags)
	return err == nil
}
