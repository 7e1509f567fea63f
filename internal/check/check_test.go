package check_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"postel/internal/check"
	"postel/internal/kv"
	"postel/internal/mail"
)

// damage is one row of a kind that is scribbled over or taken away, and what is to be said of it.
type damage struct {
	name   string
	row    func(w *world, a mail.AccountID) kv.Key // of which the first from there on is hurt
	gone   bool
	part   string // of the finding
	text   string // in it
	lost   string // what the repair says is lost; "" is nothing
	beyond bool
}

func of(p kv.Prefix) func(*world, mail.AccountID) kv.Key {
	return func(_ *world, a mail.AccountID) kv.Key { return kv.K(p).Account(a) }
}

func all(p kv.Prefix) func(*world, mail.AccountID) kv.Key {
	return func(*world, mail.AccountID) kv.Key { return kv.K(p) }
}

func kinds() []damage {
	return []damage{
		{name: "mailbox", row: of(kv.Mailboxes), part: "mailboxes", text: "the row of INBOX is damaged"},
		{name: "mailbox with a name", row: func(_ *world, a mail.AccountID) kv.Key { return kv.K(kv.Mailboxes).Account(a).U32(2) }, part: "mailboxes", text: "its row is damaged", lost: "its name"},
		{name: "account's counters", row: of(kv.Counters), part: "counters", text: "the account's counters are damaged"},
		{name: "account's counters, gone", row: of(kv.Counters), gone: true, part: "counters", text: "the account's counters are damaged or missing"},
		{name: "mailbox's counters", row: of(kv.BoxCounters), part: "counters", text: "the mailbox's counters are damaged"},
		{name: "entry", row: of(kv.Entries), part: "entries", text: "its row was damaged", lost: "its flags"},
		{name: "email", row: of(kv.Emails), part: "emails", text: "row is damaged", lost: "a message that is in no mailbox"},
		{name: "email in a mailbox", row: func(_ *world, a mail.AccountID) kv.Key { return kv.K(kv.Emails).Account(a).U64(3) }, part: "emails", text: "the message's row is damaged", lost: "header lines"},
		{name: "where", row: of(kv.Where), part: "where", text: "is not what is noted"},
		{name: "where, gone", row: of(kv.Where), gone: true, part: "where", text: "is not what is noted"},
		{name: "thread", row: of(kv.Threads), gone: true, part: "threads", text: "its thread does not have it"},
		{name: "reference", row: of(kv.References), part: "references", text: "is damaged"},
		{name: "keywords", row: of(kv.Keywords), part: "keywords", text: "damaged or missing", lost: "the names of 1 keywords"},
		{name: "log", row: of(kv.Log), part: "counters", text: "the change log is damaged"},
		{name: "expunged", row: of(kv.Expunged), part: "expunged", text: "the message comes back", lost: "its flags, and where it was"},
		{name: "account", row: of(kv.Accounts), part: "directory", text: "the account's row is damaged", lost: "its quota"},
		{name: "password", row: of(kv.Credentials), part: "directory", text: "its password's rows are damaged", lost: "its password", beyond: true},
		{name: "address", row: all(kv.Directory), part: "directory", text: "the row of the address alice@a.test is damaged"},
		{name: "domain", row: all(kv.Domains), part: "directory", text: "the row of the domain a.test is damaged", lost: "its kind"},
		{name: "secret", row: func(*world, mail.AccountID) kv.Key { return kv.K(kv.Server).Text("directory") }, part: "directory", text: "the directory's secret is damaged"},
		{name: "next account", row: func(*world, mail.AccountID) kv.Key { return kv.K(kv.Server).Text("accounts") }, part: "directory", text: "the next account's number is damaged"},
		{name: "queue's item", row: all(kv.QueueItems), part: "queue", text: "a row of the queue cannot be read", lost: "-"},
		{name: "queue's recipient", row: all(kv.QueueRcpts), part: "queue", text: "a row of the queue cannot be read", lost: "-"},
		{name: "queue's schedule", row: all(kv.QueueDue), gone: true, part: "queue", text: "item"},
		{name: "queue's destination", row: all(kv.QueueDomains), gone: true, part: "queue", text: "item"},
		{name: "text index", row: of(kv.TextState), part: "text index", text: ""},
	}
}

