package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Jobs are what one transaction cannot do and a crash must not forget. Each has a row "sv store.job kind A M first"
// under the server's lock, written by the transaction that began it and deleted by the one that ends it.

type jobKind byte

const (
	jobEmpty   jobKind = 1 // the entries of a mailbox that is gone
	jobStaged  jobKind = 2 // entries that a COPY staged and did not publish
	jobAccount jobKind = 3 // all of an account
	jobInbox   jobKind = 4 // entries of INBOX, which was renamed, on their way to the mailbox m
)

const jobPrefix = "store.job."

type job struct {
	kind       jobKind
	a          mail.AccountID
	m          MailboxID
	first, end UID // of what was staged, or is on its way
}

func (j job) key() kv.Key {
	return kv.K(kv.Server).Text(jobPrefix).U8(byte(j.kind)).Account(j.a).U32(uint32(j.m)).U32(uint32(j.first))
}

func (j job) encode() []byte {
	b := []byte{version, byte(j.kind)}
	b = appendUint(b, uint64(j.a))
	b = appendUint(b, j.m)
	return appendRanges(b, []uidRange{{j.first, j.end}})
}

func decodeJob(v []byte) (job, error) {
	d := decode(v)
	j := job{kind: jobKind(d.u8()), a: mail.AccountID(d.uint()), m: MailboxID(d.u32())}
	if r := d.ranges(); len(r) == 1 {
		j.first, j.end = r[0].first, r[0].end
	} else {
		d.bad = true
	}
	return j, d.end("sv job")
}

// activeJobs are those that this process works on.
type activeJobs struct {
	mu sync.Mutex
	m  map[job]bool

	first map[job]time.Time // when those of others were seen first; see ResumeStale
}

// add notes a job until release is called.
func (x *activeJobs) add(j job) (release func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.m == nil {
		x.m = make(map[job]bool)
	}
	x.m[j] = true
	return func() {
		x.mu.Lock()
		delete(x.m, j)
		x.mu.Unlock()
	}
}

func (x *activeJobs) has(j job) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.m[j]
}

// ResumeJobs finishes what a crash or Close interrupted. It may run while the store is in use.
func (s *Store) ResumeJobs(ctx context.Context) error {
	jobs, err := s.pending(ctx)
	for _, j := range jobs {
		if s.active.has(j) {
			continue
		}
		err = errors.Join(err, s.do(ctx, j))
	}
	return mail.Wrap("store.jobs", err)
}

// pending lists the jobs that are not done.
func (s *Store) pending(ctx context.Context) (jobs []job, err error) {
	from := kv.K(kv.Server).Text(jobPrefix)
	err = s.o.KV.View(ctx, []kv.Key{kv.LockServer()}, func(r kv.Reader) error {
		jobs = nil
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			j, err := decodeJob(row.Value)
			if err != nil { // a check mends it; the others need not wait for that
				s.o.Log.Error("store: a job's row is damaged", "key", fmt.Sprintf("%x", []byte(row.Key)))
				continue
			}
			jobs = append(jobs, j)
		}
		return nil
	})
	return jobs, err
}

// start does a job in the background.
func (s *Store) start(j job) {
	release := s.active.add(j)
	s.jobs.Go(func() {
		defer release()
		if err := s.do(s.ctx, j); err != nil && s.ctx.Err() == nil {
			s.o.Log.Error("store: job failed, the next start tries again", "err", err)
		}
	})
}

func (s *Store) do(ctx context.Context, j job) error {
	switch j.kind {
	case jobEmpty:
		return s.empty(ctx, j)
	case jobStaged:
		return s.clearStaged(ctx, j)
	case jobAccount:
		return s.clearAccount(ctx, j)
	case jobInbox:
		return s.moveInbox(ctx, j)
	}
	return mail.E("store.jobs", mail.Unsupported, "job of an unknown kind")
}

