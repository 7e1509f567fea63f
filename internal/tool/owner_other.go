//go:build !unix

package tool

import "io/fs"

// ours cannot be told here; the temporary directory is the user's own on such systems.
func ours(fs.FileInfo) bool { return true }
