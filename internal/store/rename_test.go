package store

import (
	"maps"
	"sync"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// TestRenameInboxCrash cuts the power before each sync of a RENAME of INBOX that takes many commits. After the next start
// nothing was done or all of it (RFC 9051 §6.3.6), and in between each message is in one of the two mailboxes.
func TestRenameInboxCrash(t *testing.T) {
	t.Parallel()
	const messages = 23 // of which a commit moves 5
	fs := vfs.NewCrashable()
	var mu sync.Mutex
	var left []vfs.Crashable
	on := false
	w, k := onDisk(t, vfs.WithFaults(fs, func(op vfs.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if on && op.Sync {
			n := uint64(len(left))
			left = append(left, fs.Crash(int(n%3)*50, n))
		}
		return nil
	}))
	w.account(1)
	for range messages {
		w.append(1, Inbox, "m", 0)
	}
	mu.Lock()
	on = true
	mu.Unlock()
	if err := w.Rename(ctx(t), 1, Inbox, "old/mail"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	on = false
	left = append(left, fs.Crash(0, 1))
	mu.Unlock()
	if jobs, err := w.pending(ctx(t)); err != nil || len(jobs) != 0 {
		t.Errorf("%v, %v", jobs, err)
	}
	done := 0
	for i, fs := range left {
		if renamed(t, fs, messages) {
			done++
		} else if i == len(left)-1 {
			t.Error("what was answered was not done")
		}
	}
	if done == len(left) || done < 3 {
		t.Errorf("of %d crashes %d came after the first commit", len(left), done)
	}
	_ = w.Close()
	_ = k.Close()
}

// renamed opens what a crash left and tells whether INBOX was renamed.
func renamed(t *testing.T, fs vfs.FS, messages uint32) bool {
	t.Helper()
	w, k := onDisk(t, fs)
	defer func() { _, _ = w.Close(), k.Close() }()
	count := func() (inbox, old uint32, there bool) {
		t.Helper()
		m, err := w.Mailbox(ctx(t), 1, "old/mail")
		if there = err == nil; there {
			st, err := w.Status(ctx(t), 1, m.ID)
			if err != nil {
				t.Fatal(err)
			}
			old = st.Messages
		} else if !mail.Is(err, mail.NotFound) {
			t.Fatal(err)
		}
		st, err := w.Status(ctx(t), 1, Inbox)
		if err != nil {
			t.Fatal(err)
		}
		return st.Messages, old, there
	}
	if inbox, old, there := count(); inbox+old != messages || there && old == 0 {
		t.Errorf("%d in INBOX, %d in the new mailbox", inbox, old)
	}
	w.check(1)
	if err := w.ResumeJobs(ctx(t)); err != nil {
		t.Fatal(err)
	}
	inbox, old, there := count()
	if there && old != messages || !there && inbox != messages || inbox+old != messages {
		t.Errorf("behind the start %d in INBOX, %d in the new mailbox", inbox, old)
	}
	w.check(1)
	return there
}

// TestRenameInboxInterrupted: what arrives while a rename waits to go on stays in INBOX, and messages whose new mailbox was
// deleted meanwhile are where they were.
func TestRenameInboxInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for range 4 {
		w.append(1, Inbox, "m", 0)
	}
	box, err := w.Create(ctx(t), 1, "old", RoleNone)
	if err != nil {
		t.Fatal(err)
	}
	resume := func(to MailboxID, inbox int) {
		t.Helper()
		j := job{kind: jobInbox, a: 1, m: to, first: 1, end: 4}
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
		if uids, err := w.uids(ctx(t), 1, Inbox, nil); err != nil || len(uids) != inbox {
			t.Errorf("%d left, %v", uids, err)
		}
		if jobs, err := w.pending(ctx(t)); err != nil || len(jobs) != 0 {
			t.Errorf("%v, %v", jobs, err)
		}
		w.check(1)
	}
	resume(99, 4)
	resume(box.ID, 1)
}

// TestRenameInboxJobDamaged: a job whose row is damaged is dropped, and costs no mail.
func TestRenameInboxJobDamaged(t *testing.T) {
	t.Parallel()
	w := populated(t)
	before := w.content(1, true)
	j := job{kind: jobInbox, a: 1, m: 4, first: 1, end: 4}
	w.set(fix{j.key(), []byte{0xee}})
	w.repair(1)
	if jobs, err := w.pending(ctx(t)); err != nil || len(jobs) != 0 {
		t.Errorf("%v, %v", jobs, err)
	}
	if !maps.Equal(before, w.content(1, true)) {
		t.Error("mail changed")
	}
}