// hurt damages a row and gives its key.
func (w *world) hurt(d damage, a mail.AccountID) {
	w.t.Helper()
	from := d.row(w, a)
	var key kv.Key
	w.ok(w.kv.View(w.t.Context(), nil, func(r kv.Reader) error {
		for row, err := range r.Scan(from, nil, kv.ScanOptions{Limit: 1, KeysOnly: true}) {
			key = slices.Clone(row.Key)
			return err
		}
		return nil
	}))
	if len(key) < 2 || string(key[:2]) != string(from[:2]) {
		w.t.Fatalf("%s: there is no such row", d.name)
	}
	w.ok(w.kv.Update(w.t.Context(), kv.Txn{}, func(tx kv.Tx) error {
		if d.gone {
			tx.Delete(key)
		} else {
			tx.Set(key, []byte{0xee})
		}
		return nil
	}))
}

func (d damage) in(found []mail.Finding) (f mail.Finding, ok bool) {
	i := slices.IndexFunc(found, func(f mail.Finding) bool { return f.Part == d.part && strings.Contains(f.String(), d.text) })
	if i < 0 {
		return f, false
	}
	return found[i], true
}

func lines(found []mail.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "\n  %s (%s)", f, f.State)
	}
	return b.String()
}

// TestEachKindOfRow damages a row of each kind, one at a time. A check names it and changes nothing; a repair mends it and
// says what it could not bring back; behind it all is well but for what is beyond repair, and the other account has its
// mail as it was.
func TestEachKindOfRow(t *testing.T) {
	t.Parallel()
	for _, d := range kinds() {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.indexed()
			if found := w.check(check.Request{Bodies: true}); len(found) > 0 {
				t.Fatalf("before:%s", lines(found))
			}
			was := w.mails(w.bob)
			w.hurt(d, w.alice)
			before := w.rows()
			found := w.check(check.Request{Bodies: true})
			f, ok := d.in(found)
			if !ok {
				t.Fatalf("want %s: %q, found:%s", d.part, d.text, lines(found))
			}
			if want := map[bool]mail.Mend{false: mail.Mendable, true: mail.Beyond}[d.beyond]; f.State != want {
				t.Errorf("%s is %s, not %s", f, f.State, want)
			}
			if !maps.Equal(before, w.rows()) {
				t.Error("a check changed something")
			}
			d.repaired(w)
			if now := w.mails(w.bob); !slices.Equal(was, now) {
				t.Errorf("the other account has %d messages, not %d as they were", len(now), len(was))
			}
		})
	}
}

// repaired repairs and looks at what is said and what is left.
func (d damage) repaired(w *world) {
	w.t.Helper()
	found := w.check(check.Request{Repair: true})
	lost := ""
	for _, f := range found {
		lost += f.Lost
		if f.State != mail.Mended && (f.State != mail.Beyond || !d.beyond) {
			w.t.Errorf("the repair leaves %s (%s)", f, f.State)
		}
	}
	if d.lost != "-" && (d.lost == "") != (lost == "") || d.lost != "-" && !strings.Contains(lost, d.lost) {
		w.t.Errorf("lost %q, want %q; found:%s", lost, d.lost, lines(found))
	}
	left := w.check(check.Request{Bodies: true})
	if !d.beyond && len(left) > 0 || d.beyond && len(left) != 1 {
		w.t.Errorf("behind the repair:%s", lines(left))
	}
}

func (w *world) indexed() {
	w.t.Helper()
	for _, a := range []mail.AccountID{w.alice, w.bob} {
		w.ok(w.index.Rebuild(w.t.Context(), a))
	}
}

// TestNeverStops damages a row of every kind at once, in both accounts: all are named, not only those up to the first, and
// one repair mends what can be.
func TestNeverStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.indexed()
	// The same rows in another way, and the one from which the account's row is made anew.
	skip := []string{"mailbox with a name", "account's counters", "email", "where, gone", "address"}
	var hurt []damage
	for _, d := range kinds() {
		if slices.Contains(skip, d.name) {
			continue
		}
		hurt = append(hurt, d)
		w.hurt(d, w.alice)
	}
	for _, d := range []damage{{name: "bob's mailbox", row: of(kv.Mailboxes)}, {name: "bob's entry", row: of(kv.Entries)}} {
		w.hurt(d, w.bob)
	}
	found := w.check(check.Request{Bodies: true})
	// What can only be judged by what is damaged itself comes to light once that is mended.
	hidden := map[string]string{
		"entry": "where tells which message it was", "reference": "a damaged email may keep it", "password": "its account's row is damaged",
	}
	for _, d := range hurt {
		if _, ok := d.in(found); !ok && hidden[d.name] == "" {
			t.Errorf("%s is not named: %q", d.name, d.text)
		}
	}
	for part, a := range map[string]mail.AccountID{"mailboxes": w.bob, "entries": w.bob} {
		if !slices.ContainsFunc(found, func(f mail.Finding) bool { return f.AccountID == a && f.Part == part }) {
			t.Errorf("nothing is said of the %s of the second account", part)
		}
	}
	w.check(check.Request{Repair: true})
	left := w.check(check.Request{Bodies: true})
	if len(left) != 1 || left[0].State != mail.Beyond || !strings.HasPrefix(left[0].Lost, "its password") {
		t.Errorf("behind the repair:%s", lines(left))
	}
}

