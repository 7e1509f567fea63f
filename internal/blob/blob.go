package blob

import (
	"context"
	"io"
	"iter"
	"runtime"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// InlineMax is the default of Options.InlineMax.
const InlineMax = 128 << 10

// Store keeps bodies in rows of KV and in objects of Large. Safe for concurrent use.
type Store struct {
	kv        kv.Store
	large     Large
	ids       *mail.IDs
	clock     func() time.Time
	inlineMax int
	codec     *codec
	buffers   *buffers
}

// Options say where bodies go.
type Options struct {
	KV        kv.Store
	Large     Large            // nil refuses bodies larger than InlineMax (Kind TooLarge)
	IDs       *mail.IDs        // nil is a source of its own
	Clock     func() time.Time // nil is time.Now
	InlineMax int              // largest body kept in a row, in octets; 0 is 128 KiB
}

// New gives a store. It touches nothing.
func New(o Options) *Store {
	if o.IDs == nil {
		o.IDs = new(mail.IDs)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.InlineMax == 0 {
		o.InlineMax = InlineMax
	}
	return &Store{
		kv: o.KV, large: o.Large, ids: o.IDs, clock: o.Clock, inlineMax: o.InlineMax,
		codec: newCodec(runtime.GOMAXPROCS(0), max(o.InlineMax, frameSize)), buffers: new(buffers),
	}
}

// Kind is what owns a link.
type Kind byte

// The kinds of owners.
const (
	Email     Kind = 'e' // A is the account, ID the email
	QueueItem Kind = 'q' // A is the partition, ID the item
	Upload    Kind = 'u' // A is the account, ID what it counts uploads by; its link ends (LinkUntil)
)

// Owner is one link of a blob: the same owner links the same blob once.
type Owner struct {
	Kind  Kind
	A, ID uint64
}

// Large is a backend for large objects: blob/file, or an object store. Safe for concurrent use.
type Large interface {
	// Create begins an object. Nobody sees it before Commit.
	Create(ctx context.Context, id mail.ID) (LargeWriter, error)
	// Open opens an object; Kind NotFound when there is none. Removing it does not disturb who has it open.
	Open(ctx context.Context, id mail.ID) (LargeObject, error)
	// Remove removes an object; nil when there is none.
	Remove(ctx context.Context, id mail.ID) error
	// List gives the objects in no particular order; one that is removed meanwhile may be among them.
	List(ctx context.Context) iter.Seq2[LargeInfo, error]
}

// LargeWriter writes one object.
type LargeWriter interface {
	io.Writer
	// Commit makes the object durable under its id.
	Commit() error
	// Abort drops the object; after Commit it does nothing.
	Abort()
}

// LargeObject reads one object. ReadAt is safe for concurrent use.
type LargeObject interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// LargeInfo describes an object.
type LargeInfo struct {
	ID      mail.ID
	Size    int64
	Changed time.Time // when it was committed
}
