package check_test

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
	"postel/internal/check"
	"postel/internal/directory"
	"postel/internal/directory/local"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/queue"
	"postel/internal/search"
	"postel/internal/store"
	"postel/internal/vfs"
)

// world is everything that keeps something, with two accounts that have mail, and a queue.
type world struct {
	t     *testing.T
	kv    *pebble.Store
	blobs *blob.Store
	store *store.Store
	queue *queue.Queue
	dir   *local.Directory
	index *search.Index
	large blob.Large
	alice mail.AccountID
	bob   mail.AccountID
}

const inlineMax = 2000 // larger bodies are files

func newWorld(t *testing.T) *world {
	t.Helper()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, kv: k}
	large, err := file.New(file.Options{FS: vfs.NewMem(), Dir: "blobs"})
	if err != nil {
		t.Fatal(err)
	}
	w.large = large
	w.blobs = blob.New(blob.Options{KV: k, Large: large, InlineMax: inlineMax})
	w.store = store.New(store.Options{KV: k, Blobs: w.blobs, Keep: time.Hour})
	w.queue = queue.New(queue.Options{KV: k, Blobs: w.blobs})
	if w.dir, err = local.New(t.Context(), local.Options{KV: k, Hash: local.HashCost{MemoryKiB: 64, Passes: 1, Lanes: 1}, Iterations: 10_000}); err != nil {
		t.Fatal(err)
	}
	w.index = search.New(search.Options{KV: k, Source: texts{w.store}, Least: 1})
	t.Cleanup(func() { _, _ = w.store.Close(), k.Close() })
	w.ok(w.dir.AddDomain(t.Context(), directory.Domain{Name: "a.test", Kind: directory.Local}))
	w.alice, w.bob = w.account("alice"), w.account("bob")
	w.item()
	return w
}

// texts is a search.Source.
type texts struct{ s *store.Store }

func (t texts) Emails(ctx context.Context, a mail.AccountID, after uint64, n int) (list []uint64, err error) {
	ids, err := t.s.EmailIDs(ctx, a, store.EmailID(after), n)
	for _, id := range ids {
		list = append(list, uint64(id))
	}
	return list, err
}

func (t texts) Count(ctx context.Context, a mail.AccountID) (int64, error) {
	_, n, err := t.s.Usage(ctx, a)
	return n, err
}

