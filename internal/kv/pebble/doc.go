// Package pebble is the default backend of kv: one Pebble store in one directory, opened by one process; OpenMemory
// is the same on a file system in memory.
//
// # A commit
//
//	Update:  take locks ─ fn fills a batch ─ write WAL, apply to memtable ─ pending = group ─ unlock ─ wait for its sync
//	View:    take locks ─ note pending, open snapshot ─ unlock ─ wait for sync of what is pending ─ fn
//
// Locks are held while fn runs and while its batch is written, never during a sync: so commits that share a lock
// share syncs too. What was written while a sync ran is a group, and the first of its transactions asks for the next
// sync, once those who are about to write have written (group.go). Pebble shows a batch to readers before it is
// synced; the guard of View (and of an Update that wrote nothing, or whose fn failed) is what keeps anyone from
// being shown what a crash could take back. The log is one sequence: when a commit is synced, all before it are.
//
// # Failure
//
// The first error of a sync, of the write-ahead log, of the manifest or of a flush poisons the store: every Update
// and View fails with Kind Unavailable, those that wait for a lock or a sync too, and Failed is closed. From that
// moment the directory is frozen as if the power had gone: what Pebble goes on writing, renaming and removing
// happens in memory only. (Pebble would otherwise panic beyond recovery when it cannot rotate its log, exit by
// Logger.Fatalf when it cannot write its manifest, or remove files whose replacement never reached the disk.)
// An error of reading, or a damaged block, fails that call with Kind Internal and poisons nothing.
//
// # Format
//
// The row sv "format" holds the format's version as a big-endian u32 (see package upgrade), the file FORMAT that which
// a program must read at least, in decimal; it is missing for format 1. A newer one is refused (Kind Unsupported) before
// any file is changed. Rows are Pebble's rows, one to one: values of any size up to the limit of a
// transaction are stored whole, because Pebble neither limits them nor holds more than one block of them, so no
// chunks are needed here.
package pebble
