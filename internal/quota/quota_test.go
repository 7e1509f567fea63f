package quota_test

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/quota"
	"postel/internal/store"
)

// people is a directory of one domain.
type people struct {
	mu       sync.Mutex
	domain   directory.Domain
	accounts map[mail.AccountID]directory.Account
	sums     int // how often members were asked for
}

func (p *people) Account(_ context.Context, id mail.AccountID) (directory.Account, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.accounts[id]
	if !ok {
		return a, mail.E("test", mail.NotFound, "who?")
	}
	return a, nil
}

func (p *people) Domain(context.Context, mail.Domain) (directory.Domain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.domain, nil
}

func (p *people) Members(context.Context, mail.Domain) (ids []mail.AccountID, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sums++
	for id := range p.accounts {
		ids = append(ids, id)
	}
	return ids, nil
}

type world struct {
	t      *testing.T
	kv     kv.Store
	store  *store.Store
	people *people
	quota  *quota.Keeper
	now    time.Time
}

func newWorld(t *testing.T, accounts int) *world {
	t.Helper()
	rows, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rows.Close() })
	w := &world{t: t, kv: kvtest.Strict(rows, kvtest.Options{Report: t.Error}), now: time.Now()}
	w.people = &people{domain: directory.Domain{Name: "x.test", Kind: directory.Local}, accounts: map[mail.AccountID]directory.Account{}}
	w.store = store.New(store.Options{
		KV: w.kv, Blobs: blob.New(blob.Options{KV: w.kv}), Counted: func(u store.Usage) { w.quota.Counted(u) },
	})
	t.Cleanup(func() { _ = w.store.Close() })
	w.quota = quota.New(quota.Options{Directory: w.people, Store: w.store, Clock: func() time.Time { return w.now }})
	for i := range accounts {
		w.add(mail.AccountID(i + 1))
	}
	return w
}

func (w *world) add(id mail.AccountID) {
	w.t.Helper()
	err := w.kv.Update(w.t.Context(), kv.Txn{Lock: []kv.Key{kv.LockAccount(id)}}, func(tx kv.Tx) error { return w.store.InitAccount(tx, id) })
	if err != nil {
		w.t.Fatal(err)
	}
	w.people.mu.Lock()
	w.people.accounts[id] = directory.Account{ID: id, Address: mail.Address{Local: "u", Domain: "x.test"}}
	w.people.mu.Unlock()
}

// deliver appends a message of n octets.
func (w *world) deliver(id mail.AccountID, n int) (store.UID, error) {
	in := w.store.Incoming(w.t.Context())
	defer in.Discard()
	_, err := io.WriteString(in, "Subject: x\r\n\r\n"+strings.Repeat("x", n-14))
	m, err2 := in.Seal()
	if err := errors.Join(err, err2); err != nil {
		return 0, err
	}
	ap, err := w.store.AppendOne(w.t.Context(), m, store.Delivery{Account: id})
	return ap.UID, err
}

func (w *world) expunge(id mail.AccountID, uids ...store.UID) error {
	_, err := w.store.Expunge(w.t.Context(), id, store.Inbox, uids)
	return err
}

// sum is a recount.
func (w *world) sum() (octets, messages int64) {
	w.t.Helper()
	ids, _ := w.people.Members(w.t.Context(), "x.test")
	for _, id := range ids {
		o, m, err := w.store.Usage(w.t.Context(), id)
		if err != nil {
			w.t.Error(err)
		}
		octets, messages = octets+o, messages+m
	}
	return octets, messages
}

