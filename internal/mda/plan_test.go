package mda

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postel/internal/directory"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/store"
)

// tree is a directory of postel.test: a number is an account, anything else a list of aliases.
type tree map[string]string

func (d tree) Domain(_ context.Context, n mail.Domain) (directory.Domain, error) {
	if n == "postel.test" {
		return directory.Domain{Name: n}, nil
	}
	return directory.Domain{}, mail.E("dir", mail.NotFound, "not ours")
}

func (d tree) Lookup(_ context.Context, a mail.Address) (directory.Target, error) {
	if a.Domain == "down.test" {
		return directory.Target{}, mail.E("dir", mail.Unavailable, "down")
	}
	if a.Domain == "relay.test" {
		return directory.Target{Relay: true}, nil
	}
	user, detail := a.Fold().Sub()
	v, ok := d[user.Local]
	var id uint64
	switch _, err := fmt.Sscan(v, &id); {
	case !ok || a.Domain != "postel.test":
		return directory.Target{}, mail.E("dir", mail.NotFound, "who?")
	case err == nil:
		return directory.Target{Account: mail.AccountID(id), Detail: detail}, nil
	}
	var t directory.Target
	for w := range strings.FieldsSeq(v) {
		t.Alias = append(t.Alias, address(w))
	}
	return t, nil
}