func (t texts) Texts(ctx context.Context, a mail.AccountID, emails []uint64, fn func(int, search.Each) error) error {
	ids := make([]store.EmailID, len(emails))
	for i, e := range emails {
		ids[i] = store.EmailID(e)
	}
	return t.s.EachTexts(ctx, a, ids, func(i int, each func(func(message.Piece) bool) error) error { return fn(i, each) })
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// account makes one with six messages in two mailboxes, copies, a thread, a keyword, and one that was expunged.
func (w *world) account(name string) mail.AccountID {
	w.t.Helper()
	p, err := w.dir.PrepareAccount(w.t.Context(), local.NewAccount{Address: mail.Address{Local: name, Domain: "a.test"}, Password: "secret"})
	w.ok(err)
	w.ok(w.kv.Update(w.t.Context(), kv.Txn{Lock: p.Locks()}, func(tx kv.Tx) error {
		return errors.Join(w.dir.AddAccount(tx, p), w.store.InitAccount(tx, p.ID()))
	}))
	box, err := w.store.Create(w.t.Context(), p.ID(), "work", store.RoleNone)
	w.ok(err)
	for i := range 7 {
		size := 100
		if i == 5 {
			size = 3 * inlineMax
		}
		d := store.Delivery{Account: p.ID(), Keywords: []string{"Label"}[:(i+1)%2]}
		if i%2 == 1 {
			d.Mailbox = box.ID
		}
		w.deliver(fmt.Sprintf("%s-%d", name, i), size, d)
	}
	_, err = w.store.Copy(w.t.Context(), p.ID(), store.Inbox, []store.UID{2}, box.ID)
	w.ok(err)
	_, err = w.store.Expunge(w.t.Context(), p.ID(), store.Inbox, []store.UID{1})
	w.ok(err)
	return p.ID()
}

func (w *world) message(name string, size int) *store.Message {
	w.t.Helper()
	in := w.store.Incoming(w.t.Context())
	_, err := fmt.Fprintf(in, "From: x@a.test\r\nSubject: %s\r\nMessage-ID: <%s@a.test>\r\nReferences: <first@a.test>\r\n\r\n%s\r\n",
		name, name, strings.Repeat(name+"\r\n", size/(len(name)+2)))
	w.ok(err)
	m, err := in.Seal()
	w.ok(err)
	return m
}

func (w *world) deliver(name string, size int, d store.Delivery) {
	w.t.Helper()
	m := w.message(name, size)
	defer m.Discard()
	_, err := w.store.AppendOne(w.t.Context(), m, d)
	w.ok(err)
}

// item puts a message for two recipients elsewhere into the queue.
func (w *world) item() {
	w.t.Helper()
	m := w.message("queued", 50)
	defer m.Discard()
	it := &queue.Item{
		ID: w.queue.NewID("b.test"), Destination: "b.test", Blob: m.ID(), Size: m.Size(),
		From: mail.Address{Local: "alice", Domain: "a.test"}, Received: time.Now(),
	}
	for i := range 2 {
		it.Recipients = append(it.Recipients, queue.Recipient{
			Recipient: mail.Recipient{Address: mail.Address{Local: fmt.Sprint("r", i), Domain: "b.test"}}, Due: time.Now(),
		})
	}
	w.ok(w.kv.Update(w.t.Context(), kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error {
		return w.queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { w.store.Link(tx, m, o) })
	}))
}

// Verify and AddressOf are check.Directory's.
func (w *world) Verify(ctx context.Context, mend bool) ([]mail.Finding, error) {
	return w.dir.Verify(ctx, mend, w.store)
}

func (w *world) AddressOf(ctx context.Context, a mail.AccountID) mail.Address {
	acc, err := w.dir.Account(ctx, a)
	if err != nil {
		return mail.Address{}
	}
	return acc.Address
}

func (w *world) options() check.Options {
	return check.Options{Store: w.store, Blobs: w.blobs, Queue: w.queue, Directory: w, Index: w.index}
}

func (w *world) check(q check.Request) (found []mail.Finding) {
	w.t.Helper()
	sum, err := check.Run(w.t.Context(), w.options(), q, func(f mail.Finding) error {
		found = append(found, f)
		return nil
	})
	w.ok(err)
	if sum.Found != len(found) {
		w.t.Errorf("%+v of %d findings", sum, len(found))
	}
	return found
}

// rows gives all rows, by key.
func (w *world) rows() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	w.ok(w.kv.View(w.t.Context(), nil, func(r kv.Reader) error {
		for row, err := range r.Scan(nil, nil, kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			all[string(row.Key)] = string(row.Value)
		}
		return nil
	}))
	return all
}

// mails gives what an account's mailboxes hold.
func (w *world) mails(a mail.AccountID) (all []string) {
	w.t.Helper()
	boxes, err := w.store.Mailboxes(w.t.Context(), a)
	w.ok(err)
	for _, b := range boxes {
		v, err := w.store.Open(w.t.Context(), a, b.ID, true)
		w.ok(err)
		p, err := v.Latest(w.t.Context())
		w.ok(err)
		for _, e := range p.All() {
			m, err := w.store.Email(w.t.Context(), a, e.Email)
			w.ok(err)
			r, err := w.store.OpenBody(w.t.Context(), m, 0, -1)
			w.ok(err)
			text, err := io.ReadAll(r)
			w.ok(errors.Join(err, r.Close()))
			all = append(all, fmt.Sprintf("%s %d %s", b.Name, e.UID, text))
		}
		v.Close()
	}
	return all
}
