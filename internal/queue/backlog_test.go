package queue

import (
	"fmt"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// backlogs is a window over the queue that knows what it has in work.
type backlogs struct {
	*fixture
	t      *testing.T
	window int
	work   map[string][]*Item // by destination
	seen   map[ID]bool
}

// take fills the window and checks that nothing comes twice.
func (b *backlogs) take() (n int) {
	b.t.Helper()
	items, err := b.Due(b.t.Context(), b.clock(), b.window-b.Leased(), b.window)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, it := range items {
		if b.seen[it.ID] {
			b.t.Fatalf("%s comes twice", it.ID)
		}
		b.seen[it.ID] = true
		b.work[it.Destination] = append(b.work[it.Destination], it)
	}
	return len(items)
}

// deliver ends the oldest of a destination's items in work.
func (b *backlogs) deliver(destination string, n int) {
	b.t.Helper()
	for _, it := range b.work[destination][:n] {
		if _, err := b.Done(b.t.Context(), it, []Outcome{{State: Delivered, Result: result(250, "ok")}}); err != nil {
			b.t.Fatal(err)
		}
		b.Recorded(it)
	}
	b.work[destination] = b.work[destination][n:]
}

// TestBacklogs: destinations with a long backlog of which nothing gets done leave room for others, whatever partition they
// lie in and however young their mail is; once they move they are read on in time, to the last item. It takes no search of
// everything, and rows of older programs do as well.
func TestBacklogs(t *testing.T) {
	t.Parallel()
	b := &backlogs{fixture: newFixture(t, vfs.NewMem()), t: t, window: 200, work: map[string][]*Item{}, seen: map[ID]bool{}}
	const long = 300
	all := 0
	for i := range 5 {
		for range long {
			b.add(t, b.item(fmt.Sprintf("long%d.test", i), "u"))
			all++
		}
	}
	older(t, b.fixture)
	for range 5 {
		b.take()
	}
	if b.Leased() >= b.window*4/5 || len(b.work["long0.test"]) > b.window/MaxShare {
		t.Fatalf("%d of %d are in work, of the first %d", b.Leased(), b.window, len(b.work["long0.test"]))
	}
	b.pass(5e9)
	for i := range 100 { // some of them share a partition with a backlog
		b.add(t, b.item(fmt.Sprintf("short%d.test", i), "u"))
		all++
		for range 2 {
			b.take()
		}
		name := fmt.Sprintf("short%d.test", i)
		if len(b.work[name]) != 1 {
			t.Fatalf("the mail for %s waits, though %d of %d are in work", name, b.Leased(), b.window)
		}
		b.deliver(name, 1)
	}
	select {
	case <-b.Wake():
	default:
	}
	for b.Leased() > 0 {
		for name, items := range b.work {
			b.deliver(name, (len(items)+1)/2)
		}
		select {
		case <-b.Wake(): // half of somebody's is done
			b.take()
		default:
		}
	}
	if len(b.seen) != all {
		t.Errorf("%d of %d came", len(b.seen), all)
	}
	b.verify(t)
}

// older takes the values of the due rows away, as programs wrote them that did not know of backlogs.
func older(t *testing.T, f *fixture) {
	t.Helper()
	var ids []ID
	var keys []kv.Key
	err := f.kv.View(t.Context(), nil, func(r kv.Reader) error {
		for row, err := range r.Scan(kv.K(kv.QueueDue), kv.K(kv.QueueDue).End(), kv.ScanOptions{KeysOnly: true}) {
			if err != nil {
				return err
			}
			c, ok := parseDue(row.Key)
			if !ok {
				return mail.E("test", mail.Internal, "bad key")
			}
			ids, keys = append(ids, c.id), append(keys, append(kv.Key(nil), row.Key...))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var locks []kv.Key
	for _, id := range ids {
		locks = append(locks, id.Lock())
	}
	err = f.kv.Update(t.Context(), kv.Txn{Lock: locks}, func(tx kv.Tx) error {
		for i, k := range keys {
			if i%2 == 0 {
				tx.Set(k, nil)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNobodyIsForgotten: a destination that was passed over while the window was full, with nothing of its own in work, is
// read on as soon as there is room: while something waits, Next says that it is due, or Wake is signalled when what is in
// work is done.
func TestNobodyIsForgotten(t *testing.T) {
	t.Parallel()
	b := &backlogs{fixture: newFixture(t, vfs.NewMem()), t: t, window: 8, work: map[string][]*Item{}, seen: map[ID]bool{}}
	const all = 8 + 3 + 20*3
	for i := range 8 { // they fill the window, and are behind nobody
		b.add(t, b.item(fmt.Sprintf("one%d.test", i), "u"))
	}
	b.pass(1e9)
	for i := range all - 8 {
		b.add(t, b.item(fmt.Sprintf("more%d.test", i%21), "u"))
	}
	b.pass(5e9)
	for round := 0; len(b.seen) < all; round++ {
		b.take()
		due, ok, err := b.Next(t.Context())
		select {
		case <-b.Wake():
		default:
		}
		for name, items := range b.work {
			b.deliver(name, len(items))
		}
		woken := false
		select {
		case <-b.Wake():
			woken = true
		default:
		}
		if err != nil || len(b.seen) < all && !woken && (!ok || due.After(b.clock())) {
			t.Fatalf("after %d rounds %d of %d are done, and the next is due at %v, %v: %v", round, len(b.seen), all, due, ok, err)
		}
	}
}

// TestLateCommit: a row that is due before those of its destination that were passed over, and committed after them, is read
// with them.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	b := &backlogs{fixture: newFixture(t, vfs.NewMem()), t: t, window: 8, work: map[string][]*Item{}, seen: map[ID]bool{}}
	late := b.item("one.test", "late")
	b.pass(1e6)
	const all = 6
	for range all - 1 {
		b.add(t, b.item("one.test", "u"))
	}
	b.take()
	b.add(t, late)
	for range 2 {
		b.pass(5e9)
		b.take()
		if _, _, err := b.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range all {
		b.deliver("one.test", len(b.work["one.test"]))
		b.take()
	}
	if len(b.seen) != all {
		t.Errorf("%d of %d came", len(b.seen), all)
	}
}
