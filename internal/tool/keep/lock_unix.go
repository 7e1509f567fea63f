//go:build unix

package keep

import (
	"os"
	"syscall"
)

// lock takes the lock of a file, which goes with the process; false when somebody has it.
func lock(f *os.File) bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil }
