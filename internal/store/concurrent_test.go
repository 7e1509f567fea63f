package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// storm is several clients at once on one account.
type storm struct {
	w    *world
	done atomic.Bool
}

// TestConcurrent lets deliveries, changes and readers loose on one account. Readers check what RFC 9051 promises
// them; at the end everything is recounted.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	s := &storm{w: newWorld(t)}
	s.w.account(1)
	s.w.steps = steps{flags: 7, move: 5, expunge: 5, copy: 6, gap: 8, ahead: 1 << 20}
	s.w.logPolicy = logPolicy{every: 4, least: 40, most: 60, age: time.Hour, own: 4}
	var writers, readers sync.WaitGroup
	for i := range 3 {
		writers.Go(func() { s.deliver(i, 60) })
		writers.Go(func() { s.meddle(uint64(i), 40) })
		readers.Go(func() { s.read(Inbox) })
		readers.Go(func() { s.read(2) })
	}
	writers.Wait()
	s.done.Store(true)
	readers.Wait()
	s.w.check(1)
	if links, err := s.w.CheckLinks(ctx(t), 1); err != nil || len(links) > 0 {
		t.Error(links, err)
	}
}

func (s *storm) deliver(who, n int) {
	for i := range n {
		if _, err := s.w.AppendOne(ctx(s.w.t), s.w.message(hello(fmt.Sprint(who, "-", i))), Delivery{
			Account: 1, Mailbox: MailboxID(1 + i%2),
		}); err != nil {
			s.w.t.Error(err)
		}
	}
}

func (s *storm) meddle(seed uint64, n int) {
	rng := rand.New(rand.NewPCG(seed, 7))
	for range n {
		from, to := MailboxID(1+rng.IntN(2)), MailboxID(1+rng.IntN(2))
		uids, err := s.w.uids(ctx(s.w.t), 1, from, func(*entryRow) bool { return rng.IntN(3) == 0 })
		if err == nil {
			err = s.one(rng, from, uids, to)
		}
		if err != nil && !mail.Is(err, mail.Busy) {
			s.w.t.Error(err)
		}
	}
}

func (s *storm) one(rng *rand.Rand, from MailboxID, uids []UID, to MailboxID) error {
	c := ctx(s.w.t)
	switch rng.IntN(5) {
	case 0:
		_, err := s.w.Copy(c, 1, from, uids[:min(len(uids), 20)], to)
		return err
	case 1:
		_, err := s.w.Move(c, 1, from, uids, to)
		return err
	case 2:
		_, err := s.w.Expunge(c, 1, from, uids)
		return err
	case 3:
		_, err := s.w.ExpungeDeleted(c, 1, from, nil)
		return err
	}
	return s.w.SetFlags(c, 1, from, uids, FlagOp(rng.IntN(3)), Flags(rng.IntN(32)), []string{"k"})
}

// read follows a mailbox and checks that nothing comes back, moves or changes silently.
func (s *storm) read(m MailboxID) {
	v, err := s.w.Open(ctx(s.w.t), 1, m, false)
	if err != nil {
		s.w.t.Error(err)
		return
	}
	defer v.Close()
	old, err := v.Latest(ctx(s.w.t))
	for err == nil && !s.done.Load() {
		select {
		case <-v.Changed():
		case <-time.After(time.Millisecond):
		}
		var p *Snapshot
		if p, err = v.Latest(ctx(s.w.t)); err == nil {
			err = follows(old, p)
			old = p
		}
	}
	if err != nil {
		s.w.t.Error(err)
	}
}

