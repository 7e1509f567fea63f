package store

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postel/internal/kv"
	"postel/internal/mail"
)

// follower knows of an account what Feed told it.
type follower struct {
	at      ModSeq
	boxes   map[MailboxID]map[UID]string // by what each entry is
	emails  map[EmailID]map[place]bool
	resyncs int
}

// truth reads an account whole.
func truth(w *world, a mail.AccountID) (boxes map[MailboxID]map[UID]string, emails map[EmailID]map[place]bool, err error) {
	err = w.o.KV.View(w.t.Context(), lockOf(a), func(r kv.Reader) error {
		boxes, emails = map[MailboxID]map[UID]string{}, map[EmailID]map[place]bool{}
		all, err := list(r, a)
		if err != nil {
			return err
		}
		names, err := readKeywords(r, a)
		if err != nil {
			return err
		}
		for _, m := range all {
			b, err := readBox(r, a, m.id)
			if err != nil {
				return err
			}
			boxes[m.id] = map[UID]string{}
			for row, err := range r.Scan(keyEntry(a, m.id, 0), keyEntry(a, m.id, b.uidNext), kv.ScanOptions{}) {
				if err != nil {
					return err
				}
				uid := UID(lastUint32(row.Key))
				e, err := decodeEntry(row.Value)
				if err != nil {
					return err
				}
				if b.hidden(uid) {
					continue
				}
				boxes[m.id][uid] = tellEntry(e, names)
				if emails[e.email] == nil {
					emails[e.email] = map[place]bool{}
				}
				emails[e.email][place{m.id, uid}] = true
			}
		}
		return nil
	})
	return boxes, emails, err
}

func tellEntry(e entryRow, names []string) string {
	s := fmt.Sprint(e.email, " ", e.copy, " ", e.flags&SystemFlags)
	for i, n := range names {
		if n != "" && e.flags.Has(1<<(FirstKeyword+i)) {
			s += " " + n
		}
	}
	return s
}

// follow takes over what changed, some transactions at a time.
func (f *follower) follow(w *world, a mail.AccountID, limit int) error {
	before := maps.Clone(f.emails)
	named := map[EmailID]bool{}
	resynced := f.at == 0
	for {
		d, err := w.Feed(w.t.Context(), a, f.at, limit)
		if err != nil {
			return err
		}
		if d.Until < f.at && !d.Resync || d.More && d.Until == f.at {
			return fmt.Errorf("from %d to %d, more: %v", f.at, d.Until, d.More)
		}
		f.at = d.Until
		boxes, emails, err := truth(w, a)
		if err != nil {
			return err
		}
		if d.Resync {
			f.boxes, resynced = boxes, true
			f.resyncs++
			continue
		}
		for _, e := range slices.Concat(d.Gone, d.Left) {
			named[e] = true
		}
		for m := range f.boxes {
			if boxes[m] == nil && slices.Contains(d.Mailboxes, m) {
				delete(f.boxes, m)
			}
		}
		for _, b := range d.Boxes {
			f.take(b, boxes[b.Mailbox])
		}
		for e, at := range emails {
			for p := range at {
				for _, b := range d.Boxes {
					if b.Mailbox == p.m && slices.ContainsFunc(b.Touched, func(r UIDRange) bool { return p.uid >= r.First && p.uid <= r.Last }) {
						named[e] = true
					}
				}
			}
		}
		for _, m := range d.Mailboxes {
			if boxes[m] != nil && f.boxes[m] == nil {
				f.boxes[m] = map[UID]string{}
			}
		}
		if !d.More {
			return f.compare(boxes, before, emails, named, resynced)
		}
	}
}

func (f *follower) take(b FeedBox, now map[UID]string) {
	have := f.boxes[b.Mailbox]
	if have == nil {
		if have = map[UID]string{}; now == nil {
			return
		}
		f.boxes[b.Mailbox] = have
	}
	for _, r := range b.Touched {
		for uid := r.First; uid <= r.Last; uid++ {
			if delete(have, uid); now[uid] != "" {
				have[uid] = now[uid]
			}
		}
	}
	for _, r := range b.Expunged {
		for uid := r.First; uid <= r.Last; uid++ {
			delete(have, uid)
		}
	}
}

