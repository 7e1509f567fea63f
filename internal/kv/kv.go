// Package kv is the contract of the storage engine: ordered rows with named locks and durable transactions.
// Rules of mail live above it, engines below it (kv/pebble), the conformance suite beside it (kv/kvtest).
//
// Two transactions are serialised exactly when they share a lock. A lock is a name; it need not exist as a row.
// What a reader sees under a lock is durable: a crash never takes back what anyone was shown.
package kv

import (
	"context"
	"iter"

	"postel/internal/mail"
)

// Key is a row's key, or the name of a lock. Rows are ordered by the octets of their keys.
type Key []byte

// Row is one row of a scan. Both are valid until the next step of the scan.
type Row struct {
	Key   Key
	Value []byte // nil with KeysOnly
}

// Limits of one transaction on every backend; beyond them an Update fails with Kind TooLarge.
const (
	MaxTxnBytes = 16 << 20
	MaxTxnRows  = 50_000
	MaxKey      = 1 << 10
)

// ErrNotFound says that a row does not exist; its Kind is NotFound.
var ErrNotFound error = &mail.Error{Op: "kv.get", Kind: mail.NotFound}

// ErrOwnWrites is what a Scan gives, wrapped, when its range was written in the same Tx; its Kind is Internal.
var ErrOwnWrites error = &mail.Error{Op: "kv.scan", Kind: mail.Internal, Text: "scan over a range written in the same transaction"}

// Store is an ordered map of rows with transactions. Safe for concurrent use.
type Store interface {
	// View runs fn on one consistent snapshot in which everything guarded by lock is durable. Where only what is
	// durable can be seen it opens at once; elsewhere it notes, under the lock, the last pending commit and opens the
	// snapshot, releases, waits for that commit's sync, then runs fn. Rows guarded by other locks may be unsynced: do not read them. Without a lock only rows may be read
	// that never change once written, or Lazy ones.
	View(ctx context.Context, lock []Key, fn func(Reader) error) error
	// Update runs fn under its locks and commits; nil means durable. It waits for the pending commit of its
	// locks even when fn wrote nothing. fn may run more than once: no side effects. A backend may run several
	// Updates in one engine transaction; one fn's error drops that fn's writes only and is returned as it is.
	// After the first failed sync everything fails with Kind Unavailable. Kind Full: there is no room for it on the
	// disk, and nothing was written. Rows in a database that is away fail with Kind Unavailable until it is back; a
	// transaction that failed so may be there all the same, when the answer to its commit was lost.
	Update(ctx context.Context, t Txn, fn func(Tx) error) error
	// Close waits for what is running and closes the engine; later calls fail with Kind Unavailable.
	Close() error
}

// Txn says beforehand what a transaction will lock and read.
type Txn struct {
	Lock []Key // taken first, in key order; duplicates are one
	Read []Key // rows fn will want: fetched for a whole group in one round trip
	// Frees says that it makes room on a disk that is nearly full, or ends work: it may commit when others are
	// refused with Kind Full.
	Frees bool
	Lazy  bool // may be lost by a crash, order kept: only rate and greylist rows, what was seen and counted of TLS, and deleting ended queue items
}

// ScanOptions narrow a scan. The zero value gives all rows, ascending, with values.
type ScanOptions struct {
	Limit    int // 0 is none
	Reverse  bool
	KeysOnly bool
}

// Reader reads rows.
type Reader interface {
	// Get gives the value, valid until fn returns, or ErrNotFound.
	Get(Key) ([]byte, error)
	// GetMulti gives the values in the order of the keys; nil for a row that does not exist (an existing empty
	// value is not nil).
	GetMulti([]Key) ([][]byte, error)
	// Scan gives the rows with from <= key < to; a nil from is the first row, a nil to is behind the last. An
	// error ends it, as the last step.
	Scan(from, to Key, o ScanOptions) iter.Seq2[Row, error]
}

// Tx reads and writes. Get and GetMulti see the Tx's own writes; Scan over a range written in the same Tx is
// ErrOwnWrites. Set with a nil value stores an empty one. Keys and values given to it may be reused when the call returns.
type Tx interface {
	Reader
	Set(Key, []byte)
	Delete(Key)
	DeleteRange(from, to Key) // whole accounts and mailboxes only
}

// Waiter is what a backend offers besides, for the process that owns the store.
type Waiter interface {
	// Failed is closed once the store is poisoned by a failed sync; Err then says why.
	Failed() <-chan struct{}
	Err() error
}