// TestBodies: a body that is damaged where it lies, in its row or in its file, is beyond repair, and each place of the
// message is named with what is left of it.
func TestBodies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	e, err := w.store.Email(t.Context(), w.alice, 3) // in INBOX, and copied
	w.ok(err)
	key := kv.K(kv.Blobs).ID(e.Blob)
	w.ok(w.kv.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockBlob(e.Blob)}}, func(tx kv.Tx) error {
		v, err := tx.Get(key)
		if err != nil {
			return err
		}
		v = slices.Clone(v)
		v[len(v)-1] ^= 0x10
		tx.Set(key, v)
		return nil
	}))
	large, err := w.store.Email(t.Context(), w.bob, 6)
	w.ok(err)
	w.ok(w.large.Remove(t.Context(), large.Blob))
	for _, repair := range []bool{false, true} {
		found := w.check(check.Request{Bodies: true, Repair: repair})
		got := map[string]bool{}
		for _, f := range found {
			if f.State != mail.Beyond || !strings.Contains(f.Lost, "its envelope and structure remain") {
				t.Errorf("%s (%s)", f, f.State)
			}
			got[fmt.Sprintf("%s %s %d", f.Account, f.Mailbox, f.UID)] = true
		}
		want := map[string]bool{"alice@a.test INBOX 2": true, "alice@a.test work 4": true, "bob@a.test work 3": true}
		if !maps.Equal(got, want) {
			t.Errorf("repair %v:%s", repair, lines(found))
		}
	}
}

// broken is a room that cannot be looked at.
type broken struct {
	check.Directory
	err error
}

func (b broken) Verify(context.Context, bool) ([]mail.Finding, error) { return nil, b.err }

func (b broken) Check(context.Context, mail.AccountID) ([]string, error) { return nil, b.err }

func (b broken) Rebuild(context.Context, mail.AccountID) error { return b.err }

// TestRoomsThatCannotBeChecked: a room that fails is a finding, and the others are checked; what stops everything, and who
// listens no more, end the check.
func TestRoomsThatCannotBeChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hurt(damage{name: "item", row: all(kv.QueueItems)}, 0)
	o := w.options()
	run := func(err, told error) (sum check.Summary, parts []string, failed error) {
		o.Format, o.Directory, o.Index = broken{err: err}, broken{w, err}, broken{err: err}
		sum, failed = check.Run(t.Context(), o, check.Request{}, func(f mail.Finding) error {
			parts = append(parts, f.Part)
			return told
		})
		return sum, slices.Compact(parts), failed
	}
	sum, parts, err := run(mail.E("test", mail.Internal, "broken"), nil)
	if err != nil || sum.Accounts != 2 || sum.Beyond != 4 || !slices.Equal(parts, []string{"format", "directory", "text index", "queue"}) {
		t.Errorf("%+v %q %v", sum, parts, err)
	}
	if sum, _, err := run(mail.E("test", mail.Unavailable, "gone"), nil); !mail.Is(err, mail.Unavailable) || sum.Accounts != 0 {
		t.Errorf("%+v %v", sum, err)
	}
	stop := errors.New("stop")
	if sum, _, err := run(mail.E("test", mail.Internal, "broken"), stop); !errors.Is(err, stop) || sum.Found != 1 {
		t.Errorf("%+v %v", sum, err)
	}
}

// TestOneAccount checks what was asked for and nothing else.
func TestOneAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.hurt(damage{name: "bob's where", row: of(kv.Where)}, w.bob)
	w.hurt(damage{name: "item", row: all(kv.QueueItems)}, 0)
	if found := w.check(check.Request{Account: w.alice}); len(found) > 0 {
		t.Errorf("found:%s", lines(found))
	}
	if found := w.check(check.Request{Account: w.bob}); len(found) != 1 || found[0].Account != "bob@a.test" {
		t.Errorf("found:%s", lines(found))
	}
	_, err := check.Run(t.Context(), w.options(), check.Request{Account: 99}, func(mail.Finding) error { return nil })
	if err != nil && !mail.Is(err, mail.NotFound) {
		t.Error(err)
	}
}
