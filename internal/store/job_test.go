package store

import (
	"testing"

	"postel/internal/kv"
)

// TestStaleJob: the row of a COPY whose range is staged no more, as an older program could leave behind, costs no mail
// that got UIDs of that range since.
func TestStaleJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for range 5 {
		w.append(1, Inbox, "x", 0)
	}
	j := job{kind: jobStaged, a: 1, m: Inbox, first: 2, end: 5}
	err := w.kv.Update(ctx(t), kv.Txn{Lock: []kv.Key{kv.LockServer()}}, func(tx kv.Tx) error {
		tx.Set(j.key(), j.encode())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.ResumeJobs(ctx(t)); err != nil {
		t.Fatal(err)
	}
	if n := w.latest(w.view()).Len(); n != 5 {
		t.Errorf("%d messages of 5 are left", n)
	}
	if jobs, err := w.pending(ctx(t)); err != nil || len(jobs) != 0 {
		t.Errorf("%v, %v", jobs, err)
	}
}
