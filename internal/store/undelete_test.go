package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// undelete of the model: everything that is in no mailbox and was not purged comes back, once.
func (m *model) undelete() {
	m.settle()
	want := map[EmailID]int64{}
	if m.w.o.Keep > 0 {
		for e, size := range m.lost {
			want[e] = size
		}
	}
	for _, b := range m.boxes {
		for _, x := range b.msgs {
			delete(want, x.email)
		}
	}
	done, err := m.w.Undelete(m.w.t.Context(), 1, ExpungedFilter{})
	m.ok(err)
	if done.Messages != len(want) {
		m.t.Fatalf("%d messages came back, want %d", done.Messages, len(want))
	}
	all, err := m.w.Mailboxes(m.w.t.Context(), 1)
	m.ok(err)
	for _, b := range all {
		if m.named(b.Name) == nil {
			m.add(b)
		}
	}
	for _, b := range m.boxes {
		v, err := m.w.Open(m.w.t.Context(), 1, b.id, true)
		m.ok(err)
		p, err := v.Latest(m.w.t.Context())
		m.ok(err)
		for _, e := range p.All() {
			if b.index(e.UID) >= 0 {
				continue
			}
			size, ok := want[e.Email]
			if !ok || size != e.Size || e.Flags.Has(Deleted) {
				m.t.Fatalf("%+v came back", e)
			}
			delete(want, e.Email)
			m.arrived(b, modelMessage{uid: e.UID, email: e.Email, copy: e.Copy, flags: flagsOf(p, e.Flags), size: e.Size}, true)
		}
		v.Close()
	}
	if len(want) > 0 {
		m.t.Fatalf("did not come back: %v", want)
	}
}

// purge of the model.
func (m *model) purge() {
	m.settle()
	_, err := m.w.PurgeExpunged(m.w.t.Context(), 1)
	m.ok(err)
	alive := map[EmailID]int64{}
	for _, b := range m.boxes {
		for _, x := range b.msgs {
			alive[x.email] = x.size
		}
	}
	m.lost = alive
}

// idle waits for the jobs of a store, but not for what listens as long as a mailbox is open.
func (w *world) idle() {
	for busy := true; busy; time.Sleep(100 * time.Microsecond) {
		w.active.mu.Lock()
		busy = len(w.active.m) > 0
		w.active.mu.Unlock()
	}
}

// keeping gives a store whose clock is *now, and which keeps what is expunged for a week.
func keeping(t *testing.T, now *time.Time) *world {
	t.Helper()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	s := kvtest.Strict(k, kvtest.Options{Report: t.Error, Unlocked: []kv.Prefix{kv.Expunged}})
	w := &world{kv: s, t: t}
	w.Store = New(Options{
		KV: s, Blobs: blob.New(blob.Options{KV: s}), Keep: 7 * 24 * time.Hour, Clock: func() time.Time { return *now },
	})
	t.Cleanup(func() { _ = w.Close() })
	w.steps.expunge = 3
	w.account(1)
	return w
}

func (w *world) expunged(f ExpungedFilter) string {
	w.t.Helper()
	var all []string
	for x, err := range w.Expunged(ctx(w.t), 1, f) {
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%d:%s", x.Email, x.Mailbox))
	}
	return strings.Join(all, " ")
}

