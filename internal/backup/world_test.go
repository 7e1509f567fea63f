package backup

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/directory"
	"postel/internal/directory/local"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
	"postel/internal/vfs"
)

// dir gives the directory as app does.
type dir struct{ *local.Directory }

func (d dir) Accounts(ctx context.Context) (all []directory.Account, err error) {
	for a, err := range d.Directory.Accounts(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// server is the storage of one.
type server struct {
	Rooms
	t   testing.TB
	kv  kv.Store
	dir *local.Directory
	fs  vfs.FS // of large bodies
}

func newServer(t testing.TB) *server {
	t.Helper()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	s := &server{t: t, kv: k, fs: vfs.NewMem()}
	large, err := file.New(file.Options{FS: s.fs, Dir: "blobs"})
	if err != nil {
		t.Fatal(err)
	}
	s.Blobs = blob.New(blob.Options{KV: k, Large: large})
	s.Store = store.New(store.Options{KV: k, Blobs: s.Blobs, Keep: time.Hour})
	t.Cleanup(func() { _ = s.Store.Close() })
	s.Queue = queue.New(queue.Options{KV: k, Blobs: s.Blobs})
	s.dir, err = local.New(t.Context(), local.Options{KV: k, Hash: local.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	s.Directory, s.IDs, s.Clock = dir{s.dir}, &mail.IDs{}, time.Now
	return s
}

func (s *server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func address(s string) mail.Address {
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

func (s *server) account(addr string) mail.AccountID {
	s.t.Helper()
	s.must(s.dir.EnsureDomain(s.t.Context(), directory.Domain{Name: address(addr).Domain, Kind: directory.Local}))
	p, err := s.dir.PrepareAccount(s.t.Context(), local.NewAccount{Address: address(addr), Password: "secret", Quota: 1 << 30})
	s.must(err)
	s.must(s.kv.Update(s.t.Context(), kv.Txn{Lock: p.Locks()}, func(tx kv.Tx) error {
		if err := s.dir.AddAccount(tx, p); err != nil {
			return err
		}
		return s.Store.InitAccount(tx, p.ID())
	}))
	return p.ID()
}

func letterText(n string, size int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "From: <a@example.org>\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n\r\n", n, n)
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "%s %x\r\n", n, kv.Hash64(fmt.Sprint(n, i)))
	}
	return b.String()
}

// append puts a message into a mailbox.
func (s *server) append(a mail.AccountID, m store.MailboxID, n string, size int, flags store.Flags, keywords ...string) store.Appended {
	s.t.Helper()
	in := s.Store.Incoming(s.t.Context())
	defer in.Discard()
	_, err := io.WriteString(in, letterText(n, size))
	s.must(err)
	msg, err := in.Seal()
	s.must(err)
	ap, err := s.Store.AppendOne(s.t.Context(), msg, store.Delivery{
		Account: a, Mailbox: m, Flags: flags, Keywords: keywords, Prefix: []byte("Return-Path: <>\r\n"), InternalDate: time.Unix(1_700_000_000, 0),
	})
	s.must(err)
	return ap
}

// enqueue adds an item to the queue.
func (s *server) enqueue(n string) queue.ID {
	s.t.Helper()
	in := s.Store.Incoming(s.t.Context())
	defer in.Discard()
	_, err := io.WriteString(in, letterText(n, 500))
	s.must(err)
	msg, err := in.Seal()
	s.must(err)
	it := &queue.Item{
		ID: s.Queue.NewID("example.net"), Destination: "example.net", Blob: msg.ID(), Size: msg.Size(), Received: time.Now(),
		Recipients: []queue.Recipient{{Recipient: mail.Recipient{Address: address(n + "@example.net")}, Due: time.Now().Add(time.Hour)}},
	}
	s.must(s.kv.Update(s.t.Context(), kv.Txn{Lock: it.Locks()}, func(tx kv.Tx) error {
		return s.Queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { s.Store.Link(tx, msg, o) })
	}))
	return it.ID
}

// content is the mail of an account, as clients see it: by mailbox and UIDL. withUIDs adds UIDs.
func (s *server) content(addr string, withUIDs bool) map[string]string {
	s.t.Helper()
	ctx := s.t.Context()
	acc, err := s.dir.AccountOf(ctx, address(addr))
	s.must(err)
	all := map[string]string{}
	boxes, err := s.Store.Mailboxes(ctx, acc.ID)
	s.must(err)
	for _, b := range boxes {
		all[b.Name] = fmt.Sprint(b.Role, b.Subscribed)
		v, err := s.Store.Open(ctx, acc.ID, b.ID, true)
		s.must(err)
		p, err := v.Latest(ctx)
		s.must(err)
		for _, x := range p.All() {
			e, err := s.Store.Email(ctx, acc.ID, x.Email)
			s.must(err)
			r, err := s.Store.OpenBody(ctx, e, 0, -1)
			s.must(err)
			text, err := io.ReadAll(r)
			s.must(err)
			_ = r.Close()
			key := fmt.Sprintf("%s %d-%d", b.Name, x.Email, x.Copy)
			if withUIDs {
				key += fmt.Sprint(" ", x.UID)
			}
			all[key] = fmt.Sprint(x.Flags, p.Keywords(), e.InternalDate.Unix(), e.Thread, len(text), kv.Hash64(string(text)))
		}
		v.Close()
	}
	return all
}

func (s *server) check(addrs ...string) {
	s.t.Helper()
	for _, addr := range addrs {
		acc, err := s.dir.AccountOf(s.t.Context(), address(addr))
		s.must(err)
		found, err := s.Store.Check(s.t.Context(), acc.ID)
		s.must(err)
		links, err := s.Store.CheckLinks(s.t.Context(), acc.ID)
		s.must(err)
		for _, f := range append(found, links...) {
			s.t.Error(addr, f)
		}
	}
	problems, err := s.Queue.Check(s.t.Context(), nil)
	s.must(err)
	for _, p := range problems {
		s.t.Error(p)
	}
}

// backup writes an archive.
func (s *server) backup(o Order) []byte {
	s.t.Helper()
	var b bytes.Buffer
	s.must(Write(s.t.Context(), s.Rooms, o, &b))
	return b.Bytes()
}

func open(t testing.TB, name string, b []byte) *Archive {
	t.Helper()
	a, err := Open(name, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

func chainOf(t testing.TB, archives ...[]byte) Chain {
	t.Helper()
	var list []*Archive
	for i, b := range archives {
		list = append(list, open(t, fmt.Sprint("archive ", i), b))
	}
	c, err := NewChain(list)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// restore brings back what is selected.
func (s *server) restore(c Chain, sel Selection, to Target) (Restored, Selected) {
	s.t.Helper()
	var b bytes.Buffer
	found, err := c.Stream(&b, sel)
	s.must(err)
	done, err := Apply(s.t.Context(), s.Rooms, to, &b)
	s.must(err)
	return done, found
}

func same(t testing.TB, what string, got, want map[string]string) {
	t.Helper()
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			t.Errorf("%s: %s is %q, was %q", what, k, got[k], want[k])
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s is %q, was not there", what, k, got[k])
		}
	}
}

func queueState(state string) queue.Filter { return queue.Filter{State: state} }
