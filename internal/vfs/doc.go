// Package vfs is the file-system seam: a thin package over Pebble's vfs. All file access of the store goes through
// it, so that crash and fault tests can stand in, and kv and blob share one FS value, so that one crash clone
// covers both.
//
// A file or a directory entry is durable only after a sync: File.Sync makes a file's content durable, a sync of the
// directory makes its entries durable (creations, renames, removals). WriteFileSync and Publish do both in the
// order that survives a crash at any point.
//
// The package keeps no policy: names, formats and retries belong to its users.
package vfs
