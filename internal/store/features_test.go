package store

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postel/internal/blob"
	"postel/internal/bus/local"
	"postel/internal/kv"
	"postel/internal/kv/kvtest"
	"postel/internal/mail"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"inbox": "INBOX", "InBoX/Sub": "INBOX/Sub", "inboxes": "inboxes", "a/inbox": "a/inbox", "a/": "a", "Grüße": "Grüße",
		"": "", "/": "", "/a": "", "a//b": "", "a//": "", "a\x00b": "", "a\u0085b": "", "a\xffb": "", "a\r\nb": "",
		strings.Repeat("x", MaxName): strings.Repeat("x", MaxName), strings.Repeat("x", MaxName+1): "",
		strings.Repeat("a/", MaxDepth-1) + "a": strings.Repeat("a/", MaxDepth-1) + "a",
		strings.Repeat("a/", MaxDepth) + "a":   "",
	} {
		got, err := CleanName(in)
		if got != want || (want == "") != mail.Is(err, mail.Invalid) {
			t.Errorf("CleanName(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
}

func TestMailboxOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for _, n := range []string{"a/b", "a b", "inbox/z", "A"} {
		if _, err := w.Create(ctx(t), 1, n, RoleNone); err != nil {
			t.Fatal(err)
		}
	}
	all, err := w.Mailboxes(ctx(t), 1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range all {
		names = append(names, b.Name)
	}
	want := []string{"INBOX", "INBOX/z", "A", "Archive", "Drafts", "Junk", "Sent", "Trash", "a", "a/b", "a b"}
	if !slices.Equal(names, want) {
		t.Errorf("%q\nwant %q", names, want)
	}
	if _, err := w.Create(ctx(t), 1, "x", RoleInbox); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	if b, err := w.Mailbox(ctx(t), 1, "iNbOx"); err != nil || b.ID != Inbox || !b.Subscribed || b.Role != RoleInbox {
		t.Error(b, err)
	}
	if _, err := w.Mailboxes(ctx(t), 99); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

// TestMailboxAgain: who found a mailbox before finds what has the name now.
func TestMailboxAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	find := func(name string, before Mailbox, want MailboxID) Mailbox {
		t.Helper()
		m, err := w.MailboxAgain(ctx(t), 1, name, before)
		if want == 0 && !mail.Is(err, mail.NotFound) || want != 0 && (err != nil || m.ID != want) {
			t.Errorf("%s: %+v, %v, want %d", name, m, err, want)
		}
		return m
	}
	first, err := w.Create(ctx(t), 1, "lists/go", RoleNone)
	if err != nil {
		t.Fatal(err)
	}
	before := find("lists/go", Mailbox{}, first.ID)
	find("lists/go", before, first.ID)
	find("INBOX", before, Inbox)
	if err := w.Rename(ctx(t), 1, first.ID, "old"); err != nil {
		t.Fatal(err)
	}
	find("lists/go", before, 0)
	second, err := w.Create(ctx(t), 1, "lists/go", RoleNone)
	if err != nil {
		t.Fatal(err)
	}
	before = find("lists/go", before, second.ID)
	find("old", before, first.ID)
	if err := w.Delete(ctx(t), 1, second.ID); err != nil {
		t.Fatal(err)
	}
	find("lists/go", before, 0)
}

// TestRecent: a message is recent in one session (RFC 3501 §2.3.2), and EXAMINE takes nothing away.
func TestRecent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	w.append(1, Inbox, "a", 0)
	recent := func(readOnly bool) (*View, UID) {
		v, err := w.Open(ctx(t), 1, Inbox, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		return v, v.RecentFrom()
	}
	status := func(want uint32) {
		t.Helper()
		if st, err := w.Status(ctx(t), 1, Inbox); err != nil || st.Recent != want {
			t.Errorf("recent %d, want %d (%v)", st.Recent, want, err)
		}
		w.check(1)
	}
	status(1)
	v, from := recent(true)
	if from != 1 {
		t.Error(from)
	}
	v.Close()
	status(1)
	v1, from := recent(false)
	if from != 1 {
		t.Error(from)
	}
	status(0)
	w.append(1, Inbox, "b", 0)
	if _, err := v1.Latest(ctx(t)); err != nil {
		t.Fatal(err)
	}
	v2, from := recent(false) // b was announced to v1
	if from != 3 {
		t.Error(from)
	}
	w.append(1, Inbox, "c", 0)
	v1.Close()
	v2.Close()
	status(1)
	v3, from := recent(false)
	if from != 3 {
		t.Error(from)
	}
	w.append(1, Inbox, "d", 0)
	w.append(1, Inbox, "e", 0)
	if _, err := v3.Latest(ctx(t)); err != nil {
		t.Fatal(err)
	}
	w.append(1, Inbox, "f", 0)
	v3.Close()
	v3.Close()
	status(1) // f: v3 was shown d and e
	if w.open.close(); len(w.open.boxes) != 0 {
		t.Error("the last View left its mailbox behind")
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	w.o.Quota = func(context.Context, mail.AccountID, int64) (int64, error) { return 400, nil }
	w.append(1, Inbox, "a", 0)
	w.append(1, Inbox, "b", 0)
	_, err := w.AppendOne(ctx(t), w.message(hello("c")), Delivery{Account: 1})
	if !mail.Is(err, mail.OverQuota) {
		t.Fatal(err)
	}
	if _, err := w.Copy(ctx(t), 1, Inbox, []UID{1}, 2); err != nil {
		t.Fatal(err)
	}
	size := int64(len("Return-Path: <>\r\n") + len(hello("a")))
	if b, n, err := w.Usage(ctx(t), 1); b != 2*size || n != 2 || err != nil {
		t.Error(b, n, err)
	}
	if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{1, 2}); err != nil {
		t.Fatal(err)
	}
	if b, n, err := w.Usage(ctx(t), 1); b != size || n != 1 || err != nil {
		t.Error(b, n, err)
	}
}

func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for name, c := range map[string]struct {
		d    Delivery
		kind mail.Kind
	}{
		"account": {Delivery{Account: 2}, mail.NotFound},
		"mailbox": {Delivery{Account: 1, Mailbox: 77}, mail.NotFound},
		"prefix":  {Delivery{Account: 1, Prefix: make([]byte, MaxPrefix+1)}, mail.TooLarge},
		"keyword": {Delivery{Account: 1, Keywords: []string{"a b"}}, mail.Invalid},
		"long":    {Delivery{Account: 1, Keywords: []string{strings.Repeat("k", MaxKeyword+1)}}, mail.Invalid},
	} {
		if _, err := w.AppendOne(ctx(t), w.message(hello("a")), c.d); !mail.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := range MaxKeywords {
		if _, err := w.AppendOne(ctx(t), w.message(hello("a")), Delivery{Account: 1, Keywords: []string{fmt.Sprint("k", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.SetFlags(ctx(t), 1, Inbox, []UID{1}, Add, 0, []string{"one-too-many"}); !mail.Is(err, mail.TooMany) {
		t.Error(err)
	}
	if err := w.SetFlags(ctx(t), 1, Inbox, []UID{1}, Remove, 0, []string{"unknown"}); err != nil {
		t.Error(err)
	}
	if err := w.SetFlags(ctx(t), 1, Inbox, []UID{1}, Replace, 1<<63|1<<40, []string{"K57"}); err != nil {
		t.Error(err)
	}
	v, err := w.Open(ctx(t), 1, Inbox, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p, _ := v.Latest(ctx(t))
	if p.At(1).Flags != 1<<63 || p.Keywords()[57] != "k57" {
		t.Errorf("%x %q", p.At(1).Flags, p.Keywords())
	}
	w.check(1)
}

// TestUIDsRunOut: the last UID is given, then no more.
func TestUIDsRunOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	err := w.change(ctx(t), 1, []MailboxID{Inbox}, func(c *change) error {
		c.boxes[0].uidNext, c.boxes[0].dirty = lastUID-1, true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if ap := w.append(1, Inbox, "a", 0); ap.UID != lastUID-1 {
		t.Fatal(ap)
	}
	if _, err := w.AppendOne(ctx(t), w.message(hello("b")), Delivery{Account: 1}); !mail.Is(err, mail.TooMany) {
		t.Fatal(err)
	}
	w.steps.copy = 0
	if _, err := w.Copy(ctx(t), 1, Inbox, []UID{lastUID - 1}, Inbox); !mail.Is(err, mail.TooMany) {
		t.Fatal(err)
	}
	w.check(1)
}

func TestThreads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	thread := func(id, more string) uint64 {
		ap, err := w.AppendOne(ctx(t), w.message(more+hello(id)), Delivery{Account: 1})
		if err != nil {
			t.Fatal(err)
		}
		e, err := w.Email(ctx(t), 1, ap.Email)
		if err != nil {
			t.Fatal(err)
		}
		return e.Thread
	}
	a := thread("a", "")
	if b := thread("b", "In-Reply-To: <A@example.ORG>\r\n"); b != a {
		t.Error("a reply is in another thread")
	}
	if c := thread("c", "References: <unknown@x> <b@example.org> <lost@x>\r\n"); c != a {
		t.Error("a reply to what is lost is in another thread than its grandparent")
	}
	if d := thread("d", "In-Reply-To: <lost@x>\r\n"); d != a {
		t.Error("siblings of a lost parent are in different threads")
	}
	x := thread("x", "In-Reply-To: <late@example.org>\r\n")
	if late := thread("late", ""); late != x || x == a {
		t.Error("a parent that comes late is in another thread")
	}
	if o := thread("o", "References: "+strings.Repeat(" <many@y>", 500)+"\r\n"); o == a || o == x {
		t.Error("what has nothing in common shares a thread")
	}
	w.check(1)
	if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{1, 2, 3, 4, 5, 6, 7}); err != nil {
		t.Fatal(err)
	}
	w.check(1)
	if again := thread("b", "In-Reply-To: <a@example.org>\r\n"); again == a {
		t.Error("a thread lives on after its last message")
	}
	w.check(1)
}

// TestDeclared: Append reads what AppendReads says, and nothing else.
func TestDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	s := worldOn(t, kvtest.Strict(w.kv, kvtest.Options{Report: t.Error, Declared: true}))
	m := s.message("In-Reply-To: <a@x>\r\nReferences: <a@x> <b@x>\r\n" + hello("a"))
	for _, d := range []Delivery{{Account: 1}, {Account: 1, Mailbox: 2, Keywords: []string{"k"}}} {
		if _, err := s.AppendOne(ctx(t), m, d); err != nil {
			t.Error(err)
		}
	}
}

// TestBody reads ranges across the border between prefix and blob.
func TestBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	ap, err := w.AppendOne(ctx(t), w.message("Subject: x\r\n\r\nabc"), Delivery{Account: 1, Prefix: []byte("A: b\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.Email(ctx(t), 1, ap.Email)
	if err != nil {
		t.Fatal(err)
	}
	whole := "A: b\r\nSubject: x\r\n\r\nabc"
	for off := range int64(len(whole) + 2) {
		for n := int64(-1); n < int64(len(whole)+2); n++ {
			r, err := w.OpenBody(ctx(t), e, off, n)
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			if n%2 == 0 {
				_, err = io.Copy(struct{ io.Writer }{&got}, struct{ io.Reader }{r})
			} else {
				_, err = io.Copy(&got, r)
			}
			from := min(int(off), len(whole))
			to := len(whole)
			if n >= 0 {
				to = min(from+int(n), to)
			}
			if err != nil || got.String() != whole[from:to] {
				t.Fatalf("%d octets from %d: %q, %v", n, off, got.String(), err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := w.OpenBody(ctx(t), e, -1, 3); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
}

// TestLargeTree: a tree that is too large for its row is computed from the blob when it is read.
func TestLargeTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	var b strings.Builder
	b.WriteString("Content-Type: multipart/mixed; boundary=x\r\nSubject: many\r\n\r\n")
	for i := range 2000 {
		fmt.Fprintf(&b, "--x\r\nContent-Type: text/plain; name=part%d\r\n\r\n%d\r\n", i, i)
	}
	b.WriteString("--x--\r\n")
	m := w.message(b.String())
	if m.tree != nil {
		t.Fatal("the tree is not large")
	}
	ap, err := w.AppendOne(ctx(t), m, Delivery{Account: 1, Prefix: []byte("A: b\r\n")})
	if err != nil {
		t.Fatal(err)
	}
	emails, err := w.Emails(ctx(t), 1, []EmailID{99, ap.Email})
	if err != nil || emails[0] != nil {
		t.Fatal(emails, err)
	}
	if root := emails[1].Root; len(root.Children) != 2000 || root.Envelope.Subject != "many" || root.End != emails[1].Size {
		t.Errorf("%+v", root)
	}
	again, err := w.FromBlob(ctx(t), m.ID())
	if err != nil || again.Size() != m.Size() || !cmp.Equal(again.Root(), m.Root()) {
		t.Error("a message read again is not the same", err)
	}
	w.check(1)
}

// TestHeavyTakeTurns: large trees are in memory a few at a time; small ones wait for nobody.
func TestHeavyTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	many := w.message("Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\ny\r\n", maxParts+1))
	large, err := w.AppendOne(ctx(t), many, Delivery{Account: 1})
	if err != nil {
		t.Fatal(err)
	}
	small, err := w.AppendOne(ctx(t), w.message("Subject: small\r\n\r\n"), Delivery{Account: 1})
	if err != nil {
		t.Fatal(err)
	}
	for range maxHeavy {
		w.heavy <- struct{}{}
	}
	soon, cancel := context.WithTimeout(ctx(t), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Emails(soon, 1, []EmailID{large.Email}); !mail.Is(err, mail.Busy) {
		t.Error(err)
	}
	if _, err := w.Emails(ctx(t), 1, []EmailID{small.Email}); err != nil {
		t.Error(err)
	}
	<-w.heavy
	for range 3 {
		if e, err := w.Email(ctx(t), 1, large.Email); err != nil || len(e.Root.Children) != maxParts+1 {
			t.Error(err)
		}
	}
}

// TestEmails reads emails that lie together and apart, there and not, once and twice.
func TestEmails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for i := range 40 {
		w.append(1, Inbox, fmt.Sprint(i+1), 0)
	}
	if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{7, 8, 20}); err != nil {
		t.Fatal(err)
	}
	gone := []EmailID{7, 8, 20, 41, 99, 0, 1 << 50}
	for _, ids := range [][]EmailID{
		{},
		{1},
		{7},
		{1, 2, 3},
		{6, 7, 8, 9},
		{7, 8},
		{1, 3, 5, 5, 5, 7, 9},
		{40, 41},
		{0, 1},
		{39, 99},
		{3, 2, 1, 7, 40, 1},
		{1, 30, 40},
		{1 << 50},
		{1<<64 - 1},
	} {
		emails, err := w.Emails(ctx(t), 1, ids)
		if err != nil || len(emails) != len(ids) {
			t.Fatal(ids, len(emails), err)
		}
		for i, e := range emails {
			missing := slices.Contains(gone, ids[i]) || ids[i] > 1<<50
			if missing != (e == nil) || e != nil && (e.ID != ids[i] || e.Root.Envelope.Subject != fmt.Sprint("About ", ids[i])) {
				t.Errorf("%v: %d is %+v", ids, ids[i], e)
			}
		}
	}
}

// TestFromBlob delivers what the queue holds a link of.
func TestFromBlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	m := w.message(hello("queued"))
	item := blob.Owner{Kind: blob.QueueItem, A: 1, ID: 1}
	must := func(lock []kv.Key, fn func(kv.Tx) error) {
		t.Helper()
		if err := w.kv.Update(ctx(t), kv.Txn{Lock: lock}, fn); err != nil {
			t.Fatal(err)
		}
	}
	must([]kv.Key{kv.LockQueueItem(1)}, func(tx kv.Tx) error { w.Link(tx, m, item); return nil })
	m.Discard()
	again, err := w.FromBlob(ctx(t), m.ID())
	if err != nil {
		t.Fatal(err)
	}
	var ap Appended
	must([]kv.Key{kv.LockQueueItem(1), kv.LockAccount(1), kv.LockBlob(m.ID())}, func(tx kv.Tx) (err error) {
		if ap, err = w.Append(tx, again, Delivery{Account: 1}); err != nil {
			return err
		}
		return w.o.Blobs.Unlink(tx, m.ID(), item)
	})
	w.Notify(ap)
	w.check(1)
	if _, err := w.FromBlob(ctx(t), mail.ID{}); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

func TestDeleteAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	w.account(2)
	w.append(2, Inbox, "other", 0)
	for i := range 5 {
		w.append(1, MailboxID(1+i%3), fmt.Sprint(i), 0)
	}
	v, err := w.Open(ctx(t), 1, Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := w.DeleteAccount(ctx(t), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Latest(ctx(t)); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	if _, err := w.AppendOne(ctx(t), w.message(hello("late")), Delivery{Account: 1}); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	err = w.kv.View(ctx(t), []kv.Key{kv.LockAccount(1)}, func(r kv.Reader) error {
		for _, tab := range kv.Tables() {
			from := kv.K(tab.Prefix).Account(1)
			if tab.Prefix == kv.BlobLinks {
				from = kv.K(tab.Prefix)
			}
			for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
				if a, _, ok := linkOwner(row.Key); err != nil || !ok || a != 2 {
					t.Errorf("%q is left (%v)", row.Key, err)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	w.check(2)
	if err := w.DeleteAccount(ctx(t), 1); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}

func TestMaildrop(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	release, err := w.LockMaildrop(ctx(t), 1)
	if _, again := w.LockMaildrop(ctx(t), 1); err != nil || !mail.Is(again, mail.Busy) {
		t.Error("two sessions have the maildrop", err, again)
	}
	if _, err := w.LockMaildrop(ctx(t), 2); err != nil {
		t.Error("another maildrop is locked", err)
	}
	release()
	release()
	if _, err := w.LockMaildrop(ctx(t), 1); err != nil {
		t.Error("the maildrop is not released", err)
	}
}

// TestTwoNodes: two stores over the same rows see each other's changes by the bus.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	b := local.New()
	node := func() *world {
		n := &world{kv: w.kv, t: t, Store: New(Options{KV: w.kv, Blobs: w.o.Blobs, Bus: b, Shared: true})}
		t.Cleanup(func() { _ = n.Close() })
		return n
	}
	one, two := node(), node()
	v, err := two.Open(ctx(t), 1, Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range 3 {
		one.append(1, Inbox, fmt.Sprint(i), 0)
		deadline := time.After(10 * time.Second)
		for {
			p, err := v.Latest(ctx(t))
			if err != nil {
				t.Fatal(err)
			}
			if p.Len() == i+1 {
				break
			}
			select {
			case <-v.Changed():
			case <-deadline:
				t.Fatal("no notice of the other node")
			}
		}
	}
	if err := one.Delete(ctx(t), 1, 2); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Open(ctx(t), 1, 2, true); !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
	w.check(1)
}

// TestDamage: Check finds each kind of damage.
func TestDamage(t *testing.T) {
	t.Parallel()
	const uid, email, seq = 1, 1, 2
	for name, do := range map[string]func(kv.Tx){
		"counters": func(tx kv.Tx) { r := boxRow{validity: 1, uidNext: 9}; tx.Set(keyBox(1, Inbox), r.encode()) },
		"entry":    func(tx kv.Tx) { tx.Set(keyEntry(1, Inbox, uid), []byte("??")) },
		"stray":    func(tx kv.Tx) { r := entryRow{email: 77}; tx.Set(keyEntry(1, Inbox, 1<<20), r.encode()) },
		"where":    func(tx kv.Tx) { tx.Delete(keyWhere(1, email)) },
		"email":    func(tx kv.Tx) { tx.Delete(keyEmail(1, email)) },
		"log":      func(tx kv.Tx) { tx.Delete(keyLog(1, seq)) },
		"thread":   func(tx kv.Tx) { tx.Set(keyThread(1, 7, 8), nil) },
		"ref":      func(tx kv.Tx) { tx.Set(keyReference(1, 7), referenceRow{7, 7}.encode()) },
		"mailbox":  func(tx kv.Tx) { tx.Set(keyMailbox(1, 2), mailboxRow{name: "INBOX"}.encode()) },
		"box":      func(tx kv.Tx) { tx.Delete(keyBox(1, 2)) },
		"account":  func(tx kv.Tx) { r := accountRow{modSeq: 1}; tx.Set(keyCounters(1), r.encode()) },
	} {
		w := newWorld(t)
		w.account(1)
		if ap := w.append(1, Inbox, "a", 0); ap.UID != uid || ap.Email != email || ap.ModSeq != seq {
			t.Fatal(ap)
		}
		err := w.kv.Update(ctx(t), kv.Txn{Lock: lockOf(1)}, func(tx kv.Tx) error { do(tx); return nil })
		if err != nil {
			t.Fatal(err)
		}
		found, err := w.Check(ctx(t), 1)
		if err != nil || len(found) == 0 {
			t.Errorf("%s: %q %v", name, found, err)
		}
	}
	w := newWorld(t)
	w.account(1)
	ap := w.append(1, Inbox, "a", 0)
	err := w.kv.Update(ctx(t), kv.Txn{Lock: lockOf(1)}, func(tx kv.Tx) error {
		tx.Set(keyEntry(1, Inbox, ap.UID), []byte("??"))
		tx.Set(keyEmail(1, ap.Email), []byte{2})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Open(ctx(t), 1, Inbox, true); !mail.Is(err, mail.Internal) {
		t.Error(err)
	}
	if _, err := w.Email(ctx(t), 1, ap.Email); !mail.Is(err, mail.Internal) {
		t.Error(err)
	}
	if len(w.open.boxes) != 0 {
		t.Error("a failed Open left its mailbox behind")
	}
}
