package queue

import (
	"context"
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// TestRepair damages the rows of a queue, one kind after the other; a repair leaves nothing that an inspection finds.
func TestRepair(t *testing.T) {
	t.Parallel()
	junk := []byte{9, 9}
	for _, c := range []struct {
		name string
		hurt func(tx kv.Tx, it *Item)
		lost string // "" for nothing
		want State  // of the first recipient, when the item is still there
		gone bool
	}{
		{name: "no due row", hurt: func(tx kv.Tx, it *Item) { due, _ := it.Due(); tx.Delete(it.ID.dueKey(due)) }},
		{name: "another due row", hurt: func(tx kv.Tx, it *Item) { tx.Set(it.ID.dueKey(it.Received.AddDate(1, 0, 0)), nil) }},
		{name: "no row by destination", hurt: func(tx kv.Tx, it *Item) { tx.Delete(it.ID.domainKey(it.Destination)) }},
		{name: "no link", hurt: func(tx kv.Tx, it *Item) { tx.Delete(bodyLink(it.Blob, it.ID.Owner())) }},
		{name: "rows of nobody", hurt: func(tx kv.Tx, it *Item) {
			x := ID{Partition: 3, Number: 77}
			tx.Set(x.rcptKey(0), junk)
			tx.Set(x.dueKey(it.Received), nil)
			tx.Set(x.domainKey("x.test"), nil)
			tx.Set(it.ID.rcptKey(50), junk)
		}, lost: "a message to 0 recipients"},
		{name: "a recipient", hurt: func(tx kv.Tx, it *Item) { tx.Set(it.ID.rcptKey(1), junk) }, lost: "recipient 2 of a message from <\"Ann O\"@postel.test>"},
		{name: "the item's row", hurt: func(tx kv.Tx, it *Item) { tx.Set(it.ID.key(kv.QueueItems), junk) }, lost: "its sender", want: Held},
		{name: "the item's row is missing", hurt: func(tx kv.Tx, it *Item) { tx.Delete(it.ID.key(kv.QueueItems)) }, lost: "its sender", want: Held},
		{name: "the item's row and its link", hurt: func(tx kv.Tx, it *Item) {
			tx.Set(it.ID.key(kv.QueueItems), junk)
			tx.Delete(bodyLink(it.Blob, it.ID.Owner()))
		}, lost: "a message to 2 recipients [a@d.test b@d.test]", gone: true},
		{name: "all its recipients", hurt: func(tx kv.Tx, it *Item) {
			tx.Set(it.ID.rcptKey(0), junk)
			tx.Set(it.ID.rcptKey(1), junk)
		}, lost: "recipient 1", gone: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem())
			it, other := f.add(t, f.item("d.test", "a", "b")), f.add(t, f.item("other.test", "c"))
			update := func(fn func(tx kv.Tx)) {
				t.Helper()
				locks := []kv.Key{it.ID.Lock(), other.ID.Lock(), kv.LockQueueItem(77), kv.LockQueueItem(0)}
				if err := f.kv.Update(context.Background(), kv.Txn{Lock: locks}, func(tx kv.Tx) error { fn(tx); return nil }); err != nil {
					t.Fatal(err)
				}
			}
			update(func(tx kv.Tx) {
				tx.Set(kv.K(kv.Blobs).ID(it.Blob), nil)
				c.hurt(tx, it)
			})
			before, err := f.Inspect(t.Context())
			if err != nil || len(before) == 0 {
				t.Fatalf("%v, %v", before, err)
			}
			found, err := f.Repair(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var lost []string
			for _, x := range found {
				if x.State != mail.Mended {
					t.Errorf("%s: %s", x.State, x)
				}
				if x.Lost != "" {
					lost = append(lost, x.Lost)
				}
			}
			if all := strings.Join(lost, "; "); (c.lost == "") != (all == "") || !strings.Contains(all, c.lost) {
				t.Errorf("lost %q, want %q", all, c.lost)
			}
			if after, err := f.Inspect(t.Context()); err != nil || len(after) > 0 {
				t.Errorf("after the repair: %v, %v", after, err)
			}
			f.verify(t)
			now, err := f.Show(t.Context(), it.ID)
			if c.gone != mail.Is(err, mail.NotFound) || err == nil && now.Recipients[0].State != c.want {
				t.Errorf("%+v, %v", now, err)
			}
			if _, err := f.Show(t.Context(), other.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMissingBody tells whose message has no body.
func TestMissingBody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	f.add(t, f.item("d.test", "a"))
	found, err := f.Repair(t.Context())
	if err != nil || len(found) != 1 || found[0].State != mail.Beyond || !strings.Contains(found[0].Lost, "Ann O") {
		t.Fatalf("%+v, %v", found, err)
	}
}