// compare tells what the follower has wrong, and which email moved without being named.
func (f *follower) compare(boxes map[MailboxID]map[UID]string, before, emails map[EmailID]map[place]bool, named map[EmailID]bool, resynced bool) error {
	if len(f.boxes) != len(boxes) {
		return fmt.Errorf("%d mailboxes, want %d", len(f.boxes), len(boxes))
	}
	for m, want := range boxes {
		if !maps.Equal(f.boxes[m], want) {
			return fmt.Errorf("mailbox %d is taken for %v and is %v", m, f.boxes[m], want)
		}
	}
	f.emails = emails
	if resynced {
		return nil
	}
	for e, at := range before {
		if !maps.Equal(at, emails[e]) && !named[e] {
			return fmt.Errorf("email %d was at %v and is at %v, and nobody said so", e, at, emails[e])
		}
	}
	return nil
}

// TestFeedModel has followers ask at random moments, some seldom, while random things happen and the log is cut: each
// always has what the account is.
func TestFeedModel(t *testing.T) {
	t.Parallel()
	resyncs := 0
	rapid.Check(t, func(r *rapid.T) {
		m := newModel(r, t, tiny)
		all := make([]*follower, 4)
		for i := range all {
			all[i] = &follower{boxes: map[MailboxID]map[UID]string{}}
		}
		follow := func(f *follower) {
			m.settle()
			m.ok(f.follow(m.w, 1, rapid.IntRange(1, 5).Draw(m.t, "limit")))
		}
		actions := m.actions()
		actions["follow often"] = func(t *rapid.T) { m.t = t; follow(all[0]) }
		actions["follow"] = func(t *rapid.T) { m.t = t; follow(rapid.SampledFrom(all[:3]).Draw(t, "follower")) }
		r.Repeat(actions)
		m.t = r
		for _, f := range all { // the last one follows for the first time
			follow(f)
			resyncs += f.resyncs
		}
		for len(m.sessions) > 0 {
			m.drop(m.sessions[0])
		}
	})
	if resyncs == 0 && !testing.Short() {
		t.Error("the log was never cut")
	}
}

// TestFeedBounds has the log cut by number and by age, and asks at each point of it.
func TestFeedBounds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy logPolicy
		after  time.Duration // between changes
		kept   [2]int        // least and most rows
	}{
		"by number": {logPolicy{every: 8, least: 4, most: 20, age: time.Hour, own: 2}, 0, [2]int{20, 40}},
		"by age":    {logPolicy{every: 8, least: 4, most: 1000, age: time.Hour, own: 2}, 6 * time.Minute, [2]int{10, 30}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			now := time.Now()
			w.o.Clock = func() time.Time { return now }
			w.logPolicy = c.policy
			w.account(1)
			for i := range 100 {
				w.append(1, Inbox, fmt.Sprint(i), 0)
				now = now.Add(c.after)
			}
			last, err := w.modSeq(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			reach := 0
			for since := ModSeq(0); since <= last; since++ {
				d, err := w.Feed(t.Context(), 1, since, 0)
				if err != nil || d.Until != last || d.More {
					t.Fatalf("since %d: %+v, %v", since, d, err)
				}
				if d.Resync {
					if reach > 0 || len(d.Boxes) > 0 {
						t.Fatalf("since %d: a gap, or %v", since, d.Boxes)
					}
					continue
				}
				reach++
				want := []UIDRange{{UID(101 - (last - since)), 100}}
				if since == last {
					want = nil
				}
				if len(d.Boxes) != len(want) || want != nil && since > 1 && !slices.Equal(d.Boxes[0].Touched, want) {
					t.Fatalf("since %d: %+v, want %v", since, d.Boxes, want)
				}
			}
			if reach < c.kept[0] || reach > c.kept[1] {
				t.Errorf("the log reaches back %d changes, want %v", reach, c.kept)
			}
			if d, err := w.Feed(t.Context(), 1, last+1, 0); err != nil || !d.Resync || d.Until != last {
				t.Errorf("from the future: %+v, %v", d, err)
			}
		})
	}
	w := newWorld(t)
	if _, err := w.Feed(t.Context(), 9, 0, 0); !mail.Is(err, mail.NotFound) {
		t.Errorf("no account: %v", err)
	}
}

func TestJoinRanges(t *testing.T) {
	t.Parallel()
	const top = 1<<32 - 1
	got := joinRanges([]UIDRange{{9, 9}, {1, 2}, {top, top}, {3, 5}, {4, 4}, {8, 10}, {top - 3, top - 1}})
	if want := []UIDRange{{1, 5}, {8, 10}, {top - 3, top}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
