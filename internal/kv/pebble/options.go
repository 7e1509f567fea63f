package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"postel/internal/space"
	"postel/internal/vfs"
)

// Options say where a store lies and how much memory it may use.
type Options struct {
	FS     vfs.FS       // nil is the operating system's
	Dir    string       // created (0700) where missing
	Logger *slog.Logger // nil is none
	Format uint32       // the newest format of rows that is read, and that of a new store; 0 is Format
	// Space judges whether there is room for a commit and for a compaction; nil admits everything.
	Space *space.Guard
	// CacheSize is the block cache in octets; 0 is 16 MiB. It is filled by reading, not at start, and has the room
	// of two write buffers besides as long as these are small.
	CacheSize int64
	// MemTableSize is the write buffer in octets; 0 is 16 MiB. The first one is small and they double, so that
	// an idle store stays small; up to three exist under load.
	MemTableSize uint64
}

const (
	defaultCache    = 16 << 20
	defaultMemTable = 16 << 20
	// format is Pebble's on-disk format, pinned: a newer Pebble must not raise it by itself.
	format = pebble.FormatValueSeparation
)

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.Default()
	}
	if o.Format == 0 {
		o.Format = Format
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.CacheSize == 0 {
		o.CacheSize = defaultCache
	}
	if o.MemTableSize == 0 {
		o.MemTableSize = defaultMemTable
	}
	return o
}

// engine gives Pebble's options, tuned for many small durable commits whose values are already compressed.
func (o Options) engine(s *Store) *pebble.Options {
	p := &pebble.Options{
		FormatMajorVersion: format,
		// Pebble takes the memory of write buffers off the cache: of the one in use and of the one it keeps for the
		// next. Without their room there is no cache at all, and each read unpacks its blocks anew.
		CacheSize:                   o.CacheSize + 2*int64(o.MemTableSize),
		MemTableSize:                o.MemTableSize,
		MemTableStopWritesThreshold: 3,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		BytesPerSync:                1 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, 2 },
		Logger:                      engineLog{s},
		EventListener: &pebble.EventListener{
			FlushEnd: func(i pebble.FlushInfo) {
				// A flush that had nothing to write says so in its error; Pebble exports no name for it.
				if i.Err != nil && !strings.Contains(i.Err.Error(), "pebble: empty table") {
					s.poison(fmt.Errorf("flush: %w", i.Err))
				}
			},
			CompactionEnd:   func(i pebble.CompactionInfo) { s.compacted(i.Err) },
			WriteStallBegin: func(pebble.WriteStallBeginInfo) { s.stalled.Store(true); s.stuck() },
			WriteStallEnd:   func() { s.stalled.Store(false) },
			BackgroundError: func(err error) { s.background(err) },
			DataCorruption: func(i pebble.DataCorruptionInfo) {
				s.log.Error("kv engine: damaged data", "path", i.Path, "err", i.Details)
			},
		},
	}
	for i := range p.Levels {
		p.Levels[i].BlockSize = 16 << 10
		p.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	p.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionFastest })
	return p
}

// compacted notes the outcome of a compaction.
func (s *Store) compacted(err error) {
	if errors.Is(err, pebble.ErrCancelledCompaction) {
		return
	}
	s.failing.Store(err != nil)
	s.stuck()
}

// background logs what failed without anyone waiting for it. A compaction without room is tried again and again, and the
// disk is known to be full.
func (s *Store) background(err error) {
	level := slog.LevelError
	if vfs.IsNoSpace(err) {
		level = slog.LevelDebug
	}
	s.log.Log(context.Background(), level, "kv engine: background work failed", "err", err.Error())
}

// stuck poisons a store whose writers wait for compactions that fail: they would wait for ever. While none waits, a
// compaction that fails is only logged, for nothing is lost by it.
func (s *Store) stuck() {
	if s.stalled.Load() && s.failing.Load() {
		s.poison(errors.New("writes wait for compactions, and these fail"))
	}
}

// engineLog hands Pebble's log on. Its Fatalf poisons the store and returns, where Pebble's own would exit.
type engineLog struct{ s *Store }

func (l engineLog) Infof(format string, args ...any) {
	l.s.log.Debug("kv engine", "msg", fmt.Sprintf(format, args...))
}

func (l engineLog) Errorf(format string, args ...any) {
	l.s.log.Warn("kv engine", "msg", fmt.Sprintf(format, args...))
}

func (l engineLog) Fatalf(format string, args ...any) { l.s.poison(fmt.Errorf(format, args...)) }
