package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/space"
	"postel/internal/vfs"
)

// Format is the version of the rows' format that this binary writes, and the newest that it reads.
const Format = 1

// closeTimeout bounds the closing of a poisoned store, whose engine may be stuck.
const closeTimeout = 2 * time.Second

// Store is a kv.Store and a kv.Waiter.
type Store struct {
	fs     vfs.FS
	path   string
	db     *pebble.DB
	dir    *pebble.Lock
	log    *slog.Logger
	space  *space.Guard
	locks  lockTable
	groups groups
	rooms  sync.Pool // of *room

	mu      sync.Mutex
	closed  bool
	closing chan struct{}  // closed with closed
	running sync.WaitGroup // Updates and Views; none is added once closed is set

	stalled, failing atomic.Bool // writers wait; the last compaction failed

	dirty atomic.Bool // something was written since Reclaim

	failOnce sync.Once
	failed   chan struct{} // closed when poisoned
	failErr  error         // written before failed is closed
}

var (
	_ kv.Store  = (*Store)(nil)
	_ kv.Waiter = (*Store)(nil)
)

// Open opens the store in o.Dir, or creates it. Kind Busy: another process, or this one, has it open. Kind
// Unsupported: it was written by a newer version; nothing was changed.
func Open(o Options) (_ *Store, err error) {
	const op = "kv.open"
	o = o.withDefaults()
	if err := vfs.MkdirAllSync(o.FS, o.Dir); err != nil {
		return nil, &mail.Error{Op: op, Kind: mail.Unavailable, Text: "cannot create the data directory", Err: err}
	}
	if err := refuseNewer(o.FS, o.Dir, o.Format); err != nil {
		return nil, err
	}
	s := &Store{fs: o.FS, path: o.Dir, log: o.Logger, space: o.Space, failed: make(chan struct{}), closing: make(chan struct{})}
	guard := newGuard(o.FS, s)
	if s.dir, err = pebble.LockDirectory(o.Dir, guard); err != nil {
		return nil, lockError(op, err)
	}
	po := o.engine(s)
	po.FS, po.Lock = guard, s.dir
	if s.db, err = openEngine(o.Dir, po); err != nil {
		err = openError(op, err)
		return nil, errors.Join(err, s.dir.Close())
	}
	if err = s.checkFormat(o.Format); err == nil {
		err = s.Err() // a failure that Pebble only logged
	}
	if err != nil {
		if vfs.IsNoSpace(err) {
			err = openError(op, err)
		}
		return nil, errors.Join(err, s.db.Close(), s.dir.Close())
	}
	guard.arm()
	return s, nil
}

// OpenMemory gives an empty store in memory.
func OpenMemory() (*Store, error) {
	return Open(Options{FS: vfs.NewMem(), Dir: "/kv", MemTableSize: 16 << 20})
}

func openEngine(dir string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() { // a panic here is an error of the file system that Pebble does not hand up
		if p := recover(); p != nil {
			if err, _ = p.(error); err == nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}
	}()
	return pebble.Open(dir, o)
}

// Lock takes the lock of a directory that a Store would take, for who keeps rows elsewhere; the directory is created
// where it is missing. Kind Busy when another process has it.
func Lock(f vfs.FS, dir string) (io.Closer, error) {
	const op = "kv.lock"
	if err := vfs.MkdirAllSync(f, dir); err != nil {
		return nil, &mail.Error{Op: op, Kind: mail.Unavailable, Text: "cannot create the data directory", Err: err}
	}
	l, err := pebble.LockDirectory(dir, f)
	if err != nil {
		return nil, lockError(op, err)
	}
	return l, nil
}

// openError tells a full disk from one that is broken.
func openError(op string, err error) error {
	if vfs.IsNoSpace(err) {
		return &mail.Error{Op: op, Kind: mail.Full, Text: "there is no room on the disk to open the data directory", Err: err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Text: "cannot open the data directory", Err: err}
}

// lockError tells a lock that is held from one that cannot be taken.
func lockError(op string, err error) error {
	var path *fs.PathError // of creating the file, which may be denied too
	held := errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) && !errors.As(err, &path) ||
		strings.Contains(err.Error(), "lock held by current process")
	if held {
		return &mail.Error{Op: op, Kind: mail.Busy, Text: "the data directory is in use by another process", Err: err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Text: "cannot lock the data directory", Err: err}
}

// Failed is closed once the store is poisoned.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Err says why the store is poisoned (Kind Unavailable); nil when it is not.
func (s *Store) Err() error {
	select {
	case <-s.failed:
		return &mail.Error{Op: "kv", Kind: mail.Unavailable, Err: s.failErr}
	default:
		return nil
	}
}

// poison marks the store failed; only the first cause counts.
func (s *Store) poison(cause error) {
	s.failOnce.Do(func() {
		s.failErr = cause
		close(s.failed)
		s.log.Error("kv: the store has failed and takes nothing more", "err", cause)
	})
}

// poisoned tells whether the store has failed.
func (s *Store) poisoned() bool {
	select {
	case <-s.failed:
		return true
	default:
		return false
	}
}

// begin admits an Update or a View; each is ended by s.running.Done.
func (s *Store) begin(ctx context.Context) error {
	if err := s.Err(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return &mail.Error{Op: "kv", Kind: mail.Canceled, Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return mail.E("kv", mail.Unavailable, "the store is closed")
	}
	s.running.Add(1)
	return nil
}

// Close waits for what is running and closes the engine. Closing again does nothing. The error of a poisoned store
// is that which poisoned it.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	if s.closed = true; !again {
		close(s.closing)
	}
	s.mu.Unlock()
	if again {
		return nil
	}
	done := make(chan error, 1)
	go func() {
		s.running.Wait()
		done <- errors.Join(s.db.Close(), s.dir.Close())
	}()
	select {
	case err := <-done:
		if failed := s.Err(); failed != nil {
			return failed
		}
		return s.engineError("kv.close", err)
	case <-s.failed:
	}
	select { // the engine of a failed store may never come to an end
	case <-done:
	case <-time.After(closeTimeout):
	}
	return s.Err()
}

// Metrics gives the engine's own report, for people.
func (s *Store) Metrics() string { return s.db.Metrics().String() }

// engineError gives an error of the engine a Kind. That of a store which has failed is Unavailable, whatever it says:
// its disk is frozen.
func (s *Store) engineError(op string, err error) error {
	if failed := s.Err(); failed != nil {
		return failed
	}
	if err == nil {
		return nil
	}
	return &mail.Error{Op: op, Kind: mail.Internal, Err: err}
}