func address(s string) mail.Address {
	if !strings.Contains(s, "@") {
		s += "@postel.test"
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// boxes is a store whose accounts have the same mailboxes; account 9 is gone, mailbox 7 too.
type boxes struct{ appended []store.Delivery }

func (*boxes) Mailbox(_ context.Context, a mail.AccountID, name string) (store.Mailbox, error) {
	switch {
	case a == 9:
	case name == "Archive", name == "Archive/a":
		return store.Mailbox{ID: 5, Name: name}, nil
	case name == "Outgoing", name == "Outgoing/a":
		return store.Mailbox{ID: 6, Name: name, Role: map[string]store.Role{"Outgoing": store.RoleSent}[name]}, nil
	}
	return store.Mailbox{}, mail.E("store", mail.NotFound, "no such mailbox")
}

func (*boxes) Mailboxes(_ context.Context, a mail.AccountID) ([]store.Mailbox, error) {
	if a == 9 {
		return nil, mail.E("store", mail.NotFound, "no such account")
	}
	return []store.Mailbox{{ID: 1, Name: "INBOX"}, {ID: 5, Name: "Archive"}, {ID: 8, Name: "Drafts", Role: store.RoleDrafts}}, nil
}

func (b *boxes) Append(_ kv.Tx, _ *store.Message, d store.Delivery) (store.Appended, error) {
	if d.Account == 9 || d.Mailbox == 7 {
		return store.Appended{}, mail.E("store", mail.NotFound, "gone")
	}
	b.appended = append(b.appended, d)
	return store.Appended{Account: d.Account, Mailbox: d.Mailbox}, nil
}

// show gives a plan as words.
func show(p Plan) string {
	var w []string
	for _, d := range p.Deliveries {
		w = append(w, fmt.Sprintf("%d:%d=%s", d.Account, d.Mailbox, d.Recipient.Address.Local))
	}
	for _, f := range p.Forwards {
		w = append(w, fmt.Sprintf("->%s(%s)", f.Recipient.Address, f.Via.Local))
	}
	for _, f := range p.Failures {
		w = append(w, fmt.Sprintf("!%s(%v)", f.Recipient.Address.Local, mail.KindOf(f.Err)))
	}
	return strings.Join(w, " ")
}

func TestPlan(t *testing.T) {
	t.Parallel()
	d := tree{
		"alice": "1", "bob": "2", "ghost": "9", "team": "alice bob me@far.test", "both": "team bob alice+x",
		"ring": "gnir", "gnir": "ring", "half": "alice nobody", "none": "nobody noone", "self": "self alice",
		"far": "me@far.test", "relayed": "x@relay.test", "seen": "alice", "many": strings.Repeat("q@far.test ", 1),
	}
	for i := range 15 {
		d[fmt.Sprint("d", i)] = fmt.Sprint("d", i+1)
	}
	d["d15"] = "alice"
	for i := range MaxTargets + 5 {
		d["many"] += fmt.Sprintf("m%d@far.test ", i)
	}
	for _, c := range []struct {
		to, want string
		err      mail.Kind
	}{
		{to: "alice", want: "1:0=alice"},
		{to: "Alice+Archive", want: "1:5=Alice+Archive"},
		{to: "alice+ARCHIVE", want: "1:5=alice+ARCHIVE"},
		{to: "alice+Archive/a", want: "1:5=alice+Archive/a"},
		{to: "alice+drafts", want: "1:0=alice+drafts"},
		{to: "alice+Outgoing", want: "1:0=alice+Outgoing"},
		{to: "alice+Outgoing/a", want: "1:0=alice+Outgoing/a"},
		{to: "alice+Other", want: "1:0=alice+Other"},
		{to: "ghost+Other", want: "9:0=ghost+Other"},
		{to: "x@far.test", want: "->x@far.test()"},
		{to: "x@relay.test", want: "->x@relay.test()"},
		{to: "team", want: "1:0=alice 2:0=bob ->me@far.test(team)"},
		{to: "both", want: "1:0=alice 2:0=bob ->me@far.test(team)"},
		{to: "half", want: "1:0=alice !nobody(not found)"},
		{to: "self", want: "1:0=alice"},
		{to: "far", want: "->me@far.test(far)"},
		{to: "relayed", want: "->x@relay.test(relayed)"},
		{to: "d6", want: "1:0=alice"},
		{to: "nobody", err: mail.NotFound},
		{to: "none", err: mail.NotFound},
		{to: "ring", err: mail.Loop},
		{to: "d0", err: mail.Loop},
		{to: "many", err: mail.Loop},
		{to: "x@down.test", err: mail.Unavailable},
		{to: "seen", err: mail.Loop},
	} {
		t.Run(c.to, func(t *testing.T) {
			t.Parallel()
			m := New(d, &boxes{})
			msg := Message{DeliveredTo: func(a mail.Address) bool { return a.Local == "seen" }}
			p, err := m.Plan(t.Context(), msg, mail.Recipient{Address: address(c.to)})
			if err != nil && mail.KindOf(err) != c.err || (err == nil) != (c.err == 0) {
				t.Fatal(err)
			}
			if err == nil && show(p) != c.want {
				t.Errorf("%s, want %s", show(p), c.want)
			}
		})
	}
}

// TestPlanKeepsOptions: what the sender asked of an alias holds for its targets, under the name the sender knows.
func TestPlanKeepsOptions(t *testing.T) {
	t.Parallel()
	m := New(tree{"far": "me@far.test"}, &boxes{})
	p, err := m.Plan(t.Context(), Message{}, mail.Recipient{Address: address("far"), Notify: mail.NotifyDelay})
	if err != nil {
		t.Fatal(err)
	}
	want := mail.Recipient{Address: address("me@far.test"), Notify: mail.NotifyDelay, Original: "rfc822;far@postel.test"}
	if got := p.Forwards[0].Recipient; got != want {
		t.Errorf("%+v", got)
	}
}

func TestCommit(t *testing.T) {
	t.Parallel()
	b := &boxes{}
	m := New(tree{}, b)
	at := time.Unix(1_800_000_000, 0)
	for _, d := range []Delivery{{Account: 1, Mailbox: 5}, {Account: 1, Mailbox: 7}, {Account: 9, Mailbox: 5}, {Account: 9}} {
		_, err := m.Commit(nil, nil, d, []byte("x: y\r\n"), at)
		if (d.Account == 9) != mail.Is(err, mail.NotFound) {
			t.Error(d, err)
		}
	}
	var got []store.MailboxID
	for _, d := range b.appended {
		got = append(got, d.Mailbox)
	}
	if !slices.Equal(got, []store.MailboxID{5, 0}) || !b.appended[0].InternalDate.Equal(at) {
		t.Errorf("%+v", b.appended)
	}
}

func TestPrefix(t *testing.T) {
	t.Parallel()
	to := mail.Address{Local: "a b", Domain: "postel.test"}
	if got := string(Prefix(mail.Address{}, to, []byte("Received: x\r\n"))); got !=
		"Return-Path: <>\r\nDelivered-To: \"a b\"@postel.test\r\nReceived: x\r\n" {
		t.Errorf("%q", got)
	}
}