// countRows counts the rows of a table.
func (w *world) countRows(p kv.Prefix) (n int) {
	w.t.Helper()
	err := w.kv.View(ctx(w.t), lockOf(1), func(r kv.Reader) error {
		n = 0
		for _, err := range r.Scan(kv.K(p), kv.K(p).End(), kv.ScanOptions{KeysOnly: true}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestUndelete(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	w := keeping(t, &now)
	box, err := w.Create(ctx(t), 1, "work/2026", RoleNone)
	if err != nil {
		t.Fatal(err)
	}
	ap, err := w.AppendOne(ctx(t), w.message(hello("key")), Delivery{
		Account: 1, Mailbox: box.ID, Flags: Seen | Flagged | Deleted, Keywords: []string{"$Work"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 7 {
		w.append(1, Inbox, fmt.Sprint("i", i), 0)
	}
	used, _, err := w.Usage(ctx(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Store.Expunge(ctx(t), 1, box.ID, []UID{ap.UID}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	later := now
	if _, err := w.Store.Expunge(ctx(t), 1, Inbox, []UID{1, 2, 3, 4, 5}); err != nil {
		t.Fatal(err)
	}
	w.check(1)
	if b, n, _ := w.Usage(ctx(t), 1); n != 2 || b >= used {
		t.Errorf("what is expunged counts: %d octets, %d messages", b, n)
	}
	if err := w.Delete(ctx(t), 1, box.ID); err != nil {
		t.Fatal(err)
	}
	for f, want := range map[ExpungedFilter]string{
		{}:                     "1:work/2026 2:INBOX 3:INBOX 4:INBOX 5:INBOX 6:INBOX",
		{Since: later}:         "2:INBOX 3:INBOX 4:INBOX 5:INBOX 6:INBOX",
		{Mailbox: "work/2026"}: "1:work/2026",
		{Mailbox: "inbox"}:     "2:INBOX 3:INBOX 4:INBOX 5:INBOX 6:INBOX",
		{Mailbox: "none"}:      "",
	} {
		if got := w.expunged(f); got != want {
			t.Errorf("%+v: %q, want %q", f, got, want)
		}
	}
	done, err := w.Undelete(ctx(t), 1, ExpungedFilter{})
	if err != nil || done.Messages != 6 || done.Mailboxes["INBOX"] != 5 || done.Mailboxes["work/2026"] != 1 {
		t.Fatalf("%+v %v", done, err)
	}
	if again, err := w.Undelete(ctx(t), 1, ExpungedFilter{}); err != nil || again.Messages != 0 {
		t.Errorf("%+v %v", again, err)
	}
	if b, n, _ := w.Usage(ctx(t), 1); n != 8 || b != used {
		t.Errorf("%d octets, %d messages are back", b, n)
	}
	w.check(1)
	w.isBack("work/2026", ap.Email, "$work \\Flagged \\Seen")
}

// TestUndeleteAsksForRoom: what the quota of the account, or of its domain, has no room for stays away, and comes back once
// there is.
func TestUndeleteAsksForRoom(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	w := keeping(t, &now)
	w.steps.expunge = 500 // one step
	for i := range 5 {
		w.append(1, Inbox, fmt.Sprint("i", i), 0)
	}
	used, _, err := w.Usage(ctx(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	one := used / 5
	if _, err := w.Store.Expunge(ctx(t), 1, Inbox, []UID{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	domain, limit := int64(0), 3*one
	w.o.Quota = func(_ context.Context, _ mail.AccountID, size int64) (int64, error) {
		if size > domain {
			return 0, mail.E("test", mail.OverQuota, "the domain is full")
		}
		return limit, nil
	}
	for _, step := range []struct {
		domain, limit int64
		back, full    int
	}{
		{0, 0, 0, 4},
		{one, 0, 1, 3},
		{used, 3 * one, 1, 2}, // with the one that stayed, and the one that came back
		{used, used - 1, 1, 1},
		{used, used, 1, 0},
	} {
		domain, limit = step.domain, step.limit
		done, err := w.Undelete(ctx(t), 1, ExpungedFilter{})
		if err != nil || done.Messages != step.back || done.Full != step.full {
			t.Errorf("%+v: %+v, %v", step, done, err)
		}
		w.check(1)
	}
	if b, n, _ := w.Usage(ctx(t), 1); n != 5 || b != used {
		t.Errorf("%d octets, %d messages are back", b, n)
	}
}

// isBack looks at the one message of a mailbox.
func (w *world) isBack(name string, e EmailID, f string) {
	w.t.Helper()
	m, err := w.Mailbox(ctx(w.t), 1, name)
	if err != nil {
		w.t.Fatal(err)
	}
	v, err := w.Open(ctx(w.t), 1, m.ID, true)
	if err != nil {
		w.t.Fatal(err)
	}
	defer v.Close()
	p, err := v.Latest(ctx(w.t))
	if err != nil || p.Len() != 1 {
		w.t.Fatal(p, err)
	}
	// The copy number is new: POP3's UIDL is.
	if x := p.At(1); x.Email != e || x.Copy != 1 || flagsOf(p, x.Flags) != f {
		w.t.Errorf("%+v", x)
	}
}

func TestExpungedExpires(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	w := keeping(t, &now)
	empty := w.countRows(kv.Blobs)
	for i := range 4 {
		w.append(1, Inbox, fmt.Sprint("i", i), 0)
	}
	other, err := w.Create(ctx(t), 1, "other", RoleNone)
	if err != nil {
		t.Fatal(err)
	}
	w.append(1, other.ID, "o", 0)
	if _, err := w.Store.Expunge(ctx(t), 1, Inbox, []UID{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(24 * time.Hour)
	if err := w.Delete(ctx(t), 1, other.ID); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		wait    time.Duration
		removed int
		left    string
	}{
		{5 * 24 * time.Hour, 0, "1:INBOX 2:INBOX 3:INBOX 4:INBOX 5:other"},
		{25 * time.Hour, 4, "5:other"},
		{24 * time.Hour, 1, ""},
	} {
		now = now.Add(step.wait)
		n, err := w.SweepExpunged(ctx(t))
		if got := w.expunged(ExpungedFilter{}); err != nil || n != step.removed || got != step.left {
			t.Errorf("after %v: %d removed, %q left, %v", step.wait, n, got, err)
		}
		w.check(1)
	}
	if n := w.countRows(kv.Expunged) + w.countRows(kv.Emails) + w.countRows(kv.Blobs) - empty; n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestExpungedGoesWithItsAccount also finds nothing that was kept left behind.
func TestExpungedGoesWithItsAccount(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	w := keeping(t, &now)
	for i := range 8 {
		w.append(1, Inbox, fmt.Sprint("i", i), 0)
	}
	if _, err := w.Store.Expunge(ctx(t), 1, Inbox, []UID{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	if err := w.DeleteAccount(ctx(t), 1); err != nil {
		t.Fatal(err)
	}
	for _, p := range []kv.Prefix{kv.Expunged, kv.Emails, kv.Blobs, kv.BlobLinks, kv.Entries} {
		if n := w.countRows(p); n != 0 {
			t.Errorf("%d rows of %s are left", n, p)
		}
	}
	if _, err := w.Undelete(ctx(t), 1, ExpungedFilter{}); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

// BenchmarkExpunge removes 500 messages of 5 KB in one go, for good or for a while.
func BenchmarkExpunge(b *testing.B) {
	for _, keep := range []time.Duration{0, time.Hour} {
		b.Run(fmt.Sprint("keep=", keep), func(b *testing.B) {
			k, err := pebble.Open(pebble.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer k.Close()
			w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k}), Keep: keep}), kv: k, t: b}
			w.account(1)
			var spent time.Duration
			for range b.N {
				uids := w.crowd(500)
				start := time.Now()
				if gone, err := w.Store.Expunge(b.Context(), 1, Inbox, uids); err != nil || len(gone) != len(uids) {
					b.Fatal(len(gone), err)
				}
				spent += time.Since(start)
			}
			b.ReportMetric(float64(spent.Microseconds())/float64(b.N)/500, "µs/message")
		})
	}
}

// crowd appends messages to INBOX, many at once.
func (w *world) crowd(n int) (uids []UID) {
	var ms []*Message
	for i := range n {
		ms = append(ms, take(w, mail5k(i)))
	}
	err := w.kv.Update(w.t.Context(), kv.Txn{Lock: lockOf(1)}, func(tx kv.Tx) error {
		uids = uids[:0]
		for _, m := range ms {
			ap, err := w.Append(tx, m, Delivery{Account: 1})
			if err != nil {
				return err
			}
			uids = append(uids, ap.UID)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range ms {
		m.Discard()
	}
	return uids
}

// TestRepairExpunged takes one of an expunged message's rows away at a time: it comes back, or what is left of it goes.
func TestRepairExpunged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		row      kv.Prefix
		messages int64
	}{
		{"what notes it", kv.Expunged, 1},
		{"its email", kv.Emails, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			now := time.Unix(1_800_000_000, 0)
			w := keeping(t, &now)
			w.append(1, Inbox, "one", 0)
			if _, err := w.Store.Expunge(ctx(t), 1, Inbox, []UID{1}); err != nil {
				t.Fatal(err)
			}
			w.check(1)
			err := w.kv.Update(ctx(t), kv.Txn{Lock: lockOf(1)}, func(tx kv.Tx) error {
				tx.DeleteRange(kv.K(c.row).Account(1), kv.K(c.row).Account(1).End())
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if found, err := w.Check(ctx(t), 1); err != nil || len(found) == 0 {
				t.Fatal(found, err)
			}
			if _, err := w.Repair(ctx(t), 1); err != nil {
				t.Fatal(err)
			}
			w.check(1)
			if _, n, err := w.Usage(ctx(t), 1); err != nil || n != c.messages || w.expunged(ExpungedFilter{}) != "" {
				t.Errorf("%d messages, %v", n, err)
			}
		})
	}
}
