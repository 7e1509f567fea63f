package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/store"
	"postel/internal/vfs"
)

const alice, bob = "alice@example.org", "bob@example.org"

// small is a server with a bit of everything.
func small(t testing.TB) *server {
	s := newServer(t)
	a, b := s.account(alice), s.account(bob)
	s.must(s.dir.AddAlias(t.Context(), address("team@example.org"), address(alice), address(bob)))
	work, err := s.Store.Create(t.Context(), a, "work/2026", store.RoleNone)
	s.must(err)
	for i := range 10 {
		s.append(a, store.Inbox, fmt.Sprint("i", i), 300, store.Flags(i)&store.SystemFlags, "$Label", fmt.Sprint("k", i))
	}
	s.append(a, work.ID, "large", 700_000, store.Seen)
	_, err = s.Store.Copy(t.Context(), a, store.Inbox, []store.UID{2, 3}, work.ID)
	s.must(err)
	_, err = s.Store.Expunge(t.Context(), a, store.Inbox, []store.UID{3, 5})
	s.must(err)
	s.append(b, store.Inbox, "bobs", 400, 0)
	s.enqueue("carol")
	return s
}

func TestEverything(t *testing.T) {
	t.Parallel()
	s := small(t)
	want, wantBob := s.content(alice, true), s.content(bob, true)
	archive := s.backup(Order{})
	if v := open(t, "a", archive).Verify(); len(v.Damaged) > 0 || v.Messages != 11 || v.Accounts != 2 || v.Queue != 1 {
		t.Errorf("%+v", v)
	}
	n := newServer(t)
	done, found := n.restore(chainOf(t, archive), Selection{}, Target{})
	if len(found.Damaged) > 0 || done.Accounts != 2 || done.Messages != 11 || done.Queue != 1 || done.Shared != 2 {
		t.Errorf("%+v %+v", done, found)
	}
	same(t, "alice", n.content(alice, true), want)
	same(t, "bob", n.content(bob, true), wantBob)
	n.check(alice, bob)
	acc, err := n.dir.AccountOf(t.Context(), address(alice))
	n.must(err)
	if acc.Quota != 1<<30 {
		t.Errorf("%+v", acc)
	}
	for _, f := range []string{"held", "waiting"} {
		items, _, err := n.Queue.List(t.Context(), queueState(f))
		n.must(err)
		if len(items) != map[string]int{"held": 1, "waiting": 0}[f] {
			t.Errorf("%d items are %s", len(items), f)
		}
	}
	again, _ := n.restore(chainOf(t, archive), Selection{}, Target{})
	if again.Messages != 0 || again.Present != 11 || again.Accounts != 0 || again.Queue != 0 {
		t.Errorf("again: %+v", again)
	}
	same(t, "alice, again", n.content(alice, true), want)
	n.newNumbers(s, acc)
}

// newNumbers looks that nothing is given out that may have been given out after the backup.
func (s *server) newNumbers(was *server, acc directory.Account) {
	s.t.Helper()
	before := was.append(acc.ID, store.Inbox, "later", 300, 0)
	after := s.append(acc.ID, store.Inbox, "later", 300, 0)
	if after.Email <= before.Email+1000 || after.UIDValidity <= before.UIDValidity || after.ModSeq <= before.ModSeq+1000 {
		s.t.Errorf("before %+v, after %+v", before, after)
	}
}

