//go:build unix

package vfs

import "syscall"

// Allocated gives the octets that a file takes on its disk where the file system tells that, else its length.
func Allocated(info FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
