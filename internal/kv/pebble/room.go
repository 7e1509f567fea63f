package pebble

import (
	"context"
	"syscall"
	"time"

	pvfs "github.com/cockroachdb/pebble/v2/vfs"

	"postel/internal/space"
	"postel/internal/vfs"
)

// patience says what a file does about a disk without room.
type patience byte

const (
	never      patience = iota // the error goes to the engine: tables of no consequence
	log                        // it writes again for a while, for commits wait: the write-ahead log, the manifest
	flush                      // it writes again for longer: commits wait only once all buffers are full
	compaction                 // it asks before it writes, and gives up: its table is written anew another time
)

// How long a write waits for room, and how often it looks.
const (
	logPatience        = time.Second
	flushPatience      = 10 * time.Second
	compactionPatience = time.Second // also slows the engine down, which tries again at once
	roomEvery          = 50 * time.Millisecond
)

// patient tells by what the engine says of a file how long it waits.
func patient(c pvfs.DiskWriteCategory) patience {
	switch c {
	case "pebble-wal", "pebble-manifest":
		return log
	case "pebble-memtable-flush":
		return flush
	case "pebble-compaction", "pebble-blob-file-rewrite":
		return compaction
	}
	return never
}

// write writes p, for room as long as is sensible. Going on behind a short write is safe where going on behind a failed sync
// would not be: nothing of it was promised to anyone.
func (f *guardFile) write(p []byte) (n int, err error) {
	if !f.fs.armed.Load() { // an opening that finds no room says so
		return f.File.Write(p)
	}
	if f.waits == compaction && !f.admitted(int64(len(p))) {
		return 0, syscall.ENOSPC
	}
	n, err = f.File.Write(p)
	if err == nil || !vfs.IsNoSpace(err) || f.waits != log && f.waits != flush {
		return n, err
	}
	end := time.Now().Add(logPatience)
	if f.waits == flush {
		end = time.Now().Add(flushPatience)
	}
	for err != nil && vfs.IsNoSpace(err) {
		if time.Now().After(end) || !f.fs.store.pause() {
			return n, err
		}
		var m int
		m, err = f.File.Write(p[n:])
		n += m
	}
	return n, err
}

// admitted waits a little until a compaction may write n octets.
func (f *guardFile) admitted(n int64) bool {
	s := f.fs.store
	for end := time.Now().Add(compactionPatience); ; {
		if s.space.Take(n, space.Tidy) == nil {
			return true
		}
		if time.Now().After(end) || !s.pause() {
			return false
		}
	}
}

// pause waits a moment; false when the store is closing or has failed.
func (s *Store) pause() bool {
	t := time.NewTimer(roomEvery)
	defer t.Stop()
	select {
	case <-s.closing:
		return false
	case <-s.failed:
		return false
	case <-t.C:
		return true
	}
}

// Reclaim writes the buffer to a table, so that compactions find what was removed and give its room back. Without
// anything written since the last time, or without room for the table, it does nothing.
func (s *Store) Reclaim(ctx context.Context) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	if s.space.Take(0, space.Tidy) != nil || !s.dirty.Swap(false) {
		return nil
	}
	done, err := s.db.AsyncFlush()
	if err != nil {
		return s.engineError("kv.reclaim", err)
	}
	select {
	case <-done:
	case <-ctx.Done():
	case <-s.failed:
	}
	return s.Err()
}
