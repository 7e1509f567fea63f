package vfs

import (
	"path"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Small is a file system of a given size: what does not fit any more fails with ENOSPC, as on a disk. For tests. It
// must be the only way in which the file system below is written.
type Small struct {
	vfs.FS

	mu       sync.Mutex
	capacity int64
	used     int64
	files    map[string]*smallNode
}

// smallNode is the content that one or more names lead to.
type smallNode struct {
	size  int64
	links int
}

// NewSmall gives f, which is empty, the size of capacity octets. Names and directories cost nothing.
func NewSmall(f FS, capacity int64) *Small {
	return &Small{FS: f, capacity: capacity, files: make(map[string]*smallNode)}
}

// Resize sets the capacity; one below what is used leaves no room.
func (s *Small) Resize(capacity int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.capacity = capacity
}

// Used is the number of octets in files.
func (s *Small) Used() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// GetDiskUsage tells how full it is.
func (s *Small) GetDiskUsage(string) (vfs.DiskUsage, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return vfs.DiskUsage{
		AvailBytes: uint64(max(s.capacity-s.used, 0)), TotalBytes: uint64(s.capacity), UsedBytes: uint64(s.used),
	}, nil
}

// Unwrap hides what is below: nobody may go around the accounts.
func (s *Small) Unwrap() vfs.FS { return nil }

// Create empties or creates a file.
func (s *Small) Create(name string, c vfs.DiskWriteCategory) (File, error) {
	f, err := s.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlink(name)
	n := &smallNode{links: 1}
	s.files[path.Clean(name)] = n
	return &smallFile{File: f, fs: s, node: n}, nil
}

// OpenReadWrite opens a file, or creates it.
func (s *Small) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (File, error) {
	f, err := s.FS.OpenReadWrite(name, c, o...)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.files[path.Clean(name)]
	if n == nil {
		n = &smallNode{links: 1}
		s.files[path.Clean(name)] = n
	}
	return &smallFile{File: f, fs: s, node: n}, nil
}

// ReuseForWrite renames a file and opens it for writing over what it holds.
func (s *Small) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (File, error) {
	if err := s.Rename(old, name); err != nil {
		return nil, err
	}
	return s.OpenReadWrite(name, c)
}

// Rename gives a file another name.
func (s *Small) Rename(old, name string) error {
	if err := s.FS.Rename(old, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.files[path.Clean(old)]; n != nil && path.Clean(old) != path.Clean(name) {
		s.unlink(name)
		delete(s.files, path.Clean(old))
		s.files[path.Clean(name)] = n
	}
	return nil
}

// Link gives a file one more name.
func (s *Small) Link(old, name string) error {
	if err := s.FS.Link(old, name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.files[path.Clean(old)]; n != nil {
		n.links++
		s.files[path.Clean(name)] = n
	}
	return nil
}

// Remove removes a file, whose room is free at once even when it is open.
func (s *Small) Remove(name string) error {
	err := s.FS.Remove(name)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unlink(name)
	}
	return err
}

// RemoveAll removes a directory with what is in it.
func (s *Small) RemoveAll(name string) error {
	err := s.FS.RemoveAll(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	for file := range s.files {
		if file == path.Clean(name) || strings.HasPrefix(file, path.Clean(name)+"/") {
			s.unlink(file)
		}
	}
	return err
}

// unlink forgets a name. Under the lock.
func (s *Small) unlink(name string) {
	name = path.Clean(name)
	n := s.files[name]
	if n == nil {
		return
	}
	delete(s.files, name)
	if n.links--; n.links == 0 {
		s.used -= n.size
	}
}

// smallFile is open for writing.
type smallFile struct {
	File
	fs   *Small
	node *smallNode
	at   int64
}

// grow makes room up to an end and tells how many octets from at fit.
func (f *smallFile) grow(at, n int64) int64 {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	more := max(at+n-f.node.size, 0)
	lacks := max(more-max(f.fs.capacity-f.fs.used, 0), 0)
	more -= min(lacks, more)
	f.node.size += more
	if f.node.links > 0 {
		f.fs.used += more
	}
	return n - lacks
}

// Write writes what fits.
func (f *smallFile) Write(p []byte) (int, error) {
	fits := f.grow(f.at, int64(len(p)))
	n, err := f.File.Write(p[:fits])
	f.at += int64(n)
	if err == nil && n < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}

// WriteAt writes what fits.
func (f *smallFile) WriteAt(p []byte, at int64) (int, error) {
	fits := f.grow(at, int64(len(p)))
	n, err := f.File.WriteAt(p[:fits], at)
	if err == nil && n < len(p) {
		err = syscall.ENOSPC
	}
	return n, err
}
