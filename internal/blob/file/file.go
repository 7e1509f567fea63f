// Package file keeps large blobs as files: one file an object, over vfs.
//
// Layout, below the directory given:
//
//	tmp/ID          an object being written, by the process that holds the data directory; swept at start
//	AAAA/ID         a committed object; AAAA are the first four characters of its id, some five hours of time,
//	                so that old directories are never touched again
//
// A file appears under AAAA only whole: it is synced, renamed, and the directory synced (vfs.Publish). Only one
// process may use the directory, whose owner holds the lock of the kv store beside it, unless all open it as Shared.
package file

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"postel/internal/blob"
	"postel/internal/mail"
	"postel/internal/vfs"
)

const (
	tmp   = "tmp"
	shard = 4 // characters of the id
)

// Options say where the files lie.
type Options struct {
	FS  vfs.FS // nil is the operating system's
	Dir string // created (0700) where missing
	// Room is asked before n octets are written, and refuses with Kind Full; nil never does.
	Room func(n int64) error
	// Shared says that other processes use the directory too: then what is unfinished is left alone for a day.
	Shared bool
}

// Store is a blob.Large.
type Store struct {
	fs   vfs.FS
	dir  string
	room func(n int64) error

	direct vfs.Direct

	mu   sync.Mutex
	made map[string]bool // directories known to be durable
}

var _ blob.Large = (*Store)(nil)

// New opens the directory and removes what a process before left unfinished.
func New(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default()
	}
	s := &Store{fs: o.FS, dir: o.Dir, room: o.Room, made: make(map[string]bool)}
	temp := s.fs.PathJoin(s.dir, tmp)
	if err := vfs.MkdirAllSync(s.fs, temp); err != nil {
		return nil, unavailable("blob.open", err)
	}
	names, err := s.fs.List(temp)
	for _, name := range names {
		if path := s.fs.PathJoin(temp, name); !o.Shared || s.abandoned(path) {
			err = errors.Join(err, s.fs.Remove(path))
		}
	}
	if err != nil {
		return nil, unavailable("blob.open", err)
	}
	return s, nil
}

// abandoned tells that nobody writes to the file any more.
func (s *Store) abandoned(path string) bool {
	const age = 24 * time.Hour
	info, err := s.fs.Stat(path)
	return err == nil && time.Since(info.ModTime()) > age
}

// unavailable gives an error of the file system a Kind: Full for a full disk.
func unavailable(op string, err error) error {
	if vfs.IsNoSpace(err) {
		return &mail.Error{Op: op, Kind: mail.Full, Err: err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Err: err}
}

func (s *Store) path(id mail.ID) string {
	return s.fs.PathJoin(s.dir, id.String()[:shard], id.String())
}

// Create implements blob.Large.
func (s *Store) Create(_ context.Context, id mail.ID) (blob.LargeWriter, error) {
	name := s.fs.PathJoin(s.dir, tmp, id.String())
	f, err := vfs.Create(s.fs, name)
	if err != nil {
		return nil, unavailable("blob.create", err)
	}
	return &writer{s: s, id: id, temp: name, file: f, out: s.direct.Writer(f)}, nil
}

// Open implements blob.Large.
func (s *Store) Open(_ context.Context, id mail.ID) (blob.LargeObject, error) {
	f, err := s.fs.Open(s.path(id))
	if vfs.IsNotExist(err) {
		return nil, &mail.Error{Op: "blob.open", Kind: mail.NotFound, Err: err}
	}
	if err != nil {
		return nil, unavailable("blob.open", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, unavailable("blob.open", errors.Join(err, f.Close()))
	}
	return reader{f, info.Size()}, nil
}

// Remove implements blob.Large. The removal may be taken back by a crash; the next sweep repeats it.
func (s *Store) Remove(_ context.Context, id mail.ID) error {
	if err := s.fs.Remove(s.path(id)); err != nil && !vfs.IsNotExist(err) {
		return unavailable("blob.remove", err)
	}
	return nil
}

// List implements blob.Large. Files that are not ours are passed over.
func (s *Store) List(ctx context.Context) iter.Seq2[blob.LargeInfo, error] {
	return func(yield func(blob.LargeInfo, error) bool) {
		shards, err := s.fs.List(s.dir)
		if err != nil {
			yield(blob.LargeInfo{}, unavailable("blob.list", err))
			return
		}
		for _, name := range shards {
			if len(name) != shard {
				continue
			}
			if err := s.list(ctx, name, yield); err != nil {
				if !errors.Is(err, errStop) {
					yield(blob.LargeInfo{}, err)
				}
				return
			}
		}
	}
}

var errStop = errors.New("stop")

func (s *Store) list(ctx context.Context, dir string, yield func(blob.LargeInfo, error) bool) error {
	names, err := s.fs.List(s.fs.PathJoin(s.dir, dir))
	if err != nil {
		return unavailable("blob.list", err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return &mail.Error{Op: "blob.list", Kind: mail.Canceled, Err: err}
		}
		id, ok := mail.ParseID(name)
		if !ok || s.path(id) != s.fs.PathJoin(s.dir, dir, name) {
			continue
		}
		info, err := s.fs.Stat(s.path(id))
		if vfs.IsNotExist(err) {
			continue
		}
		if err != nil {
			return unavailable("blob.list", err)
		}
		if !yield(blob.LargeInfo{ID: id, Size: info.Size(), Changed: info.ModTime()}, nil) {
			return errStop
		}
	}
	return nil
}

// directory makes sure that the directory of an object exists and is durable.
func (s *Store) directory(id mail.ID) error {
	dir := s.fs.PathDir(s.path(id))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[dir] {
		return nil
	}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	// Synced even when it exists: the process that made it may have died before its sync.
	if err := vfs.SyncDir(s.fs, s.dir); err != nil {
		return err
	}
	clear(s.made) // new objects go to one or two directories at a time
	s.made[dir] = true
	return nil
}

// writer writes one object.
type writer struct {
	s    *Store
	id   mail.ID
	temp string
	file vfs.File // nil once closed
	out  *vfs.DirectWriter
	done bool
}

// Write takes more of the object. Kind Full: the disk is to keep what room it has, or has none.
func (w *writer) Write(p []byte) (int, error) {
	if w.s.room != nil {
		if err := w.s.room(int64(len(p))); err != nil {
			return 0, err
		}
	}
	n, err := w.out.Write(p)
	if err != nil {
		return n, unavailable("blob.write", err)
	}
	return n, nil
}

// Commit implements blob.LargeWriter.
func (w *writer) Commit() error {
	if err := w.s.directory(w.id); err != nil {
		return unavailable("blob.commit", err)
	}
	if err := w.out.Finish(); err != nil {
		return unavailable("blob.commit", err)
	}
	file := w.file
	w.file = nil
	if err := vfs.Publish(w.s.fs, file, w.temp, w.s.path(w.id)); err != nil {
		return unavailable("blob.commit", err)
	}
	w.done = true
	return nil
}

// Abort implements blob.LargeWriter.
func (w *writer) Abort() {
	if w.done {
		return
	}
	w.done = true
	w.out.Abort()
	if w.file != nil {
		_ = w.file.Close() // the file goes anyway
		w.file = nil
	}
	_ = w.s.fs.Remove(w.temp) // else the next start does it
}

// reader reads one object.
type reader struct {
	vfs.File
	size int64
}

var _ io.ReaderAt = reader{}

// Size implements blob.LargeObject.
func (r reader) Size() int64 { return r.size }
