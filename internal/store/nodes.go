package store

import (
	"context"
	"errors"
	"time"

	"postel/internal/mail"
)

// ask learns of changes by other processes that write to the same rows; it costs nothing where there are none.
func (h *shared) ask(ctx context.Context) error {
	if !h.s.o.Shared {
		return nil
	}
	seq, err := h.s.modSeq(ctx, h.a)
	if mail.Is(err, mail.NotFound) {
		h.s.open.raise(h.a, h.m, h.seen()+1) // the account is gone: so is the mailbox, says whoever reads it
		return nil
	}
	if err == nil && uint64(seq) > h.target.Load() {
		h.s.open.raise(h.a, h.m, seq)
	}
	return err
}

// seen is the change up to which the snapshot was read.
func (h *shared) seen() ModSeq {
	if p := h.snap.Load(); p != nil {
		return p.seen
	}
	return 0
}

// ResumeStale is ResumeJobs for processes that share the rows with others: it does the jobs that are there for longer
// than age by this process's clock, and so are not what another is about to end. Call it from time to time. A job that
// two do at once is done as well as by one.
func (s *Store) ResumeStale(ctx context.Context, age time.Duration) error {
	jobs, err := s.pending(ctx)
	if err != nil {
		return mail.Wrap("store.jobs", err)
	}
	for _, j := range s.active.aged(jobs, s.now(), age) {
		err = errors.Join(err, s.do(ctx, j))
	}
	return mail.Wrap("store.jobs", err)
}

// aged notes when each job was seen first, and gives those older than age that this process does not work on.
func (x *activeJobs) aged(jobs []job, now time.Time, age time.Duration) (old []job) {
	x.mu.Lock()
	defer x.mu.Unlock()
	first := make(map[job]time.Time, len(jobs))
	for _, j := range jobs {
		at, known := x.first[j]
		if !known {
			at = now
		}
		first[j] = at
		if !x.m[j] && now.Sub(at) >= age {
			old = append(old, j)
		}
	}
	x.first = first
	return old
}
