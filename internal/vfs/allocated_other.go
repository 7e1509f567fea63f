//go:build !unix

package vfs

// Allocated gives the octets that a file takes on its disk where the file system tells that, else its length.
func Allocated(info FileInfo) int64 { return info.Size() }
