package kv

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"postel/internal/mail"
)

// TestTables checks that every table is listed once and that its lock reads the part of the key it is named for.
func TestTables(t *testing.T) {
	t.Parallel()
	seen := map[Prefix]Table{}
	for _, x := range Tables() {
		if _, twice := seen[x.Prefix]; twice || len(x.Prefix) != 2 {
			t.Errorf("table %q", x.Prefix)
		}
		seen[x.Prefix] = x
	}
	const a, q = 0x0102030405060708, 0x1112131415161718
	for _, c := range []struct {
		key, lock Key
	}{
		{K(Entries).Account(a).U32(3).U32(9), LockAccount(a)},
		{K(Counters).Account(a), LockAccount(a)},
		{K(Emails).Account(a).U64(1), LockAccount(a)},
		{K(Directory).Text("alice@example.org"), LockDirectory()},
		{K(QueueItems).U16(7).U64(q), LockQueueItem(q)},
		{K(QueueRcpts).U16(7).U64(q).U16(2), LockQueueItem(q)},
		{K(QueueDue).U16(7).U64(99).U64(q), LockQueueItem(q)},
		{K(QueueDomains).U16(7).U32(Hash32("example.org")).U64(q), LockQueueItem(q)},
		{K(QueueEnded).U32(20000).U64(q).U16(0), LockQueueItem(q)},
		{K(Server).Text("format"), LockServer()},
	} {
		if got := seen[Prefix(c.key[:2])].Lock(c.key); !bytes.Equal(got, c.lock) {
			t.Errorf("%q: lock %q, want %q", c.key, got, c.lock)
		}
	}
	if seen[Blobs].Lock != nil || !seen[Blobs].Once {
		t.Error("blobs need no lock")
	}
}

// TestEnd compares End with what it promises: keys with the beginning lie before it, and it is the first that does
// not.
func TestEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		k := Key(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 'a', 0xfe, 0xff}), 0, 4).Draw(t, "key"))
		more := rapid.SliceOfN(rapid.SampledFrom([]byte{0, 'a', 0xff}), 0, 3).Draw(t, "more")
		longer, end := append(bytes.Clone(k), more...), k.End()
		if end == nil {
			if len(bytes.Trim(k, "\xff")) != 0 {
				t.Fatalf("%q has no end", k)
			}
			return
		}
		if bytes.Compare(longer, end) >= 0 || bytes.HasPrefix(end, k) {
			t.Fatalf("%q ends at %q", k, end)
		}
	})
	if LockBlob(mail.ID{1})[0] != 'B' || LockAccount(1)[0] != 'A' || LockQueueItem(1)[0] != 'Q' {
		t.Error("locks of different kinds may meet")
	}
}
