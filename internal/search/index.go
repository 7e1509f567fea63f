package search

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Source gives the index what it is built from.
type Source interface {
	// Emails lists the account's emails above after, ascending, n at most.
	Emails(ctx context.Context, a mail.AccountID, after uint64, n int) ([]uint64, error)
	// Count gives how many emails the account has.
	Count(ctx context.Context, a mail.AccountID) (int64, error)
	// Texts calls fn for those of the emails that exist, in their order, with what gives their texts: all of them,
	// as message.Texts does. It ends with fn's first error.
	Texts(ctx context.Context, a mail.AccountID, emails []uint64, fn func(i int, each Each) error) error
}

// Each gives the texts of an email until fn gives false.
type Each func(fn func(message.Piece) bool) error

// Options are what an Index is built from. KV and Source are needed.
type Options struct {
	KV     kv.Store
	Source Source
	Clock  func() time.Time // nil is time.Now
	Log    *slog.Logger     // nil is none
	// Least is how many emails without an index Run leaves alone: it costs little to read them; 0 is 256.
	Least int
	// Batch is about how large a new segment gets, in octets; 0 is 2 MiB, which take some 40 MiB while it is built.
	Batch int
	// Largest is about how large segments grow by being merged; 0 is 6 MiB.
	Largest int
	// Limits are those under which Source understands messages: with others an index is built anew.
	Limits message.Limits
	// Busy makes Run work without pauses; else it rests as long as it works.
	Busy bool
}

// Index is the text index of all accounts. Safe for concurrent use.
type Index struct {
	o     Options
	epoch uint64

	mu     sync.Mutex
	wanted map[mail.AccountID]bool
	wake   chan struct{}
	known  map[segmentKey]*segment
	weight int    // of known, in emails and terms
	newest uint64 // segment id given out here
}

type segmentKey struct {
	a  mail.AccountID
	id uint64
}

// textVersion rises whenever message.Texts, message.Fold or the tokenizer give something else for the same email.
const textVersion = 1

// maxKnown bounds the weight of what is kept of segments in memory: some 16 MiB.
const maxKnown = 1 << 20

// New gives an Index. It touches nothing; Run builds what was wanted.
func New(o Options) *Index {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	set(&o.Least, 256)
	set(&o.Batch, 2<<20)
	set(&o.Largest, 6<<20)
	// What a text is rests on these tables too.
	epoch := kv.Hash64(fmt.Sprint(textVersion, o.Limits, unicode.Version, norm.Version))
	return &Index{o: o, epoch: epoch, wanted: map[mail.AccountID]bool{}, wake: make(chan struct{}, 1), known: map[segmentKey]*segment{}}
}

func set(n *int, value int) {
	if *n <= 0 {
		*n = value
	}
}

// segment reads what is known of a segment. Kind NotFound or Internal when it is gone or damaged.
func (x *Index) segment(r kv.Reader, a mail.AccountID, id uint64) (*segment, error) {
	key := segmentKey{a, id}
	x.mu.Lock()
	s := x.known[key]
	x.mu.Unlock()
	if s != nil {
		return s, nil
	}
	k := keyPart(a, id, partMeta, 0)
	payload, err := readPart(r, k)
	if err != nil {
		return nil, err
	}
	if s, err = decodeSegment(id, payload); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	weight := len(s.docs) + 4*len(s.firsts)
	if x.weight+weight > maxKnown {
		clear(x.known)
		x.weight = 0
	}
	x.known[key] = s
	x.weight += weight
	return s, nil
}

func (x *Index) forget(a mail.AccountID, id uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.known[segmentKey{a, id}]; s != nil {
		delete(x.known, segmentKey{a, id})
		x.weight -= len(s.docs) + 4*len(s.firsts)
	}
}

func readPart(r kv.Reader, k kv.Key) ([]byte, error) {
	v, err := r.Get(k)
	if err != nil {
		return nil, err
	}
	return unseal(k, v)
}

// broken tells errors of a segment from those of everything else.
func broken(err error) bool { return mail.Is(err, mail.NotFound) || mail.Is(err, mail.Internal) }

// mend takes a segment that is gone or damaged out of the index; its emails are looked at themselves until they are
// indexed anew. It gives false when the segment was merged away meanwhile.
func (x *Index) mend(ctx context.Context, a mail.AccountID, id uint64) (bool, error) {
	s, ok, _, err := x.load(ctx, a)
	if err != nil || !ok {
		return false, err
	}
	next := s.without(id)
	if len(next.members) == len(s.members) {
		return false, nil
	}
	for _, m := range s.members {
		if m.id == id && m.first > 0 {
			next.upTo = min(next.upTo, m.first-1)
		}
	}
	x.o.Log.Warn("search: a part of the text index is damaged and is built anew", "account", uint64(a))
	x.forget(a, id)
	// Its rows are removed with the whole index some day; they are not known here.
	err = x.commit(ctx, a, s, next, rowSet{}, []*segment{x.remains(ctx, a, id)})
	if mail.Is(err, mail.Busy) {
		return false, nil
	}
	x.Want(a)
	return true, mail.Wrap("search.mend", err)
}

// remains lists what rows are left of a segment.
func (x *Index) remains(ctx context.Context, a mail.AccountID, id uint64) *segment {
	s := &segment{id: id}
	from := kv.K(kv.TextIndex).Account(a).U64(id)
	_ = x.o.KV.View(ctx, nil, func(r kv.Reader) error {
		n := 0
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Reverse: true, Limit: 1}) {
			if err != nil {
				return err
			}
			n = int(blockOf(row.Key)) + 1
		}
		s.firsts = make([][]byte, min(n, maxDocs))
		return nil
	})
	return s
}