// purge removes entries that are no part of any mailbox: those of m within the range, in steps.
func (s *Store) purge(ctx context.Context, a mail.AccountID, m MailboxID, r uidRange) error {
	for {
		plan, err := s.planPurge(ctx, a, m, r)
		if err != nil || len(plan) == 0 {
			return err
		}
		err = s.freeing(ctx, a, nil, func(c *change) error {
			_, err := c.remove(nil, m, plan, nil)
			return err
		}, s.blobLocks(plan)...)
		if err != nil {
			return err
		}
		r.first = plan[len(plan)-1].uid + 1
	}
}

func (s *Store) planPurge(ctx context.Context, a mail.AccountID, m MailboxID, r uidRange) (plan []doomed, err error) {
	err = s.o.KV.View(ctx, lockOf(a), func(rd kv.Reader) error {
		var uids []UID
		o := kv.ScanOptions{KeysOnly: true, Limit: s.steps.expunge}
		for row, err := range rd.Scan(keyEntry(a, m, r.first), keyEntry(a, m, r.end), o) {
			if err != nil {
				return err
			}
			uids = append(uids, UID(lastUint32(row.Key)))
		}
		plan, err = s.doom(rd, a, m, nil, uids)
		return err
	})
	return plan, err
}

const lastUID UID = 1<<32 - 1

// empty does jobEmpty.
func (s *Store) empty(ctx context.Context, j job) error {
	if err := s.purge(ctx, j.a, j.m, uidRange{0, lastUID}); err != nil {
		return err
	}
	return s.endJob(ctx, j, func(kv.Tx) error { return nil })
}

// clearStaged does jobStaged. First the range is sealed, which means made one shorter: whoever staged it, on another
// node perhaps, does not find it any more and cannot publish it, but the entries stay hidden.
func (s *Store) clearStaged(ctx context.Context, j job) error {
	open, sealed := uidRange{j.first, j.end}, uidRange{j.first, j.end - 1}
	hidden := false
	err := s.o.KV.Update(ctx, kv.Txn{Lock: lockOf(j.a), Frees: true}, func(tx kv.Tx) error {
		hidden = true // as the entries of a mailbox that is gone are
		return s.restage(tx, j, func(b *boxRow) bool {
			i := slices.Index(b.staged, open)
			if i >= 0 {
				b.staged[i] = sealed
			}
			hidden = i >= 0 || slices.Contains(b.staged, sealed)
			return i >= 0
		})
	})
	if err == nil && hidden { // else they were published, or cleared: UIDs there are of others by now
		err = s.purge(ctx, j.a, j.m, sealed)
	}
	if err != nil {
		return err
	}
	return s.endJob(ctx, j, func(tx kv.Tx) error {
		return s.restage(tx, j, func(b *boxRow) bool {
			i := slices.Index(b.staged, sealed)
			if i >= 0 {
				b.staged = slices.Delete(b.staged, i, i+1)
			}
			return i >= 0
		})
	})
}

// restage changes the staged ranges of a job's mailbox, if that is still there; fn tells whether it did anything.
func (s *Store) restage(tx kv.Tx, j job, fn func(*boxRow) bool) error {
	b, err := readBox(tx, j.a, j.m)
	if mail.Is(err, mail.NotFound) {
		return nil // the mailbox is being emptied
	}
	if err == nil && fn(&b) {
		tx.Set(keyBox(j.a, j.m), b.encode())
	}
	return err
}

// endJob does the last of a job and forgets it.
func (s *Store) endJob(ctx context.Context, j job, last func(kv.Tx) error) error {
	lock := []kv.Key{kv.LockAccount(j.a), kv.LockServer()}
	return s.o.KV.Update(ctx, kv.Txn{Lock: lock, Frees: true}, func(tx kv.Tx) error {
		if err := last(tx); err != nil {
			return err
		}
		tx.Delete(j.key())
		return nil
	})
}
