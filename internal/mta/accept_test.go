package mta

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"postel/internal/mail"
	"postel/internal/vfs"
)

func TestAcceptMixed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.initAccounts(alice, bob)
	f.mustAccept("x@far.test", "alice@postel.test", "Alice@postel.test", "Carol@remote.test", "dave@remote.test",
		"carol@other.test", "who@relay.test", "bob@postel.test", "Carol@remote.test")
	want := "Return-Path: <x@far.test>\r\nDelivered-To: alice@postel.test\r\nReceived: by test\r\n" + sample
	if got := f.mailbox(alice, "INBOX"); len(got) != 1 || got[0] != want {
		t.Errorf("alice has %q", got)
	}
	if got := f.mailbox(bob, "INBOX"); len(got) != 1 {
		t.Errorf("bob has %q", got)
	}
	var got []string
	for _, it := range f.items() {
		for _, r := range it.Recipients {
			got = append(got, it.Destination+" "+r.Address.String())
		}
		if string(it.Prefix) != "Received: by test\r\n" || it.Size != int64(len(it.Prefix)+len(sample)) {
			t.Errorf("%q %d", it.Prefix, it.Size)
		}
	}
	slices.Sort(got)
	wantItems := []string{
		"other.test carol@other.test", "relay.test who@relay.test", "remote.test Carol@remote.test",
		"remote.test dave@remote.test",
	}
	if !slices.Equal(got, wantItems) {
		t.Errorf("queued %q", got)
	}
	f.verify()
}

func TestAcceptAlias(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.initAccounts(alice, bob)
	msg := f.mustAccept("x@far.test", "team@postel.test", "bob@postel.test")
	if a, b := f.mailbox(alice, "INBOX"), f.mailbox(bob, "INBOX"); len(a) != 1 || len(b) != 1 {
		t.Error(a, b)
	}
	items := f.items()
	if len(items) != 1 || items[0].Recipients[0].Address.String() != "carol@remote.test" ||
		string(items[0].Prefix) != "Delivered-To: team@postel.test\r\nReceived: by test\r\n" {
		t.Errorf("%+v", items)
	}
	want := []string{"filed alice@postel.test", "filed bob@postel.test", "queued carol@remote.test"}
	if got := f.events(msg.ID()); !slices.Equal(got, want) {
		t.Error(got)
	}
}

func TestAcceptSubaddress(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.initAccounts(alice, bob)
	f.mustAccept("", "alice+archive@postel.test")
	f.mustAccept("", "alice+Nothing@postel.test")
	if a, i := f.mailbox(alice, "Archive"), f.mailbox(alice, "INBOX"); len(a) != 1 || len(i) != 1 ||
		!strings.HasPrefix(a[0], "Return-Path: <>\r\nDelivered-To: alice+archive@postel.test\r\n") {
		t.Errorf("%q %q", a, i)
	}
	msg := f.mustAccept("", "alice@postel.test", "alice+x@postel.test", "ALICE@postel.test") // one copy, both are told of
	want := []string{"filed alice@postel.test", "filed alice+x@postel.test"}
	if got := f.events(msg.ID()); !slices.Equal(got, want) || len(f.mailbox(alice, "INBOX")) != 2 {
		t.Error(got)
	}
}

func TestAcceptFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		to   []string
		each bool
		ours bool        // submitted by a user
		want []mail.Kind // Internal stands for taken
		err  mail.Kind
		left []string // "code address" of what is queued with a verdict
	}{
		{name: "one", to: []string{"nobody@postel.test"}, err: mail.NotFound},
		{name: "each", to: []string{"nobody@postel.test", "alice@postel.test"}, each: true, want: []mail.Kind{mail.NotFound, 0}},
		{name: "some", to: []string{"nobody@postel.test", "alice@postel.test"}, want: []mail.Kind{0, 0}, left: []string{"550 nobody@postel.test"}},
		{name: "half", to: []string{"half@postel.test"}, want: []mail.Kind{0}, left: []string{"550 nobody@postel.test"}},
		{name: "ring", to: []string{"ring@postel.test"}, err: mail.Loop},
		{name: "loop", to: []string{"bob@postel.test"}, err: mail.Loop},
		// No report with a stranger's content goes to whoever he says that he is.
		{name: "provoked", to: []string{"alice@postel.test", "bob@postel.test"}, err: mail.Loop},
		{name: "user", to: []string{"alice@postel.test", "bob@postel.test"}, ours: true, want: []mail.Kind{0, 0}, left: []string{"554 bob@postel.test"}},
		{name: "member", to: []string{"team@postel.test"}, err: mail.Loop},
		{name: "user to members", to: []string{"team@postel.test"}, ours: true, want: []mail.Kind{0}, left: []string{"554 bob@postel.test", "0 carol@remote.test"}},
		{name: "gone", to: []string{"alice@postel.test", "ghost@postel.test"}, want: []mail.Kind{0, 0}, left: []string{"550 ghost@postel.test"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem(), nil)
			f.dir.accounts["ghost@postel.test"] = 99
			f.initAccounts(alice, bob)
			errs, err := f.Accept(t.Context(), Incoming{
				Envelope: envelope("x@far.test", c.to...), Message: f.message(sample),
				Each: c.each, Submitted: c.ours, DeliveredTo: func(a mail.Address) bool { return a.Local == "bob" },
			})
			if (err != nil) != (c.err != 0) || err != nil && mail.KindOf(err) != c.err {
				t.Fatal(err)
			}
			for i, k := range c.want {
				if (errs[i] != nil) != (k != 0) || k != 0 && mail.KindOf(errs[i]) != k {
					t.Errorf("recipient %d: %v", i, errs[i])
				}
			}
			var left []string
			for _, it := range f.items() {
				for _, r := range it.Recipients {
					left = append(left, fmt.Sprint(r.Last.Code, " ", r.Address))
				}
			}
			if !slices.Equal(left, c.left) {
				t.Error(left)
			}
			f.verify()
		})
	}
}

// TestAcceptMany: accounts beyond what one transaction locks wait in the queue and are delivered from there.
func TestAcceptMany(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	const n = 40
	var to []string
	var ids []mail.AccountID
	for i := range mail.AccountID(n) {
		name := fmt.Sprintf("u%d@postel.test", i)
		to, ids = append(to, name), append(ids, 100+i)
		f.dir.accounts[name] = 100 + i
	}
	f.initAccounts(ids...)
	f.mustAccept("x@far.test", to...)
	if items := f.items(); len(items) != n-maxAccounts || !items[0].Local() {
		t.Fatal(len(items))
	}
	f.start()
	until(t, "all are delivered", func() bool { return len(f.items()) == 0 })
	for i, a := range ids {
		got := f.mailbox(a, "INBOX")
		want := "Return-Path: <x@far.test>\r\nDelivered-To: " + to[i] + "\r\nReceived: by test\r\n" + sample
		if len(got) != 1 || got[0] != want {
			t.Fatalf("%d: %q", a, got)
		}
	}
	f.verify()
}

func BenchmarkAcceptLocal(b *testing.B) {
	f := newFixture(b, vfs.NewMem(), nil)
	f.initAccounts(alice, bob)
	e := envelope("x@far.test", "alice@postel.test")
	body := sample + strings.Repeat("some text of a body\r\n", 200)
	b.ReportAllocs()
	for b.Loop() {
		msg := f.message(body)
		if _, err := f.Accept(b.Context(), Incoming{Envelope: e, Message: msg, Trace: []byte("Received: by test\r\n")}); err != nil {
			b.Fatal(err)
		}
		msg.Discard()
	}
}

// TestItemsOfVERP: a message that goes to each recipient in a transaction of its own waits in small items.
func TestItemsOfVERP(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	var to []string
	for i := range 25 {
		to = append(to, fmt.Sprintf("u%d@remote.test", i))
	}
	msg := f.message(sample)
	defer msg.Discard()
	if _, err := f.Accept(t.Context(), Incoming{Envelope: envelope("x@postel.test", to...), Message: msg, Bulk: true, VERP: true}); err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, it := range f.items() {
		sizes = append(sizes, len(it.Recipients))
	}
	slices.Sort(sizes)
	if !slices.Equal(sizes, []int{5, 10, 10}) {
		t.Errorf("items of %v recipients", sizes)
	}
}
