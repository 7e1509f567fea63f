package vfs

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// Crashable is a file system in memory that knows what was synced. For tests.
type Crashable struct{ *vfs.MemFS }

// NewCrashable gives an empty one.
func NewCrashable() Crashable { return Crashable{vfs.NewCrashableMem()} }

// Crash gives a copy of the file system as a power failure now may leave it: all that was synced, and of the
// unsynced blocks and directory entries each with a chance of keepPercent of 100. The original goes on living.
func (c Crashable) Crash(keepPercent int, seed uint64) Crashable {
	return Crashable{c.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: keepPercent,
		RNG:                 rand.New(rand.NewPCG(seed, 0x706f7374656c)),
	})}
}

// ErrInjected is the error that a Fault gives.
var ErrInjected = errors.New("injected fault")

// Op is what is about to be done to a file or directory.
type Op struct {
	Path string
	Sync bool // a sync of a file or a directory
	Read bool // any kind of reading, so neither a sync nor a change
}

// WithFaults gives f with a hook before each operation: an error from it is returned in place of doing it. The hook
// is called concurrently.
func WithFaults(f FS, hook func(Op) error) FS {
	return faultFS{errorfs.Wrap(f, errorfs.InjectorFunc(func(op errorfs.Op) error {
		return hook(Op{Path: op.Path, Sync: isSync(op.Kind), Read: op.Kind.ReadOrWrite() == errorfs.OpIsRead})
	}))}
}

// faultFS mends errorfs, whose ReuseForWrite gives a file without the hook: a recycled log would never fail.
type faultFS struct{ *errorfs.FS }

func (f faultFS) ReuseForWrite(oldname, newname string, c vfs.DiskWriteCategory) (File, error) {
	if err := f.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(newname, c)
}

func isSync(k errorfs.OpKind) bool {
	return k == errorfs.OpFileSync || k == errorfs.OpFileSyncData || k == errorfs.OpFileSyncTo
}

// FailSync gives a hook for WithFaults that fails the nth sync (from 1) of paths containing part, and every later
// sync of them; n of 0 fails none. Count gives the number of syncs seen.
func FailSync(part string, n int64) (hook func(Op) error, count func() int64) {
	var seen atomic.Int64
	hook = func(op Op) error {
		if !op.Sync || !strings.Contains(op.Path, part) {
			return nil
		}
		if i := seen.Add(1); n > 0 && i >= n {
			return ErrInjected
		}
		return nil
	}
	return hook, seen.Load
}
