package migrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/lease"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/vfs"
)

// place is a backend in memory.
type place struct {
	t     *testing.T
	side  Side
	fs    vfs.FS
	blobs *blob.Store
	store *store.Store
	queue *queue.Queue
}

func newPlace(t *testing.T, name string) *place {
	t.Helper()
	fs := vfs.NewMem()
	k, err := pebble.Open(pebble.Options{FS: fs, Dir: "/kv", MemTableSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	large, err := file.New(file.Options{FS: fs, Dir: "/blobs"})
	if err != nil {
		t.Fatal(err)
	}
	p := &place{t: t, fs: fs, side: Side{Name: name, Rows: k, Large: large, Place: name}}
	p.blobs = blob.New(blob.Options{KV: k, Large: large})
	p.store = store.New(store.Options{KV: k, Blobs: p.blobs})
	p.queue = queue.New(queue.Options{KV: k, Blobs: p.blobs})
	t.Cleanup(func() { _ = p.store.Close() })
	return p
}

// fill makes accounts with mail, small and large, and items of the queue.
func (p *place) fill() *place {
	p.t.Helper()
	ctx := p.t.Context()
	err := p.side.Rows.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockServer(), kv.LockAccount(1), kv.LockAccount(2)}}, func(tx kv.Tx) error {
		tx.Set(kv.K(kv.Server).Text("directory"), []byte("secret of "+p.side.Name))
		return errors.Join(p.store.InitAccount(tx, 1), p.store.InitAccount(tx, 2))
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for i := range 40 {
		size := 100 + i
		if i%10 == 0 {
			size = 300_000 + i
		}
		msg := p.message(size)
		_, err := p.store.AppendOne(ctx, msg, store.Delivery{Account: mail.AccountID(1 + i%2), Mailbox: store.Inbox})
		if err != nil {
			p.t.Fatal(err)
		}
		p.enqueue(i)
	}
	return p
}

func (p *place) message(size int) *store.Message {
	p.t.Helper()
	in := p.store.Incoming(p.t.Context())
	p.t.Cleanup(in.Discard)
	for i := 0; i < size; i += 10 {
		if _, err := fmt.Fprintf(in, "%08x\r\n", i*i*7919); err != nil {
			p.t.Fatal(err)
		}
	}
	msg, err := in.Seal()
	if err != nil {
		p.t.Fatal(err)
	}
	return msg
}

func (p *place) enqueue(i int) {
	p.t.Helper()
	msg, dest := p.message(50), fmt.Sprintf("d%d.test", i)
	it := &queue.Item{ID: p.queue.NewID(dest), Destination: dest, Blob: msg.ID(), Received: time.Now(), Recipients: []queue.Recipient{
		{Recipient: mail.Recipient{Address: mail.Address{Local: "a", Domain: mail.Domain(dest)}}, Due: time.Now()},
	}}
	err := p.side.Rows.Update(p.t.Context(), kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error {
		return p.queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { p.store.Link(tx, msg, o) })
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// sameMail compares what readers see at both places, and recounts everything.
func sameMail(t *testing.T, a, b *place) {
	t.Helper()
	ctx := t.Context()
	if x, y := a.bodies(1)+a.bodies(2), b.bodies(1)+b.bodies(2); x != y || !strings.Contains(x, "UID 20") {
		t.Errorf("readers see other mail: %d and %d octets", len(x), len(y))
	}
	for _, id := range []mail.AccountID{1, 2} {
		found, err := b.store.Check(ctx, id)
		links, err2 := b.store.CheckLinks(ctx, id)
		if len(found)+len(links) > 0 || err != nil || err2 != nil {
			t.Error(found, links, err, err2)
		}
	}
	found, err := b.queue.Check(ctx, nil)
	depth, err2 := b.queue.Depth(ctx)
	if len(found) > 0 || err != nil || err2 != nil || depth.Items != 40 {
		t.Error(found, err, depth, err2)
	}
}

// bodies gives all of an account's INBOX.
func (p *place) bodies(a mail.AccountID) string {
	p.t.Helper()
	ctx := p.t.Context()
	v, err := p.store.Open(ctx, a, store.Inbox, true)
	if err != nil {
		p.t.Fatal(err)
	}
	defer v.Close()
	snap, err := v.Latest(ctx)
	if err != nil {
		p.t.Fatal(err)
	}
	var s strings.Builder
	for _, e := range snap.All() {
		em, err := p.store.Email(ctx, a, e.Email)
		if err != nil {
			p.t.Fatal(err)
		}
		r, err := p.store.OpenBody(ctx, em, 0, -1)
		if err != nil {
			p.t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		_, _ = fmt.Fprintf(&s, "UID %d MODSEQ %d\n%s", e.UID, e.ModSeq, b)
	}
	return s.String()
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, "from").fill(), newPlace(t, "to")
	var phases []string
	res, err := Run(t.Context(), Options{From: from.side, To: to.side, Progress: func(p Progress) {
		if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
			phases = append(phases, p.Phase)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Bodies != 4 || res.BodyBytes < 1_000_000/3 || res.Rows < 400 || len(res.Tables) < 10 || res.Resumed {
		t.Errorf("%+v", res)
	}
	if strings.Join(phases, " ") != "rows bodies" {
		t.Error(phases)
	}
	sameMail(t, from, to)
	if err := Unfinished(t.Context(), to.side.Rows); err != nil {
		t.Error(err)
	}
	// What came is a store like any other: it can be moved on, and is not written over.
	if _, err := Run(t.Context(), Options{From: from.side, To: to.side}); !mail.Is(err, mail.Exists) {
		t.Errorf("wrote over a store: %v", err)
	}
	if _, err := Run(t.Context(), Options{From: from.side, To: to.side, Resume: true}); !mail.Is(err, mail.Invalid) {
		t.Errorf("went on with what is finished: %v", err)
	}
	third := newPlace(t, "third")
	if _, err := Run(t.Context(), Options{From: to.side, To: third.side}); err != nil {
		t.Error(err)
	}
	sameMail(t, from, third)
}

var errStop = errors.New("power failure")

// stopping fails every Update from the nth on.
type stopping struct {
	kv.Store
	left int
}

func (s *stopping) Update(ctx context.Context, x kv.Txn, fn func(kv.Tx) error) error {
	if s.left--; s.left < 0 {
		return errStop
	}
	return s.Store.Update(ctx, x, fn)
}

// TestInterrupted stops a run before each of its transactions: the target is no store until another run has ended.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	from := newPlace(t, "from").fill()
	for n := 0; ; n++ {
		to := newPlace(t, "to")
		cut := to.side
		cut.Rows = &stopping{Store: to.side.Rows, left: n}
		_, err := Run(t.Context(), Options{From: from.side, To: cut, Batch: 60})
		if err == nil {
			if n < 8 {
				t.Errorf("%d transactions", n)
			}
			return
		}
		if !errors.Is(err, errStop) {
			t.Fatal(n, err)
		}
		if n > 0 {
			if err := Unfinished(t.Context(), to.side.Rows); !mail.Is(err, mail.Unavailable) {
				t.Errorf("%d: a server would start on it: %v", n, err)
			}
			if _, err := Run(t.Context(), Options{From: from.side, To: to.side}); !mail.Is(err, mail.Exists) {
				t.Errorf("%d: went on unasked: %v", n, err)
			}
			other := newPlace(t, "other").fill()
			if _, err := Run(t.Context(), Options{From: other.side, To: to.side, Resume: true}); !mail.Is(err, mail.Exists) {
				t.Errorf("%d: went on with other data: %v", n, err)
			}
		}
		res, err := Run(t.Context(), Options{From: from.side, To: to.side, Resume: n > 0})
		if err != nil || res.Resumed != (n > 0) {
			t.Fatal(n, res, err)
		}
		sameMail(t, from, to)
	}
}

// TestSourceChanges: a source that changes behind the mark is noticed, and the target stays unfinished.
func TestSourceChanges(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, "from").fill(), newPlace(t, "to")
	changed := false
	_, err := Run(t.Context(), Options{From: from.side, To: to.side, Progress: func(p Progress) {
		if p.Phase == "bodies" && !changed {
			changed = true
			if err := from.store.SetFlags(t.Context(), 1, store.Inbox, []store.UID{3}, store.Add, store.Seen, nil); err != nil {
				t.Error(err)
			}
		}
	}})
	if !mail.Is(err, mail.Internal) || !strings.Contains(err.Error(), "en") {
		t.Error(err)
	}
	if err := Unfinished(t.Context(), to.side.Rows); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}

// TestBodyDamaged: a large body that lies in the target from before, and is another, is copied anew; a target with
// bodies and no mark is refused.
func TestBodyDamaged(t *testing.T) {
	t.Parallel()
	from, to := newPlace(t, "from").fill(), newPlace(t, "to")
	cut := to.side
	cut.Rows = &stopping{Store: to.side.Rows, left: 1}
	if _, err := Run(t.Context(), Options{From: from.side, To: cut}); !errors.Is(err, errStop) {
		t.Fatal(err)
	}
	for info, err := range from.side.Large.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		w, err := to.side.Large.Create(t.Context(), info.ID)
		if err == nil {
			_, err = w.Write(make([]byte, info.Size))
			err = errors.Join(err, w.Commit())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Run(t.Context(), Options{From: from.side, To: to.side, Resume: true}); err != nil {
		t.Fatal(err)
	}
	sameMail(t, from, to)
	fresh := newPlace(t, "fresh")
	fresh.side.Large = to.side.Large
	if _, err := Run(t.Context(), Options{From: from.side, To: fresh.side}); !mail.Is(err, mail.Exists) {
		t.Errorf("%v", err)
	}
}

// TestServerRuns: neither side may have a node that is alive; one that was killed does not matter.
func TestServerRuns(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"from", "to"} {
		from, to := newPlace(t, "from").fill(), newPlace(t, "to")
		rows := map[string]kv.Store{"from": from.side.Rows, "to": to.side.Rows}[at]
		n, err := lease.Join(t.Context(), lease.Options{KV: rows, TTL: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{From: from.side, To: to.side, Wait: func(time.Duration) error { return n.Tick(t.Context()) }}
		if _, err := Run(t.Context(), o); !mail.Is(err, mail.Busy) {
			t.Errorf("%s: %v", at, err)
		}
		o.Wait = func(time.Duration) error { return nil }
		if _, err := Run(t.Context(), o); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		sameMail(t, from, to)
	}
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	if _, err := Run(t.Context(), Options{From: newPlace(t, "from").side, To: newPlace(t, "to").side}); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	from, to := newPlace(t, "from").fill(), newPlace(t, "to")
	to.side.Large = nil
	if _, err := Run(t.Context(), Options{From: from.side, To: to.side}); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, Options{From: from.side, To: newPlace(t, "x").side}); !mail.Is(err, mail.Canceled) {
		t.Error(err)
	}
}