func (w *world) check(when string) {
	w.t.Helper()
	o, m, err := w.quota.Domain(w.t.Context(), "x.test")
	if wo, wm := w.sum(); o != wo || m != wm || err != nil {
		w.t.Errorf("%s: %d octets, %d messages, %v; a recount says %d, %d", when, o, m, err, wo, wm)
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for range 10 {
		if _, err := w.deliver(1, 100); err != nil {
			t.Fatal(err)
		}
	}
	full, never := mail.Enhanced{4, 2, 2}, mail.Enhanced{5, 2, 2}
	for name, c := range map[string]struct {
		account, octets, messages, size int64
		want                            mail.Enhanced
	}{
		"no limits":                     {0, 0, 0, 1 << 40, mail.Enhanced{}},
		"an account with room":          {1500, 0, 0, 500, mail.Enhanced{}},
		"one octet too many":            {1500, 0, 0, 501, full},
		"an account that is full":       {1000, 0, 0, 0, full},
		"never":                         {1500, 0, 0, 1501, never},
		"a domain with room":            {0, 2000, 11, 1000, mail.Enhanced{}},
		"a domain without room":         {0, 2000, 0, 1001, full},
		"a domain with enough messages": {0, 0, 10, 0, full},
		"larger than the domain":        {0, 2000, 0, 2001, never},
		"the account's own comes first": {1000, 5000, 0, 1001, never},
		"overflow":                      {0, 1<<63 - 1, 0, 1<<63 - 1, full},
	} {
		w.people.domain.Quota, w.people.domain.MaxMessages = c.octets, c.messages
		a := w.people.accounts[1]
		a.Quota = c.account
		w.people.accounts[1] = a
		err := w.quota.Room(t.Context(), 1, c.size)
		var e *mail.Error
		if c.want == (mail.Enhanced{}) && err == nil {
			continue
		}
		if !errors.As(err, &e) || e.Kind != mail.OverQuota || e.Code != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := w.quota.Room(t.Context(), 77, 1); !mail.Is(err, mail.NotFound) {
		t.Errorf("an account that is not there: %v", err)
	}
}

// TestSumFollows has mail come and go at random, in several goroutines, while sums are made anew: whenever nothing is
// under way the sum equals a recount, without being made anew for that.
func TestSumFollows(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 6)
	if _, err := w.deliver(3, 500); err != nil {
		t.Fatal(err)
	}
	w.check("at first")
	for round := range 5 {
		var wg sync.WaitGroup
		for id := mail.AccountID(1); id <= 6; id++ {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(id), uint64(round)))
				var uids []store.UID
				for range 20 {
					if len(uids) > 0 && r.IntN(3) == 0 {
						if err := w.expunge(id, uids[len(uids)-1]); err != nil {
							t.Error(err)
						}
						uids = uids[:len(uids)-1]
						continue
					}
					uid, err := w.deliver(id, 20+r.IntN(500))
					if err != nil {
						t.Error(err)
					}
					uids = append(uids, uid)
				}
			})
		}
		wg.Go(func() {
			for range 20 {
				w.quota.Forget("x.test")
				if _, _, err := w.quota.Domain(t.Context(), "x.test"); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Wait()
		sums := w.people.sums
		w.check("after a round")
		if w.people.sums > sums+1 { // the recount's own
			t.Errorf("the sum was made anew")
		}
	}
}

// TestMembers has accounts come and go: the sum knows them once it is too old.
func TestMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	for _, id := range []mail.AccountID{1, 2} {
		if _, err := w.deliver(id, 300); err != nil {
			t.Fatal(err)
		}
	}
	w.check("at first")
	w.add(3)
	if _, err := w.deliver(3, 700); err != nil {
		t.Fatal(err)
	}
	delete(w.people.accounts, 1)
	if o, _, _ := w.quota.Domain(t.Context(), "x.test"); o != 600 {
		t.Errorf("%d octets before the refresh", o)
	}
	w.now = w.now.Add(31 * time.Second)
	w.check("after it")
	if _, err := w.deliver(3, 100); err != nil {
		t.Fatal(err)
	}
	if _, err := w.deliver(1, 100); err != nil { // no member any more
		t.Fatal(err)
	}
	w.check("and further on")
}
