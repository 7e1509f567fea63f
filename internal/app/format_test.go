package app

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/check"
	"postel/internal/config"
	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

var makeFormat = flag.String("make-format", "", "write testdata/format-N.tar.gz and its listing anew; a released format is never made again")

// TestReleasedFormats opens a data directory of each released format, checks every row and body of it, and finds in it
// what was put there when it was made.
func TestReleasedFormats(t *testing.T) {
	t.Parallel()
	if *makeFormat != "" {
		writeFormat(t, *makeFormat)
	}
	archives, err := filepath.Glob("testdata/format-*.tar.gz")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no data of released formats: %v", err)
	}
	for _, archive := range archives {
		data := filepath.Join(t.TempDir(), "data")
		unpack(t, archive, data)
		n := openData(t, data)
		sum, err := n.check(t.Context(), check.Request{Bodies: true}, func(f mail.Finding) error {
			t.Errorf("%s: %s", archive, f)
			return nil
		})
		if err != nil || sum.Accounts == 0 {
			t.Errorf("%s: %+v, %v", archive, sum, err)
		}
		want, err := os.ReadFile(strings.TrimSuffix(archive, ".tar.gz") + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		if got := listing(t, n); got != string(want) {
			t.Errorf("%s has\n%s\nwant\n%s", archive, got, want)
		}
		if err := n.closeStorage(); err != nil {
			t.Error(err)
		}
	}
}