func TestProven(t *testing.T) {
	t.Parallel()
	s := small(t)
	archive := s.backup(Order{Account: address(alice)})
	n := newServer(t)
	n.must(n.dir.EnsureDomain(t.Context(), directory.Domain{Name: "example.org", Kind: directory.Local}))
	n.restore(chainOf(t, archive), Selection{Account: alice}, Target{Proven: true})
	acc, err := n.dir.AccountOf(t.Context(), address(alice))
	n.must(err)
	before, after := s.append(acc.ID, store.Inbox, "later", 300, 0), n.append(acc.ID, store.Inbox, "later", 300, 0)
	if before.UIDValidity != after.UIDValidity || before.UID != after.UID {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// TestLost brings back what a running account lost, and does not double what it has.
func TestLost(t *testing.T) {
	t.Parallel()
	s := small(t)
	ctx := t.Context()
	archive := s.backup(Order{})
	want := s.content(alice, false)
	acc, err := s.dir.AccountOf(ctx, address(alice))
	s.must(err)
	_, err = s.Store.Expunge(ctx, acc.ID, store.Inbox, []store.UID{1, 2, 4, 6, 7, 8})
	s.must(err)
	work, err := s.Store.Mailbox(ctx, acc.ID, "work/2026")
	s.must(err)
	s.must(s.Store.Delete(ctx, acc.ID, work.ID))
	for _, purge := range []bool{false, true} {
		if purge {
			_, err := s.Store.PurgeExpunged(ctx, acc.ID)
			s.must(err)
		}
		done, found := s.restore(chainOf(t, archive), Selection{Account: alice, Message: "<i0@example.org>"}, Target{})
		if found.Messages != 1 || done.Messages != map[bool]int{false: 1, true: 0}[purge] {
			t.Errorf("one message: %+v %+v", done, found)
		}
	}
	done, _ := s.restore(chainOf(t, archive), Selection{Account: alice, Mailbox: "work/2026"}, Target{})
	if done.Messages != 3 {
		t.Errorf("mailbox: %+v", done)
	}
	s.restore(chainOf(t, archive), Selection{Account: alice}, Target{})
	got := s.content(alice, false)
	for k := range want {
		if _, ok := got[k]; !ok && !strings.Contains(k, "work/2026 2-") {
			// An email that came back in one mailbox is there, and is not put into another.
			if !strings.HasPrefix(k, "INBOX 2-") {
				t.Errorf("%s is lost", k)
			}
		}
	}
	s.check(alice)
	other := s.account("other@example.org")
	for i := range 2 {
		done, _ := s.restore(chainOf(t, archive), Selection{Account: alice}, Target{To: address("other@example.org")})
		if _, n, _ := s.Store.Usage(ctx, other); n != 10 || done.Messages != []int{10, 0}[i] {
			t.Errorf("to another: %+v, %d messages", done, n)
		}
	}
	s.check("other@example.org")
	var b bytes.Buffer
	_, err = chainOf(t, archive).Stream(&b, Selection{Account: alice})
	s.must(err)
	if _, err := Apply(ctx, s.Rooms, Target{To: address("nobody@example.org")}, &b); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

// TestChain restores from three archives, each of which has only what the others lack.
func TestChain(t *testing.T) {
	t.Parallel()
	s := small(t)
	ctx := t.Context()
	acc, err := s.dir.AccountOf(ctx, address(alice))
	s.must(err)
	archives := [][]byte{s.backup(Order{})}
	for i := range 2 {
		s.append(acc.ID, store.Inbox, fmt.Sprint("new", i), 300, 0)
		_, err := s.Store.Expunge(ctx, acc.ID, store.Inbox, []store.UID{store.UID(6 + i)})
		s.must(err)
		base, err := open(t, "base", archives[i]).Base()
		s.must(err)
		wire, err := base.MarshalJSON()
		s.must(err)
		base = &Base{}
		s.must(base.UnmarshalJSON(wire))
		time.Sleep(2 * time.Millisecond) // archives are put in order by their time
		archives = append(archives, s.backup(Order{Since: base}))
		if v := open(t, "next", archives[i+1]).Verify(); v.Messages != 1 || len(v.Damaged) > 0 {
			t.Errorf("%+v", v)
		}
	}
	n := newServer(t)
	done, found := n.restore(chainOf(t, archives[1], archives[2], archives[0]), Selection{}, Target{})
	if len(found.Damaged) > 0 || done.Messages != 11 {
		t.Errorf("%+v %+v", done, found)
	}
	same(t, "alice", n.content(alice, true), s.content(alice, true))
	n.check(alice, bob)
	for _, bad := range [][][]byte{{archives[2], archives[0]}, {archives[1]}, {archives[2], archives[1]}} {
		var list []*Archive
		for _, b := range bad {
			list = append(list, open(t, "x", b))
		}
		if _, err := NewChain(list); !mail.Is(err, mail.Invalid) {
			t.Error(err)
		}
	}
}

// TestCutOff ends a restore at many places and begins it again.
func TestCutOff(t *testing.T) {
	t.Parallel()
	s := small(t)
	archive := s.backup(Order{})
	var b bytes.Buffer
	_, err := chainOf(t, archive).Stream(&b, Selection{})
	s.must(err)
	n := newServer(t)
	step := b.Len() / 40
	for cut := 0; cut < b.Len(); cut += step {
		if _, err := Apply(t.Context(), n.Rooms, Target{}, bytes.NewReader(b.Bytes()[:cut])); !mail.Is(err, mail.Rejected) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
	}
	if _, err := Apply(t.Context(), n.Rooms, Target{}, bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	same(t, "alice", n.content(alice, true), s.content(alice, true))
	n.check(alice, bob)
}

// TestDamage flips or cuts an archive at many places: what is damaged is named, all else comes back as it was.
func TestDamage(t *testing.T) {
	t.Parallel()
	s := small(t)
	archive := s.backup(Order{})
	want := map[string]map[string]string{alice: s.content(alice, true), bob: s.content(bob, true)}
	r := rand.New(rand.NewPCG(1, 2))
	rounds := 150
	if testing.Short() {
		rounds = 25
	}
	for range rounds {
		b := bytes.Clone(archive)
		at := r.IntN(len(b))
		switch r.IntN(3) {
		case 0:
			b[at] ^= 1 << r.IntN(8)
		case 1:
			b = b[:at]
		case 2:
			b = append(b[:at], b[min(len(b), at+1+r.IntN(5000)):]...)
		}
		a, err := Open("damaged", bytes.NewReader(b), int64(len(b)))
		if err != nil {
			continue // nothing of it is left
		}
		if v := a.Verify(); len(v.Damaged) == 0 {
			t.Errorf("nothing is said of damage at %d", at)
		}
		n := newServer(t)
		var stream bytes.Buffer
		found, err := Chain{a}.Stream(&stream, Selection{})
		if err != nil || len(found.Damaged) == 0 {
			t.Fatalf("at %d: %+v %v", at, found, err)
		}
		if _, err := Apply(t.Context(), n.Rooms, Target{}, &stream); err != nil && !mail.Is(err, mail.NotFound) {
			t.Fatalf("at %d: %v", at, err)
		}
		for addr, all := range want {
			if _, err := n.dir.AccountOf(t.Context(), address(addr)); err != nil {
				continue
			}
			got := n.content(addr, true)
			for k, v := range got {
				if all[k] != v {
					t.Errorf("at %d: %s is %q, was %q", at, k, v, all[k])
				}
			}
			n.check(addr)
		}
		a.Close()
	}
}

// TestDamagedBodies damages bodies where they lie, in rows and in files, in each way: a restore of messages that are there
// gives them their bodies back, and touches nothing else.
func TestDamagedBodies(t *testing.T) {
	t.Parallel()
	s := small(t)
	ctx := t.Context()
	archive := s.backup(Order{})
	want := s.content(alice, true)
	acc, err := s.dir.AccountOf(ctx, address(alice))
	s.must(err)
	row := func(e store.EmailID, hurt func([]byte) []byte) {
		t.Helper()
		m, err := s.Store.Email(ctx, acc.ID, e)
		s.must(err)
		k := kv.K(kv.Blobs).ID(m.Blob)
		s.must(s.kv.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockBlob(m.Blob)}}, func(tx kv.Tx) error {
			v, err := tx.Get(k)
			if err != nil {
				return err
			}
			if v = hurt(bytes.Clone(v)); v == nil {
				tx.Delete(k)
			} else {
				tx.Set(k, v)
			}
			return nil
		}))
	}
	object := func() string {
		t.Helper()
		m, err := s.Store.Email(ctx, acc.ID, 11)
		s.must(err)
		name := ""
		for dirs := []string{"blobs"}; len(dirs) > 0; dirs = dirs[1:] {
			names, err := s.fs.List(dirs[0])
			s.must(err)
			for _, n := range names {
				path := s.fs.PathJoin(dirs[0], n)
				if info, err := s.fs.Stat(path); err == nil && info.IsDir() {
					dirs = append(dirs, path)
				} else if strings.Contains(path, m.Blob.String()) {
					name = path
				}
			}
		}
		if name == "" {
			t.Fatal("the large body has no file")
		}
		return name
	}
	for name, hurt := range map[string]func(){
		"a body":       func() { row(1, func(v []byte) []byte { v[len(v)-1] ^= 8; return v }) },
		"its row":      func() { row(2, func([]byte) []byte { return []byte{9} }) },
		"no row":       func() { row(4, func([]byte) []byte { return nil }) },
		"no file":      func() { s.must(s.fs.Remove(object())) },
		"a file":       func() { s.must(vfs.WriteFileSync(s.fs, object(), bytes.Repeat([]byte("x"), 5000))) },
		"a file's row": func() { row(11, func([]byte) []byte { return nil }) },
	} {
		hurt()
		done, found := s.restore(chainOf(t, archive), Selection{Account: alice}, Target{})
		if done.Bodies != 1 || done.Messages != 0 || len(found.Damaged) > 0 {
			t.Errorf("%s: %+v %+v", name, done, found)
		}
		same(t, name, s.content(alice, true), want)
		s.check(alice)
		if bad, err := s.Blobs.Check(ctx, blob.CheckOptions{Bodies: true, Damaged: func(id mail.ID, _ []blob.Owner, why string) {
			t.Errorf("%s: %s: %s", name, id, why)
		}}); err != nil || len(bad) > 0 {
			t.Errorf("%s: %v %v", name, bad, err)
		}
	}
	if done, _ := s.restore(chainOf(t, archive), Selection{Account: alice}, Target{}); done.Bodies != 0 {
		t.Errorf("%+v", done)
	}
}

// TestUnderLoad backs up while others write; each account comes back as it was at one moment: of a row of messages that
// were written one after another, a beginning.
func TestUnderLoad(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ids := []mail.AccountID{s.account(alice), s.account(bob)}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for _, id := range ids {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				s.append(id, store.Inbox, fmt.Sprint("m", i), 300, 0)
				if i%3 == 2 { // the invariant: of three one is gone as soon as the third is there
					_, err := s.Store.Move(t.Context(), id, store.Inbox, []store.UID{store.UID(i)}, 4)
					s.must(err)
				}
			}
		})
	}
	for round := range 4 {
		time.Sleep(20 * time.Millisecond)
		archive := s.backup(Order{})
		n := newServer(t)
		done, found := n.restore(chainOf(t, archive), Selection{}, Target{})
		if len(found.Damaged) > 0 || done.Accounts != 2 {
			t.Fatalf("round %d: %+v", round, found)
		}
		n.check(alice, bob)
		for _, id := range ids {
			inbox, err := n.Store.Status(t.Context(), id, store.Inbox)
			n.must(err)
			trash, err := n.Store.Status(t.Context(), id, 4)
			n.must(err)
			all := int(inbox.UIDNext) - 1
			if got := int(inbox.Messages + trash.Messages); got != all || int(trash.Messages) < all/3-1 || int(trash.Messages) > all/3 {
				t.Errorf("round %d: %d in INBOX, %d in Trash, of %d", round, inbox.Messages, trash.Messages, all)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// TestBrokenWriter has the archive's writer fail.
func TestBrokenWriter(t *testing.T) {
	t.Parallel()
	s := small(t)
	if err := Write(t.Context(), s.Rooms, Order{}, &failing{left: 2000}); !mail.Is(err, mail.Unavailable) {
		t.Error(err)
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("no room")
	}
	return len(p), nil
}

// FuzzArchive reads anything: it names damage or gives messages, and never more memory than it was given octets for.
func FuzzArchive(f *testing.F) {
	s := small(f)
	archive := s.backup(Order{})
	f.Add(archive[:20_000])
	f.Add([]byte(mark))
	f.Add(archive[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Open("fuzz", bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		defer a.Close()
		v := a.Verify()
		found, err := Chain{a}.Stream(io.Discard, Selection{})
		if err != nil {
			t.Fatal(err)
		}
		if found.Messages > v.Messages {
			t.Fatalf("%+v, verified %+v", found, v)
		}
	})
}

// TestIndexIsDropped: an email that comes back under its old number was passed by the text index, which is built anew.
func TestIndexIsDropped(t *testing.T) {
	t.Parallel()
	s := small(t)
	ctx := t.Context()
	archive := s.backup(Order{})
	acc, err := s.dir.AccountOf(ctx, address(alice))
	s.must(err)
	_, err = s.Store.Expunge(ctx, acc.ID, store.Inbox, []store.UID{1, 2})
	s.must(err)
	_, err = s.Store.PurgeExpunged(ctx, acc.ID)
	s.must(err)
	state, lock := kv.K(kv.TextState).Account(acc.ID), []kv.Key{kv.LockAccount(acc.ID)}
	s.must(s.kv.Update(ctx, kv.Txn{Lock: lock}, func(tx kv.Tx) error {
		tx.Set(state, []byte{1})
		return nil
	}))
	if done, _ := s.restore(chainOf(t, archive), Selection{Account: alice}, Target{}); done.Messages == 0 {
		t.Fatalf("%+v", done)
	}
	s.must(s.kv.View(ctx, lock, func(r kv.Reader) error {
		if v, err := r.Get(state); !mail.Is(err, mail.NotFound) {
			t.Errorf("the index goes on: %x, %v", v, err)
		}
		return nil
	}))
}
