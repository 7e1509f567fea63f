package store

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"postel/internal/blob"
	"postel/internal/bus"
	"postel/internal/kv"
	"postel/internal/lease"
	"postel/internal/mail"
	"postel/internal/message"
)

// Options are what a Store is built from. KV and Blobs are needed.
type Options struct {
	KV    kv.Store
	Blobs *blob.Store
	Bus   bus.Bus          // nil: nobody else is told of changes
	Clock func() time.Time // nil is time.Now
	Log   *slog.Logger     // nil is none
	// Quota gives an account's limit in octets, 0 for none, or fails with Kind OverQuota when there is no room elsewhere
	// for size octets more. AppendOne, Import and Undelete ask; nil is no limit for anyone.
	Quota func(ctx context.Context, a mail.AccountID, size int64) (int64, error)
	// Counted is told what an account holds after each durable change of that. Calls for one account may come out of
	// order, as their MODSEQ tells. nil is nobody. It must not block.
	Counted func(Usage)
	// Parse bounds what is understood of a message; zero fields are message's own limits.
	Parse message.Limits
	// Keep is how long what is expunged can be brought back; 0: not at all.
	Keep time.Duration
	// LogAge and LogRows say how far back the change log of an account reaches: rows that are older go, but for the last
	// thousand, and those beyond that number. 0 is 30 days, and 10,000.
	LogAge  time.Duration
	LogRows int
	// Mailboxes is how many an account may have, and may subscribe to; 0 is MaxMailboxes.
	Mailboxes int
	// Room tells whether a message of n octets (0: unknown) may come, Kind Full when not; nil takes what comes.
	Room func(n int64) error
	// Shared says that other processes write to the same rows: then the notices of Bus are listened to, and a session
	// that asks for the newest state reads one row.
	Shared bool
	// Node is this process among those others, for what only one of them may have; nil: what is exclusive is so within
	// this process.
	Node *lease.Node
}

// Store keeps the mail of all accounts. Safe for concurrent use.
type Store struct {
	o         Options
	logPolicy logPolicy
	steps     steps
	parsers   parsers
	heavy     chan struct{} // a place for each large tree in memory
	open      registry
	drops     maildrops
	slots     fullSlots
	poll      time.Duration // see pollEvery

	ctx    context.Context // of jobs that nobody waits for
	cancel context.CancelFunc
	jobs   sync.WaitGroup
	active activeJobs
}

// steps says how many messages one transaction of a change of many takes.
type steps struct {
	flags, move, expunge, copy int
	gap                        UID    // free UIDs in front of what a large COPY stages
	ahead                      ModSeq // how far ahead its MODSEQ is
}

// New gives a store. It touches nothing; ResumeJobs then finishes what was left undone.
func New(o Options) *Store {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Mailboxes <= 0 {
		o.Mailboxes = MaxMailboxes
	}
	s := &Store{o: o, logPolicy: newLogPolicy(o.LogAge, o.LogRows), parsers: parsers{limits: keptLimits(o.Parse)}, heavy: make(chan struct{}, maxHeavy)}
	s.poll = pollEvery
	s.steps = steps{flags: 4000, move: 1000, expunge: 500, copy: 4000, gap: 4096, ahead: 1 << 20}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close stops the jobs, which the next ResumeJobs goes on with. Views may still be closed afterwards, but not used.
func (s *Store) Close() error {
	s.cancel()
	s.open.close()
	s.jobs.Wait()
	return nil
}

func (s *Store) now() time.Time { return s.o.Clock() }

// change runs fn as one transaction on an account and then tells those who look at its mailboxes. It loads the
// counters of boxes beforehand (Kind NotFound when one is gone); more are the locks it needs beside the account's.
func (s *Store) change(ctx context.Context, a mail.AccountID, boxes []MailboxID, fn func(*change) error, more ...kv.Key) error {
	return s.update(ctx, a, boxes, fn, kv.Txn{Lock: append([]kv.Key{kv.LockAccount(a)}, more...)})
}

// freeing is change for what makes room, or leads to it: it goes through when the disk has none for new mail.
func (s *Store) freeing(ctx context.Context, a mail.AccountID, boxes []MailboxID, fn func(*change) error, more ...kv.Key) error {
	return s.update(ctx, a, boxes, fn, kv.Txn{Lock: append([]kv.Key{kv.LockAccount(a)}, more...), Frees: true})
}

func (s *Store) update(ctx context.Context, a mail.AccountID, boxes []MailboxID, fn func(*change) error, t kv.Txn) error {
	var done *change
	err := s.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		done = nil
		c, err := s.begin(tx, a, boxes...)
		if err != nil {
			return err
		}
		if err := fn(c); err != nil {
			return err
		}
		done = c
		return c.end()
	})
	if err == nil && len(done.ops) > 0 {
		touched := make([]MailboxID, 0, len(done.boxes)+1)
		for i := range done.ops {
			touched = append(touched, done.ops[i].m)
		}
		s.counted(done.usage())
		s.committed(a, done.seq, touched...)
	}
	return mail.Wrap("store", err)
}

// counted passes on what an account holds.
func (s *Store) counted(u Usage) {
	if s.o.Counted != nil {
		s.o.Counted(u)
	}
}

// committed tells of a change that is durable: first those who look, then everyone else.
func (s *Store) committed(a mail.AccountID, seq ModSeq, boxes ...MailboxID) {
	for _, m := range boxes {
		s.open.raise(a, m, seq)
	}
	if s.o.Bus != nil {
		s.o.Bus.Publish(bus.OfAccount(a), uint64(seq))
	}
}
