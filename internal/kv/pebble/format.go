package pebble

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// formatFile is the file beside the engine's that says which format a program must read at least; without it, any. It is
// looked at before the engine is opened, because the engine changes files as soon as it is.
const formatFile = "FORMAT"

// refuseNewer fails with Kind Unsupported when the directory is of a format beyond newest.
func refuseNewer(f vfs.FS, dir string, newest uint32) error {
	const op = "kv.open"
	b, err := vfs.ReadFile(f, f.PathJoin(dir, formatFile), 64)
	if vfs.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return &mail.Error{Op: op, Kind: mail.Unavailable, Text: "cannot read the data directory's format", Err: err}
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return &mail.Error{Op: op, Kind: mail.Internal, Text: "the data directory's file " + formatFile + " is damaged", Err: err}
	}
	return tooNew(uint32(n), newest)
}

func tooNew(n, newest uint32) error {
	if n <= newest {
		return nil
	}
	return mail.E("kv.open", mail.Unsupported,
		"the data directory has format %d, this binary reads up to %d: use a newer one; nothing was changed", n, newest)
}

// checkFormat writes the format's version into a new store and refuses a newer one. A damaged row is no reason to keep out
// a check, which mends it; package upgrade keeps out everyone else.
func (s *Store) checkFormat(newest uint32) error {
	const op = "kv.open"
	key := kv.K(kv.Server).Text("format")
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return s.engineError(op, s.db.Set(key, binary.BigEndian.AppendUint32(nil, newest), pebble.Sync))
	}
	if err != nil {
		return s.engineError(op, err)
	}
	defer func() { _ = closer.Close() }()
	if len(v) != 4 {
		return nil
	}
	return tooNew(binary.BigEndian.Uint32(v), newest)
}

// RaiseFormat has programs that do not read format n refuse the directory from now on, durably.
func (s *Store) RaiseFormat(n uint32) error {
	line := fmt.Appendf(nil, "%d\n", n)
	if b, err := vfs.ReadFile(s.fs, s.fs.PathJoin(s.path, formatFile), 64); err == nil && bytes.Equal(b, line) {
		return nil
	}
	err := vfs.WriteFileSync(s.fs, s.fs.PathJoin(s.path, formatFile), line)
	if err != nil {
		return &mail.Error{Op: "kv.format", Kind: mail.Unavailable, Err: err}
	}
	return nil
}

// Checkpoint makes a copy of the store as it is now in dir, which must not exist, by links where it can: it takes
// hardly any time or room. It may be opened as a store of its own.
func (s *Store) Checkpoint(ctx context.Context, dir string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	return s.engineError("kv.checkpoint", s.db.Checkpoint(dir, pebble.WithFlushedWAL()))
}
