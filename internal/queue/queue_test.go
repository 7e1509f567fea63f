package queue

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// fixture is a queue over a store in memory with a clock and links that are rows of bk.
type fixture struct {
	*Queue
	kv kv.Store

	mu  sync.Mutex
	now time.Time
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) pass(d time.Duration) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
	return f.now
}

// links stands in for the blob store: its links are rows of bk.
type links struct{}

func linkKey(id mail.ID, o blob.Owner) kv.Key {
	return kv.K(kv.BlobLinks).ID(id).U8(byte(o.Kind)).U64(o.A).U64(o.ID)
}

func (links) Unlink(tx kv.Tx, id mail.ID, o blob.Owner) error {
	tx.Delete(linkKey(id, o))
	return nil
}

func newFixture(t testing.TB, fs vfs.FS) *fixture {
	t.Helper()
	s := openRows(t, fs)
	t.Cleanup(func() { _ = s.Close() })
	// What is searched without locks is a hint, or read again under them; Check wants a store at rest.
	strict := kvtest.Strict(s, kvtest.Options{Report: func(a ...any) { t.Error(a...) }, Unlocked: []kv.Prefix{
		kv.QueueDue, kv.QueueItems, kv.QueueDomains, kv.QueueEnded, kv.QueueRcpts,
	}})
	f := &fixture{kv: strict, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	f.Queue = New(Options{KV: strict, Clock: f.clock, Blobs: links{}})
	return f
}

func (f *fixture) verify(t testing.TB) {
	t.Helper()
	problems, err := f.Check(t.Context(), func(r kv.Reader, b mail.ID, o blob.Owner) (bool, error) {
		_, err := r.Get(linkKey(b, o))
		return err == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

func blobID(n int) (id mail.ID) {
	copy(id[:], fmt.Sprintf("%016d", n))
	return id
}

func (f *fixture) item(domain string, locals ...string) *Item {
	it := &Item{
		ID: f.NewID(domain), Destination: domain, Blob: blobID(1), Size: 1234, Content: mail.ContentKnown | mail.LongLines,
		Prefix: []byte("Received: x\r\n"), From: mail.Address{Local: "Ann O", Domain: "postel.test"},
		Parameters: mail.Parameters{
			Body: mail.Body8BitMIME, UTF8: true, Return: "HDRS", EnvelopeID: "e 1", Priority: -3, RequireTLS: true,
			By: mail.DeliverBy{Deadline: f.clock().Add(time.Hour), Return: true}, Hold: f.clock().Add(-time.Minute),
		},
		Session:  blobID(2),
		Received: f.clock(), Submitted: true,
	}
	for _, l := range locals {
		it.Recipients = append(it.Recipients, Recipient{Due: f.clock(), Recipient: mail.Recipient{
			Address: mail.Address{Local: l, Domain: mail.Domain(domain)}, Notify: mail.NotifyDelay, Original: "rfc822;" + l,
		}})
	}
	return it
}

func (f *fixture) add(t testing.TB, it *Item) *Item {
	t.Helper()
	err := f.kv.Update(context.Background(), kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error {
		return f.Add(tx, it, func(tx kv.Tx, o blob.Owner) { tx.Set(linkKey(it.Blob, o), nil) })
	})
	if err != nil {
		t.Fatal(err)
	}
	return it
}

func result(code int, text string) mail.Result {
	return mail.Result{
		Scope: mail.ScopeRecipient, Code: code, Enhanced: mail.Enhanced{uint16(code / 100), 1, 5}, Text: text,
		Host: "mx.remote.test",
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	last := ID{}
	for i := range 2000 {
		id := f.NewID(fmt.Sprint("d", i, ".test"))
		back, ok := ParseID("Q-" + id.String())
		if !ok || back != id {
			t.Fatalf("%v came back as %v", id, back)
		}
		if id.Number <= last.Number {
			t.Fatal("numbers do not rise")
		}
		last = id
	}
	for _, bad := range []string{"", "q-", "q-0000000000000", "q-00000000000w00", "vvvvvvvvvvvvvvv"} {
		if _, ok := ParseID(bad); ok {
			t.Errorf("%q parsed", bad)
		}
	}
	if id := (ID{Partition: 63, Number: 1<<64 - 1}); id.String() != "vvvvvvvvvvvvvv" {
		t.Error(id)
	}
}

func TestAddShow(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	it := f.add(t, f.item("remote.test", "bob", "c d"))
	got, err := f.Show(t.Context(), it.ID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range it.Recipients {
		it.Recipients[i].Last.Recipient = it.Recipients[i].Address
	}
	if d := cmp.Diff(it, got, cmpopts.EquateApproxTime(0)); d != "" {
		t.Error(d)
	}
	if _, err := f.Show(t.Context(), ID{Number: 7}); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	f.verify(t)
}

func TestAddLimits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	none, many, long, astray := f.item("a.test"), f.item("a.test", make([]string, 101)...), f.item("a.test", "x"), f.item("a.test", "x")
	long.Prefix = make([]byte, MaxPrefix+1)
	astray.ID.Partition ^= 1
	for i, it := range []*Item{none, many, long, astray} {
		err := f.kv.Update(t.Context(), kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error {
			return f.Add(tx, it, func(kv.Tx, blob.Owner) {})
		})
		if err == nil {
			t.Error(i, "was taken")
		}
	}
	f.verify(t)
}

func TestLife(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	it := f.add(t, f.item("remote.test", "a", "b", "c"))
	later := f.pass(time.Minute)
	items, err := f.Due(ctx, later, 10, 1000)
	if err != nil || len(items) != 1 {
		t.Fatal(items, err)
	}
	if again, _ := f.Due(ctx, later, 10, 1000); len(again) != 0 {
		t.Fatal("leased twice")
	}
	next := later.Add(5 * time.Minute)
	left, err := f.Done(ctx, items[0], []Outcome{
		{N: 0, State: Delivered, Result: result(250, "ok")},
		{N: 1, State: Waiting, Result: result(451, "later"), Due: next},
		{N: 2, State: Failed, Result: result(550, "no")},
	})
	if err != nil || left == nil || left.Recipients[1].Attempts != 1 || left.Recipients[1].Last.Text != "later" {
		t.Fatal(left, err)
	}
	f.Return(it)
	f.verify(t)
	if due, ok, _ := f.Next(ctx); !ok || !due.Equal(next) {
		t.Fatal(due, ok)
	}
	if items, _ = f.Due(ctx, later, 10, 1000); len(items) != 0 {
		t.Fatal("due too early")
	}
	if items, _ = f.Due(ctx, f.pass(5*time.Minute), 10, 1000); len(items) != 1 {
		t.Fatal("not due")
	}
	if left, err = f.Done(ctx, items[0], []Outcome{{N: 0, State: Failed}, {N: 1, State: Delivered, Result: result(250, "at last")}}); err != nil || left != nil {
		t.Fatal(left, err)
	}
	f.Return(it)
	f.verify(t)
	if _, err := f.Done(ctx, items[0], nil); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
	ended, err := f.Ended(ctx, it.ID)
	if err != nil || len(ended) != 3 {
		t.Fatal(ended, err)
	}
	for i, want := range []State{Delivered, Delivered, Failed} {
		if ended[i].State != want || ended[i].N != i || ended[i].Blob != it.Blob {
			t.Errorf("%+v", ended[i])
		}
	}
	if d, _ := f.Depth(ctx); d != (Depth{}) {
		t.Error(d)
	}
	if n, err := f.Clean(ctx); n != 0 || err != nil {
		t.Error(n, err)
	}
	f.pass(10 * 24 * time.Hour)
	if n, err := f.Clean(ctx); n != 3 || err != nil {
		t.Error(n, err)
	}
	if ended, _ = f.Ended(ctx, it.ID); len(ended) != 0 {
		t.Error(ended)
	}
}

func TestOperate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	it := f.item("remote.test", "a", "b")
	due := f.clock().Add(time.Hour)
	it.Recipients[0].Due, it.Recipients[1].Due = due, due
	f.add(t, it)
	step := func(op func(context.Context, ID) error) {
		t.Helper()
		if err := op(ctx, it.ID); err != nil {
			t.Fatal(err)
		}
		f.verify(t)
	}
	leasable := func() int {
		items, err := f.Due(ctx, f.clock(), 10, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			f.Return(it)
		}
		return len(items)
	}
	if n := leasable(); n != 0 {
		t.Fatal("due too early")
	}
	step(f.Retry)
	if n := leasable(); n != 1 {
		t.Fatal("retry did nothing")
	}
	step(f.Hold)
	if n := leasable(); n != 0 {
		t.Fatal("held items are not due")
	}
	if err := f.Retry(ctx, it.ID); !mail.Is(err, mail.Denied) {
		t.Fatal(err)
	}
	step(f.Release)
	if n := leasable(); n != 1 {
		t.Fatal("release did nothing")
	}
	if k := f.Kicked(); len(k) != 1 || k[0] != "remote.test" {
		t.Fatal(k)
	}
	select {
	case <-f.Wake():
	default:
		t.Fatal("nobody was woken")
	}
	if was, err := f.Drop(ctx, it.ID); err != nil || len(was.Recipients) != 2 {
		t.Fatal(was, err)
	}
	f.verify(t)
	ended, err := f.Ended(ctx, it.ID)
	if err != nil || len(ended) != 2 || !ended[0].Dropped || ended[0].State != Failed {
		t.Fatal(ended, err)
	}
	for _, op := range []func(context.Context, ID) error{f.Retry, f.Hold, f.Release} {
		if err := op(ctx, it.ID); !mail.Is(err, mail.NotFound) {
			t.Error(err)
		}
	}
}

// TestHoldWhileLeased: what an operator does to an item that waits for its worker is seen before the work begins,
// and what he does to one in work is not undone by its end.
func TestHoldWhileLeased(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	it := f.add(t, f.item("remote.test", "a", "b"))
	if !f.Lease(it, 100) || f.Lease(it, 100) {
		t.Fatal("leases")
	}
	if same, err := f.Fresh(ctx, it); same != it || err != nil {
		t.Fatal(same, err)
	}
	if err := f.Hold(ctx, it.ID); err != nil {
		t.Fatal(err)
	}
	fresh, err := f.Fresh(ctx, it)
	if err != nil || fresh.Recipients[0].State != Held {
		t.Fatal(fresh, err)
	}
	left, err := f.Done(ctx, it, []Outcome{
		{N: 0, State: Delivered, Result: result(250, "ok")},
		{N: 1, State: Waiting, Result: result(450, "later"), Due: f.clock()},
	})
	if err != nil || left.Recipients[0].State != Delivered || left.Recipients[1].State != Held {
		t.Fatal(left, err)
	}
	f.verify(t)
	if _, err := f.Drop(ctx, it.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Fresh(ctx, it); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
	f.Return(it)
	if f.Leased() != 0 {
		t.Fatal("lease kept")
	}
}

func TestKick(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	for i := range 30 {
		it := f.item([]string{"one.test", "two.test"}[i%2], "a")
		it.Recipients[0].Due = f.clock().Add(time.Hour)
		f.add(t, it)
	}
	later := f.item("one.test", "a")
	later.Hold = f.clock().Add(time.Hour) // RFC 4865: not before its time, whoever asks
	later.Recipients[0].Due = later.Hold
	f.add(t, later)
	if n, more, err := f.Waiting(ctx, "one.test", 15); n != 15 || more || err != nil {
		t.Fatal(n, more, err)
	}
	if n, more, err := f.Waiting(ctx, "one.test", 14); n != 14 || !more || err != nil {
		t.Fatal(n, more, err)
	}
	if n, more, err := f.Waiting(ctx, "none.test", 1); n != 0 || more || err != nil {
		t.Fatal(n, more, err)
	}
	if n, err := f.Kick(ctx, "one.test"); n != 15 || err != nil {
		t.Fatal(n, err)
	}
	items, err := f.Due(ctx, f.clock(), 100, 1000)
	if err != nil || len(items) != 15 {
		t.Fatal(len(items), err)
	}
	f.verify(t)
}

// TestKickWhileLeased: what is made due while its last attempt is still being put away is found when that is done.
func TestKickWhileLeased(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	it := f.item("one.test", "a")
	it.Recipients[0].Due = f.clock().Add(time.Hour)
	f.add(t, it)
	if !f.Lease(it, 100) {
		t.Fatal("no lease")
	}
	if n, err := f.Kick(t.Context(), "one.test"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	<-f.Wake()
	if items, err := f.Due(t.Context(), f.clock(), 100, 1000); len(items) != 0 || err != nil {
		t.Fatal(items, err)
	}
	f.Return(it)
	select {
	case <-f.Wake():
	default:
		t.Fatal("nobody looks again")
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	for i := range 40 {
		f.add(t, f.item("busy.test", fmt.Sprint("u", i)))
	}
	quiet := f.add(t, f.item("quiet.test", "u"))
	items, err := f.Due(ctx, f.clock(), 40, 40)
	if err != nil {
		t.Fatal(err)
	}
	if len(items) != 9 { // (40-8)/4 = 8
		t.Errorf("%d items, want the other item, and for one destination a quarter of what it leaves free", len(items))
	}
	var found bool
	for _, it := range items {
		found = found || it.ID == quiet.ID
	}
	if !found {
		t.Error("the quiet destination got no place")
	}
	if items, _ = f.Due(ctx, f.clock(), 40, 40); len(items) != 0 {
		t.Error("a destination got more than its share")
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	for i := range 25 {
		f.add(t, f.item(fmt.Sprintf("d%d.test", i%5), fmt.Sprintf("User%d", i), "other"))
	}
	held := f.add(t, f.item("held.test", "x"))
	if err := f.Hold(ctx, held.ID); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		f    Filter
		want int
	}{
		"all":       {Filter{}, 26},
		"domain":    {Filter{Domain: "D3.test"}, 5},
		"recipient": {Filter{Recipient: "user24@"}, 1},
		"sender":    {Filter{Sender: "ann"}, 26},
		"null":      {Filter{Sender: "<>"}, 0},
		"held":      {Filter{State: "held"}, 1},
		"waiting":   {Filter{State: "waiting", Limit: 100}, 25},
		"before":    {Filter{Before: f.clock()}, 0},
		"since":     {Filter{Since: f.clock()}, 26},
		"priority":  {Filter{Priority: new(int8)}, 0},
		"urgent":    {Filter{Priority: &held.Priority}, 26},
		"reply":     {Filter{Reply: "450"}, 0},
		"two":       {Filter{Domain: "d1.test", State: "held"}, 0},
	} {
		items, next, err := f.List(ctx, c.f)
		if err != nil || len(items) != c.want || !next.IsZero() {
			t.Errorf("%s: %d items, %v, %v", name, len(items), next, err)
		}
	}
	seen := map[ID]bool{}
	for page := (Filter{Limit: 7}); ; {
		items, next, err := f.List(ctx, page)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			seen[it.ID] = true
		}
		if page.After = next; next.IsZero() {
			break
		}
	}
	if len(seen) != 26 {
		t.Errorf("pages gave %d items", len(seen))
	}
}

// TestFilterReply: the error, the state and the address that are asked for are those of one recipient.
func TestFilterReply(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	it := f.add(t, f.item("remote.test", "a", "b"))
	if _, err := f.Done(t.Context(), it, []Outcome{{N: 0, State: Waiting, Result: result(450, "Mailbox busy"), Due: f.clock()}}); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		f    Filter
		want int
	}{
		{Filter{Reply: "450 4.1.5 mailbox"}, 1},
		{Filter{Reply: "MX.remote"}, 1},
		{Filter{Reply: "busy", Recipient: "a@"}, 1},
		{Filter{Reply: "busy", Recipient: "b@"}, 0},
	} {
		if items, _, err := f.List(t.Context(), c.f); err != nil || len(items) != c.want {
			t.Errorf("%d: %d items, want %d, %v", i, len(items), c.want, err)
		}
	}
}

// TestAllEnded: each recipient is listed once with its end, as long as it is kept.
func TestAllEnded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	const many = scanStep + 10
	end := func(destination string, s State, code int) {
		it := f.add(t, f.item(destination, "a"))
		if _, err := f.Done(ctx, it, []Outcome{{State: s, Result: result(code, "so be it")}}); err != nil {
			t.Fatal(err)
		}
	}
	for range many {
		end("remote.test", Delivered, 250)
	}
	f.pass(30 * time.Hour)
	end("local:7", Delivered, 250)
	end("remote.test", Failed, 550)
	dropped := f.add(t, f.item("remote.test", "a", "b"))
	if _, err := f.Drop(ctx, dropped.ID); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		f    Filter
		want int
	}{
		{Filter{}, many + 4},
		{Filter{State: "relayed"}, many},
		{Filter{State: "delivered"}, 1},
		{Filter{State: "bounced", Reply: "550"}, 1},
		{Filter{State: "dropped"}, 2},
		{Filter{State: "dropped", Recipient: "b@"}, 1},
		{Filter{Domain: "remote.test", Since: f.clock().Add(-time.Hour)}, 3},
		{Filter{Before: f.clock().Add(-time.Hour)}, many},
	} {
		n := 0
		for _, err := range f.AllEnded(ctx, c.f) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != c.want {
			t.Errorf("%d: %d ends, want %d", i, n, c.want)
		}
	}
}

// TestEach: what matches is changed, and what somebody else changed meanwhile is passed over.
func TestEach(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	for i := range 3 * scanStep / 2 {
		f.add(t, f.item(fmt.Sprintf("d%d.test", i%2), "x"))
	}
	gone := f.add(t, f.item("d0.test", "x"))
	n, err := f.Each(ctx, Filter{Domain: "d0.test"}, func(ctx context.Context, id ID) error {
		if id == gone.ID {
			return errGone("test")
		}
		return f.Hold(ctx, id)
	})
	if err != nil || n != 3*scanStep/4 {
		t.Errorf("%d, %v", n, err)
	}
	held, _, err := f.List(ctx, Filter{State: "held"})
	if err != nil || len(held) != n {
		t.Errorf("%d are held, %v", len(held), err)
	}
	broken := mail.E("test", mail.Unavailable, "no")
	if _, err := f.Each(ctx, Filter{}, func(context.Context, ID) error { return broken }); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
	f.verify(t)
}

// TestHistory: the latest attempts are kept, with their sessions, and of each a bounded part of what was said.
func TestHistory(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	it := f.add(t, f.item("remote.test", "a"))
	for i := range maxEarlier + 5 {
		f.pass(time.Minute)
		_, err := f.Done(t.Context(), it, []Outcome{{
			State: Waiting, Due: f.clock(), Session: blobID(i), Result: result(450, fmt.Sprint(i, strings.Repeat("x", 5000))),
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Show(t.Context(), it.ID)
	if err != nil {
		t.Fatal(err)
	}
	all := got.Recipients[0].Attempted()
	if len(all) != maxEarlier+1 {
		t.Fatalf("%d attempts are kept", len(all))
	}
	for i, a := range all {
		n := i + 4
		if a.Session != blobID(n) || !strings.HasPrefix(a.Result.Text, fmt.Sprint(n, "x")) || a.Result.Host != "mx.remote.test" ||
			!a.Time.Equal(f.clock().Add(time.Duration(i-maxEarlier)*time.Minute)) {
			t.Errorf("%d: %.120v", i, a)
		}
	}
	if n := len(got.Recipients[0].Earlier); n > maxEarlier*(maxEarlierText+100) {
		t.Errorf("they take %d octets", n)
	}
	again, err := Unarchive(got.ID.Number, got.Archive())
	if err != nil || again.Recipients[0].Earlier != got.Recipients[0].Earlier || again.Recipients[0].Session != got.Recipients[0].Session {
		t.Error("an archive does not hold them", err)
	}
	for _, bad := range []History{"x", got.Recipients[0].Earlier[:50], "\xff\xff\xff"} {
		_ = bad.attempts() // must end, and not panic
	}
	f.verify(t)
}

// TestBounce: what an operator returns is due at once with its verdict, which no attempt under way takes back.
func TestBounce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	it := f.add(t, f.item("remote.test", "a", "b", "c"))
	taken, err := f.Due(ctx, f.clock(), 10, 100)
	if err != nil || len(taken) != 1 {
		t.Fatal(err)
	}
	if err := f.Hold(ctx, it.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.Bounce(ctx, it.ID, "enough"); err != nil {
		t.Fatal(err)
	}
	if err := f.Bounce(ctx, it.ID, "again"); !mail.Is(err, mail.Denied) {
		t.Error(err)
	}
	left, err := f.Done(ctx, taken[0], []Outcome{
		{N: 0, State: Delivered, Result: result(250, "ok")},
		{N: 1, State: Waiting, Result: result(450, "later"), Due: f.clock().Add(time.Hour)},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Return(taken[0])
	if left.Recipients[0].State != Delivered {
		t.Error("a delivery is none")
	}
	for _, r := range left.Recipients[1:] {
		if !r.Returning() || r.Last.String() != "550 5.4.7 enough" || r.Attempts != 0 || r.Due.After(f.clock()) {
			t.Errorf("%+v", r)
		}
	}
	if due, err := f.Due(ctx, f.clock(), 10, 100); err != nil || len(due) != 1 {
		t.Error("not due", err)
	}
	f.verify(t)
}

// TestReroute: the host that an operator sets stays with the item, over attempts, archives and its release.
func TestReroute(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	it := f.add(t, f.item("remote.test", "a"))
	old := f.add(t, f.item("local:7", "a"))
	if err := f.Reroute(ctx, old.ID, "mx.test:25"); !mail.Is(err, mail.Denied) {
		t.Error("rerouted what is delivered here", err)
	}
	if err := f.Reroute(ctx, ID{Number: 5}, "mx.test:25"); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	f.pass(time.Second)
	if err := f.Reroute(ctx, it.ID, "mx.test:25"); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Done(ctx, it, []Outcome{{State: Waiting, Result: result(450, "later"), Due: f.clock().Add(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	got, err := f.Show(ctx, it.ID)
	if err != nil || got.Via != "mx.test:25" {
		t.Fatal(got.Via, err)
	}
	if again, err := Unarchive(got.ID.Number, got.Archive()); err != nil || again.Via != got.Via {
		t.Error("an archive does not hold it", err)
	}
	if err := f.Reroute(ctx, it.ID, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Show(ctx, it.ID); err != nil || got.Via != "" || got.Recipients[0].Due.After(f.clock()) {
		t.Error(got.Via, err)
	}
	f.verify(t)
}

// TestDepth: what is due, deferred and held is counted, and how old the oldest is.
func TestDepth(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem())
	ctx := t.Context()
	born := f.clock()
	for i := range 3 {
		it := f.item("remote.test", "a")
		it.Recipients[0].Due = born.Add(time.Duration(i) * time.Hour)
		f.add(t, it)
	}
	if err := f.Hold(ctx, f.add(t, f.item("held.test", "a")).ID); err != nil {
		t.Fatal(err)
	}
	f.pass(90 * time.Minute)
	d, err := f.Depth(ctx)
	if err != nil || d.Items != 4 || d.Due != 2 || d.Deferred != 1 || d.Held != 1 || !d.Oldest.Equal(born) {
		t.Errorf("%+v, %v", d, err)
	}
}
