package store

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/mail"
)

const text = "From: Alice <alice@example.org>\r\nTo: Bob <bob@example.net>\r\nSubject: %s\r\nMessage-ID: <%s@example.org>\r\n" +
	"Date: Mon, 23 Nov 2026 14:00:00 +0000\r\n\r\nHello %s.\r\n"

// world is a store in memory; in tests under Strict.
type world struct {
	*Store
	kv kv.Store
	t  testing.TB
}

func newWorld(t testing.TB) *world {
	t.Helper()
	k := openRows(t)
	t.Cleanup(func() { _ = k.Close() })
	if _, ok := t.(*testing.T); ok {
		return worldOn(t, kvtest.Strict(k, kvtest.Options{Report: t.Error}))
	}
	return worldOn(t, k)
}

func worldOn(t testing.TB, k kv.Store) *world {
	t.Helper()
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k})}), kv: k, t: t}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func (w *world) account(a mail.AccountID) {
	w.t.Helper()
	err := w.kv.Update(ctx(w.t), kv.Txn{Lock: lockOf(a)}, func(tx kv.Tx) error { return w.InitAccount(tx, a) })
	if err != nil {
		w.t.Fatal(err)
	}
}

func ctx(t testing.TB) context.Context { return t.Context() }

func (w *world) message(s string) *Message {
	w.t.Helper()
	in := w.Incoming(ctx(w.t))
	w.t.Cleanup(in.Discard)
	if _, err := io.WriteString(in, s); err != nil {
		w.t.Fatal(err)
	}
	m, err := in.Seal()
	if err != nil {
		w.t.Fatal(err)
	}
	return m
}

func hello(id string) string { return fmt.Sprintf(text, "About "+id, id, id) }

func (w *world) append(a mail.AccountID, m MailboxID, id string, f Flags) Appended {
	w.t.Helper()
	ap, err := w.AppendOne(ctx(w.t), w.message(hello(id)), Delivery{Account: a, Mailbox: m, Prefix: []byte("Return-Path: <>\r\n"), Flags: f})
	if err != nil {
		w.t.Fatal(err)
	}
	return ap
}

func (w *world) check(a mail.AccountID) {
	w.t.Helper()
	found, err := w.Check(ctx(w.t), a)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range found {
		w.t.Error(f)
	}
}

func TestLifeOfAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	v, err := w.Open(ctx(t), 1, Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	ap := w.append(1, Inbox, "one", Seen)
	select {
	case <-v.Changed():
	case <-time.After(5 * time.Second):
		t.Fatal("no notice")
	}
	p, err := v.Latest(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	if p.Len() != 1 || p.At(1).UID != ap.UID || p.At(1).Flags != Seen || p.ModSeq() != ap.ModSeq {
		t.Fatalf("%+v", p.At(1))
	}
	e, err := w.Email(ctx(t), 1, p.At(1).Email)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.OpenBody(ctx(t), e, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil || string(b) != "Return-Path: <>\r\n"+hello("one") || int64(len(b)) != e.Size {
		t.Fatalf("%q %v", b, err)
	}
	if got := string(b[e.Root.BodyStart:e.Root.End]); got != "Hello one.\r\n" || e.Root.Envelope.Subject != "About one" {
		t.Fatalf("%q", got)
	}
	w.check(1)
	gone, err := w.Expunge(ctx(t), 1, Inbox, []UID{ap.UID, 77})
	if err != nil || len(gone) != 1 {
		t.Fatal(gone, err)
	}
	q, err := v.Latest(ctx(t))
	if err != nil || q.Len() != 0 {
		t.Fatal(q, err)
	}
	if d := Diff(p, q); len(d.Expunged) != 1 {
		t.Fatal(d)
	}
	w.check(1)
	if _, err := w.OpenBody(ctx(t), e, 40, 5); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "\x00") {
		t.Fatal()
	}
}