// follows tells why a snapshot cannot come after another.
func follows(old, now *Snapshot) error {
	if now.ModSeq() < old.ModSeq() || now.UIDNext() < old.UIDNext() || now.UIDValidity() != old.UIDValidity() {
		return fmt.Errorf("HIGHESTMODSEQ %d then %d, UIDNEXT %d then %d", old.ModSeq(), now.ModSeq(), old.UIDNext(), now.UIDNext())
	}
	d := Diff(old, now)
	if old.Len()-len(d.Expunged)+d.Added != now.Len() {
		return fmt.Errorf("%d less %d and %d are not %d", old.Len(), len(d.Expunged), d.Added, now.Len())
	}
	for _, e := range now.All() {
		i := old.Seq(e.UID)
		switch {
		case i == 0 && e.UID < old.UIDNext():
			return fmt.Errorf("UID %d came in below UIDNEXT %d", e.UID, old.UIDNext())
		case i == 0 && e.ModSeq <= old.ModSeq():
			return fmt.Errorf("new UID %d has MODSEQ %d, which was there before", e.UID, e.ModSeq)
		case i == 0:
		case old.At(i).ModSeq == e.ModSeq && old.At(i) != e:
			return fmt.Errorf("%+v became %+v", old.At(i), e)
		case old.At(i).ModSeq != e.ModSeq && (e.ModSeq <= old.ModSeq() || !slices.Contains(d.Flags, e.UID)):
			return fmt.Errorf("%+v became %+v, HIGHESTMODSEQ was %d", old.At(i), e, old.ModSeq())
		}
	}
	return nil
}

// TestCopyGivesWay copies while messages arrive in the same mailbox, more than there is room for, and while other
// things happen in the account, more than there are MODSEQs for.
func TestCopyGivesWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		gap   UID
		ahead ModSeq
		into  MailboxID
	}{
		"uids":    {1, 1 << 20, 2},
		"modseqs": {100, 3, 3},
	} {
		w := newWorld(t)
		w.account(1)
		w.steps = steps{flags: 5, move: 5, expunge: 3, copy: 2, gap: c.gap, ahead: c.ahead}
		var uids []UID
		for i := range 9 {
			uids = append(uids, w.append(1, Inbox, fmt.Sprint(i), 0).UID)
		}
		n, late := 0, UID(0)
		hook := &hookStore{Store: w.kv}
		w.o.KV = hook
		hook.before = func() { // amid the first attempt
			if n++; n == 3 {
				hook.before = nil
				for range 4 {
					late = w.append(1, c.into, "late", 0).UID
				}
				w.steps.ahead = 1 << 20
				hook.after = func() { // what arrived is there all the time
					p, err := w.load(c.into)
					if err != nil || p.Seq(late) == 0 {
						t.Errorf("%s: UID %d is not there (%v)", name, late, err)
					}
				}
			}
		}
		v, err := w.Open(ctx(t), 1, 2, true)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		old := w.latest(v)
		n = 0
		done, err := w.Copy(ctx(t), 1, Inbox, uids, 2)
		if err != nil || len(done.To) != 9 {
			t.Fatal(name, done, err)
		}
		if hook.before != nil || done.To[0] < 1+16*c.gap {
			t.Fatalf("%s: the first attempt was not given up: %v", name, done.To)
		}
		if err := follows(old, w.latest(v)); err != nil {
			t.Error(name, err)
		}
		w.check(1)
	}
}

// TestCopyMeetsCleaner: another node takes a copy that is under way for what a crash left. It becomes whole in the
// end all the same, or fails.
func TestCopyMeetsCleaner(t *testing.T) {
	t.Parallel()
	for at := 1; at < 8; at++ {
		w := newWorld(t)
		w.account(1)
		w.steps = steps{flags: 5, move: 5, expunge: 3, copy: 2, gap: 4, ahead: 1 << 20}
		var uids []UID
		for i := range 7 {
			uids = append(uids, w.append(1, Inbox, fmt.Sprint(i), 0).UID)
		}
		other := worldOn(t, w.kv)
		n, hook := 0, &hookStore{Store: w.kv}
		w.o.KV = hook
		hook.before = func() {
			if n++; n == at {
				if err := other.ResumeJobs(ctx(t)); err != nil {
					t.Error(err)
				}
			}
		}
		done, err := w.Copy(ctx(t), 1, Inbox, uids, 2)
		if err != nil || len(done.To) != 7 {
			t.Error(at, done, err)
		}
		w.check(1)
		noJobs(t, w.kv)
	}
}