func openData(t *testing.T, data string) *node {
	t.Helper()
	c := config.Default()
	c.Data = data
	n, err := openStorage(t.Context(), Options{Config: c, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// listing tells all that a data directory holds, for people and for comparison.
func listing(t *testing.T, n *node) string {
	t.Helper()
	var b strings.Builder
	ctx := t.Context()
	domains, err := n.Domains(ctx)
	ok(t, err)
	for _, d := range domains {
		fmt.Fprintf(&b, "domain %s %s <%s>", d.Name, d.Kind, d.CatchAll)
		if callers := d.ETRN.Strings(); len(callers)+len(d.ODMR) > 0 {
			fmt.Fprintf(&b, " etrn %v odmr %v", callers, d.ODMR)
		}
		b.WriteString("\n")
	}
	for a, err := range n.Aliases(ctx) {
		ok(t, err)
		fmt.Fprintf(&b, "alias %s %v\n", a.Address, a.To)
	}
	for a, err := range n.Accounts(ctx) {
		ok(t, err)
		fmt.Fprintf(&b, "account %s %d quota %d", a.Address, a.ID, a.Quota)
		if len(a.SendAs) > 0 {
			fmt.Fprintf(&b, " writes as %v", a.SendAs)
		}
		b.WriteString("\n")
		listAccount(t, &b, n, a.ID)
	}
	items, _, err := n.queue.List(ctx, queue.Filter{Limit: 100})
	ok(t, err)
	for _, it := range items {
		fmt.Fprintf(&b, "queued %s to %s from <%s>", it.ID, it.Destination, it.From)
		if it.Parameters != (mail.Parameters{}) {
			p := it.Parameters
			fmt.Fprintf(&b, " body %d utf8 %t ret %s envid %s by %d hold %d priority %d tls %t", p.Body, p.UTF8, p.Return, p.EnvelopeID,
				p.By.Deadline.Unix(), p.Hold.Unix(), p.Priority, p.RequireTLS)
		}
		for _, r := range it.Recipients {
			fmt.Fprintf(&b, " <%s> %s", r.Address, r.State)
			if r.Notify != 0 {
				fmt.Fprintf(&b, " notify %d orcpt %s", r.Notify, r.Original)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func listAccount(t *testing.T, b *strings.Builder, n *node, a mail.AccountID) {
	t.Helper()
	boxes, err := n.store.Mailboxes(t.Context(), a)
	ok(t, err)
	for _, m := range boxes {
		v, err := n.store.Open(t.Context(), a, m.ID, true)
		ok(t, err)
		p, err := v.Latest(t.Context())
		ok(t, err)
		fmt.Fprintf(b, " mailbox %q %d role %q subscribed %t UIDNEXT %d keywords %q\n", m.Name, m.ID, m.Role, m.Subscribed, p.UIDNext(), p.Keywords())
		for _, e := range p.All() {
			mail, err := n.store.Email(t.Context(), a, e.Email)
			ok(t, err)
			r, err := n.store.OpenBody(t.Context(), mail, 0, -1)
			ok(t, err)
			h := sha256.New()
			_, err = io.Copy(h, r)
			ok(t, errors.Join(err, r.Close()))
			fmt.Fprintf(b, "  UID %d email %d-%d flags %x thread %d size %d subject %q sha256 %x\n",
				e.UID, e.Email, e.Copy, uint64(e.Flags), mail.Thread, e.Size, mail.Root.Envelope.Subject, h.Sum(nil)[:8])
		}
		v.Close()
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// writeFormat makes a data directory with something of everything.
func writeFormat(t *testing.T, name string) {
	t.Helper()
	ctx, data := t.Context(), filepath.Join(t.TempDir(), "data")
	n := openData(t, data)
	ok(t, n.AddDomain(ctx, directory.Domain{Name: "one.test", Kind: directory.Local}))
	callers, err := mail.ParseCallers([]string{"192.0.2.0/24", "alice@one.test"})
	ok(t, err)
	addr := func(s string) mail.Address { a, err := mail.ParseAddress(s); ok(t, err); return a }
	ok(t, n.AddDomain(ctx, directory.Domain{Name: "relay.test", Kind: directory.Relay, ETRN: callers}))
	ok(t, n.AddDomain(ctx, directory.Domain{Name: "demand.test", Kind: directory.Relay, ODMR: []mail.Address{addr("bob@one.test")}}))
	alice, err := n.AddAccount(ctx, addr("alice@one.test"), "secret", 1<<30)
	ok(t, err)
	bob, err := n.AddAccount(ctx, addr("bob@one.test"), "secret", 0)
	ok(t, err)
	ok(t, n.AddAlias(ctx, addr("all@one.test"), []mail.Address{alice.Address, bob.Address, addr("x@else.test")}))
	ok(t, n.AllowSendAs(ctx, bob.Address, addr("club@else.test"), true))
	box, err := n.store.Create(ctx, alice.ID, "Projekte/Ärger/2026", store.RoleNone)
	ok(t, err)
	for i := range 24 {
		id, m := alice.ID, []store.MailboxID{store.Inbox, box.ID, store.Inbox}[i%3]
		if i%5 == 4 {
			id, m = bob.ID, store.Inbox
		}
		text := fmt.Sprintf("From: <s%d@else.test>\r\nTo: <alice@one.test>\r\nSubject: number %d\r\nMessage-ID: <%d@else.test>\r\n"+
			"In-Reply-To: <%d@else.test>\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nGrüße %d\r\n", i, i, i, i/4, i)
		if i == 7 { // a large one, which is a file
			text += strings.Repeat("all work and no play makes a dull mail\r\n", 5000)
		}
		d := store.Delivery{
			Account: id, Mailbox: m, Prefix: []byte("Return-Path: <>\r\n"), Flags: store.Flags(i) & store.SystemFlags,
			InternalDate: time.Unix(1_790_000_000+int64(i), 0),
		}
		if i%6 == 0 {
			d.Keywords = []string{"$Forwarded", fmt.Sprintf("k%d", i)}
		}
		_, err := n.store.AppendOne(ctx, incoming(t, n, text), d)
		ok(t, err)
	}
	_, err = n.store.Copy(ctx, alice.ID, store.Inbox, []store.UID{1, 2, 4}, box.ID)
	ok(t, err)
	_, err = n.store.Move(ctx, alice.ID, store.Inbox, []store.UID{5}, 2)
	ok(t, err)
	_, err = n.store.Expunge(ctx, alice.ID, store.Inbox, []store.UID{3, 6})
	ok(t, err)
	ok(t, n.store.Delete(ctx, bob.ID, 5))
	for i, to := range []string{"x@far.test", "y@relay.test"} {
		enqueue(t, n, addr(to), i == 1)
	}
	list := listing(t, n)
	ok(t, n.closeStorage())
	ok(t, os.MkdirAll("testdata", 0o755))
	ok(t, os.WriteFile("testdata/format-"+name+".txt", []byte(list), 0o644))
	pack(t, data, "testdata/format-"+name+".tar.gz")
}

func incoming(t *testing.T, n *node, text string) *store.Message {
	t.Helper()
	in := n.store.Incoming(t.Context())
	t.Cleanup(in.Discard)
	_, err := io.WriteString(in, text)
	ok(t, err)
	m, err := in.Seal()
	ok(t, err)
	return m
}

func enqueue(t *testing.T, n *node, to mail.Address, held bool) {
	t.Helper()
	m := incoming(t, n, "From: <alice@one.test>\r\nSubject: out\r\n\r\nOut.\r\n")
	it := &queue.Item{
		ID: n.queue.NewID(string(to.Domain)), Destination: string(to.Domain), Blob: m.ID(), Size: m.Size(),
		From: mail.Address{Local: "alice", Domain: "one.test"}, Received: time.Now(), Submitted: true,
		Recipients: []queue.Recipient{{
			Recipient: mail.Recipient{Address: to, Notify: mail.NotifyDelay | mail.NotifyFailure, Original: "rfc822;" + to.String()},
			Due:       time.Now().Add(time.Hour),
		}},
		Parameters: mail.Parameters{
			Body: mail.Body8BitMIME, Return: "HDRS", EnvelopeID: "e 1", Priority: -3,
			By: mail.DeliverBy{Deadline: time.Unix(1_900_000_000, 0)}, Hold: time.Unix(1_800_000_000, 0),
		},
	}
	err := n.kv.Update(t.Context(), kv.Txn{Lock: []kv.Key{it.ID.Lock()}}, func(tx kv.Tx) error {
		return n.queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { n.store.Link(tx, m, o) })
	})
	ok(t, err)
	if held {
		ok(t, n.queue.Hold(context.WithoutCancel(t.Context()), it.ID))
	}
}

func pack(t *testing.T, dir, archive string) {
	t.Helper()
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	ok(t, err)
	w := tar.NewWriter(z)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "ballast" {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o600, Size: int64(len(content))}); err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	})
	ok(t, errors.Join(err, w.Close(), z.Close(), os.WriteFile(archive, b.Bytes(), 0o644)))
	if b.Len() > 300<<10 {
		t.Errorf("%s has %d octets", archive, b.Len())
	}
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	ok(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	ok(t, err)
	r := tar.NewReader(z)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		ok(t, err)
		path := filepath.Join(dir, filepath.FromSlash(h.Name))
		ok(t, os.MkdirAll(filepath.Dir(path), 0o700))
		content, err := io.ReadAll(io.LimitReader(r, 64<<20))
		ok(t, err)
		ok(t, os.WriteFile(path, content, 0o600))
	}
}