// TestLogTruncated: who comes back after the change log was truncated still sees everything.
func TestLogTruncated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	w.logPolicy = logPolicy{every: 4, least: 8, most: 16, age: time.Hour, own: 2}
	for i := range 4 {
		w.append(1, Inbox, fmt.Sprint(i), 0)
	}
	v := w.view()
	old := w.latest(v)
	if err := w.SetFlags(ctx(t), 1, Inbox, []UID{1}, Add, Seen, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{2}); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := w.SetFlags(ctx(t), 1, Inbox, []UID{3}, Replace, Flags(1+i%2), nil); err != nil {
			t.Fatal(err)
		}
	}
	d := Diff(old, w.latest(v))
	if !slices.Equal(d.Flags, []UID{1, 3}) || !slices.Equal(d.Expunged, []UID{2}) || d.Added != 0 {
		t.Error(d)
	}
	w.check(1)
	row, err := w.modSeq(ctx(t), 1)
	if err != nil || row < 100 {
		t.Error(row, err)
	}
	err = w.kv.View(ctx(t), lockOf(1), func(r kv.Reader) error {
		acct, err := readAccount(r, 1)
		if acct.logRows > 24 || acct.floor < 70 {
			t.Errorf("the log has %d rows from %d on", acct.logRows, acct.floor)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// load reads a snapshot that knows of none before it.
func (w *world) load(m MailboxID) (p *Snapshot, err error) {
	h := &shared{s: w.Store, a: 1, m: m}
	err = w.kv.View(ctx(w.t), lockOf(1), func(r kv.Reader) (err error) {
		p, err = h.read(r, nil)
		return err
	})
	return p, err
}

// hookStore does something before and after each Update.
type hookStore struct {
	kv.Store
	before, after func()
}

func (h *hookStore) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	if h.before != nil {
		h.before()
	}
	err := h.Store.Update(ctx, t, fn)
	if h.after != nil {
		h.after()
	}
	return err
}

var errStop = errors.New("power failure")

// TestJobsResume stops large changes between any two of their transactions and resumes them on a new Store.
func TestJobsResume(t *testing.T) {
	t.Parallel()
	acts := map[string]func(*world) error{
		"copy": func(w *world) error {
			_, err := w.Copy(w.t.Context(), 1, 2, []UID{1, 2, 3, 4, 5, 6, 7}, 3)
			return err
		},
		"delete":  func(w *world) error { return w.Delete(w.t.Context(), 1, 2) },
		"account": func(w *world) error { return w.DeleteAccount(w.t.Context(), 1) },
	}
	for name, act := range acts {
		for stop := 1; ; stop++ {
			if !interrupted(t, name, act, stop) {
				break
			}
			if stop > 100 {
				t.Fatal(name, "never ends")
			}
		}
	}
}

// interrupted tells whether the act was stopped before its end.
func interrupted(t *testing.T, name string, act func(*world) error, stop int) bool {
	w := newWorld(t)
	w.account(1)
	w.steps = steps{flags: 2, move: 2, expunge: 2, copy: 2, gap: 3, ahead: 1 << 20}
	for i := range 7 {
		w.append(1, 2, fmt.Sprint(name, i), Seen)
	}
	good, n := w.kv, 0
	var mu sync.Mutex
	w.o.KV = failing{Store: good, fail: func() error {
		mu.Lock()
		defer mu.Unlock()
		if n++; n >= stop {
			return errStop
		}
		return nil
	}}
	err := act(w)
	w.jobs.Wait()
	again := worldOn(t, good)
	again.steps = w.steps
	if err := again.ResumeJobs(ctx(t)); err != nil {
		t.Fatal(name, stop, err)
	}
	found, checkErr := again.Check(ctx(t), 1)
	if len(found) > 0 || checkErr != nil && !mail.Is(checkErr, mail.NotFound) {
		t.Fatal(name, stop, found, checkErr)
	}
	noJobs(t, good)
	if links, err := again.CheckLinks(ctx(t), 1); err != nil || len(links) > 0 {
		t.Fatal(name, stop, links, err)
	}
	if st, statusErr := again.Status(ctx(t), 1, 3); name == "copy" && (statusErr != nil || st.Messages != 0 && st.Messages != 7) {
		t.Fatalf("%d: half of a copy is there: %+v %v", stop, st, err)
	}
	return n >= stop
}

func noJobs(t *testing.T, k kv.Store) {
	t.Helper()
	from := kv.K(kv.Server).Text(jobPrefix)
	err := k.View(ctx(t), []kv.Key{kv.LockServer()}, func(r kv.Reader) error {
		for row := range r.Scan(from, from.End(), kv.ScanOptions{}) {
			t.Errorf("a job is left: %q", row.Key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type failing struct {
	kv.Store
	fail func() error
}

func (f failing) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	if err := f.fail(); err != nil {
		return err
	}
	return f.Store.Update(ctx, t, fn)
}
