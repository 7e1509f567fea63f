package store

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// populated is a store with two accounts, several mailboxes, copies, threads, keywords, holes, and a mailbox that is
// gone.
func populated(t *testing.T) *world {
	t.Helper()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	w := worldOn(t, k)
	w.populate()
	return w
}

func (w *world) populate() {
	t := w.t
	t.Helper()
	for a := mail.AccountID(1); a <= 2; a++ {
		w.account(a)
		for i := range 40 {
			m := w.message(fmt.Sprintf("From: <a@example.org>\r\nSubject: n %d\r\nMessage-ID: <%d.%d@x>\r\nIn-Reply-To: <%d.%d@x>\r\n\r\nBody %d\r\n", i, a, i, a, i/3, i))
			d := Delivery{Account: a, Mailbox: MailboxID(1 + i%3), Prefix: []byte("Return-Path: <>\r\n"), Flags: Flags(i) & SystemFlags}
			if i%5 == 0 {
				d.Keywords = []string{fmt.Sprintf("kw%d", i)}
			}
			if _, err := w.AppendOne(ctx(t), m, d); err != nil {
				t.Fatal(err)
			}
		}
		some := []UID{2, 3, 5, 7}
		if _, err := w.Copy(ctx(t), a, 1, some, 4); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Copy(ctx(t), a, 1, some, 4); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Move(ctx(t), a, 2, []UID{1, 4}, 5); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Expunge(ctx(t), a, 3, []UID{1, 13}); err != nil {
			t.Fatal(err)
		}
	}
}

// content is all mail of an account as clients see it.
func (w *world) content(a mail.AccountID, withFlags bool) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	boxes, err := w.Mailboxes(ctx(w.t), a)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range boxes {
		v, err := w.Open(ctx(w.t), a, b.ID, true)
		if err != nil {
			w.t.Fatal(err)
		}
		p, err := v.Latest(ctx(w.t))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range p.All() {
			key := fmt.Sprintf("%s/%d", b.Name, e.UID)
			all[key] = fmt.Sprint(e.Email, "-", e.Copy, " ", w.read(a, e.Email))
			if withFlags {
				all[key] += fmt.Sprint(e.Flags, p.Keywords())
			}
		}
		v.Close()
	}
	return all
}

func (w *world) read(a mail.AccountID, id EmailID) string {
	w.t.Helper()
	e, err := w.Email(ctx(w.t), a, id)
	if err != nil {
		return err.Error()
	}
	r, err := w.OpenBody(ctx(w.t), e, 0, -1)
	if err != nil {
		return err.Error()
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// set changes rows behind the store's back.
func (w *world) set(rows ...fix) {
	w.t.Helper()
	err := w.kv.Update(ctx(w.t), kv.Txn{}, func(tx kv.Tx) error {
		for _, f := range rows {
			if f.value == nil {
				tx.Delete(f.key)
			} else {
				tx.Set(f.key, f.value)
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// rows gives all rows of a table of an account.
func (w *world) rows(p kv.Prefix, a mail.AccountID) (rows []fix) {
	w.t.Helper()
	from := kv.K(p).Account(a)
	err := w.kv.View(ctx(w.t), lockOf(a), func(r kv.Reader) error {
		rows = nil
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			rows = append(rows, fix{slices.Clone(row.Key), append([]byte{}, row.Value...)})
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return rows
}

// repair repairs an account and proves that nothing is left to repair. It gives what was lost.
func (w *world) repair(a mail.AccountID) (lost []string) {
	w.t.Helper()
	found, err := w.Repair(ctx(w.t), a)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range found {
		if f.State != mail.Mended {
			w.t.Errorf("%s: %s", f.State, f)
		}
		if f.Lost != "" {
			lost = append(lost, f.String())
		}
	}
	w.check(a)
	return lost
}

// TestRepairDerived deletes and scribbles over everything that is derived, at random, and wants all of the mail back
// as it was, with its flags.
func TestRepairDerived(t *testing.T) {
	t.Parallel()
	seeds := uint64(8)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		w := populated(t)
		w.check(1)
		rnd := rand.New(rand.NewPCG(seed, 1))
		before, other := w.content(1, true), w.content(2, true)
		v, err := w.Open(ctx(t), 1, Inbox, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []kv.Prefix{kv.Where, kv.Threads, kv.References, kv.Log, kv.BoxCounters, kv.Counters} {
			for _, row := range w.rows(p, 1) {
				switch rnd.IntN(5) {
				case 0:
					row.value = nil
				case 1:
					row.value = []byte("scribble")
				case 2:
					if len(row.value) > 0 {
						row.value[rnd.IntN(len(row.value))] ^= 1 << rnd.IntN(8)
					}
				default:
					continue
				}
				w.set(row)
			}
		}
		w.repair(1)
		v.Close()
		if now := w.content(1, true); !maps.Equal(before, now) {
			t.Errorf("seed %d: what is there differs: %s", seed, firstDifference(before, now))
		}
		if now := w.content(2, true); !maps.Equal(other, now) {
			t.Errorf("seed %d: the other account differs", seed)
		}
		w.usable(1)
	}
}

func firstDifference(a, b map[string]string) string {
	for k, v := range a {
		if b[k] != v {
			return fmt.Sprintf("%s was %q and is %q", k, v, b[k])
		}
	}
	for k, v := range b {
		if _, ok := a[k]; !ok {
			return fmt.Sprintf("%s is new: %q", k, v)
		}
	}
	return ""
}

// usable works with an account after a repair.
func (w *world) usable(a mail.AccountID) {
	w.t.Helper()
	before, err := w.Status(ctx(w.t), a, Inbox)
	if err != nil {
		w.t.Fatal(err)
	}
	ap := w.append(a, Inbox, "after", 0)
	if ap.UID < before.UIDNext {
		w.t.Errorf("UID %d is below UIDNEXT", ap.UID)
	}
	if _, err := w.Copy(ctx(w.t), a, Inbox, []UID{ap.UID}, 2); err != nil {
		w.t.Error(err)
	}
	if _, err := w.Expunge(ctx(w.t), a, Inbox, []UID{ap.UID}); err != nil {
		w.t.Error(err)
	}
	w.check(a)
}

// TestRepairCounters takes away what UIDNEXT and MODSEQ rest on: they never step back, and UIDVALIDITY rises when
// UIDNEXT cannot be proven.
func TestRepairCounters(t *testing.T) {
	t.Parallel()
	for _, keepLog := range []bool{true, false} {
		w := populated(t)
		// The newest of INBOX goes: only the log remembers its UID.
		if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{14}); err != nil {
			t.Fatal(err)
		}
		before, err := w.Status(ctx(t), 1, Inbox)
		if err != nil {
			t.Fatal(err)
		}
		w.set(fix{keyBox(1, Inbox), nil})
		if !keepLog {
			for _, row := range w.rows(kv.Log, 1) {
				w.set(fix{row.key, nil})
			}
		}
		lost := w.repair(1)
		after, err := w.Status(ctx(t), 1, Inbox)
		if err != nil {
			t.Fatal(err)
		}
		if keepLog && (after.UIDNext != before.UIDNext || after.UIDValidity != before.UIDValidity || len(lost) > 0) {
			t.Errorf("with the log: %+v, was %+v; lost %q", after, before, lost)
		}
		if !keepLog && (after.UIDValidity <= before.UIDValidity || len(lost) != 1) {
			t.Errorf("without the log: %+v, was %+v; lost %q", after, before, lost)
		}
		if after.HighestModSeq <= before.HighestModSeq || after.Messages != before.Messages {
			t.Errorf("%+v, was %+v", after, before)
		}
		w.usable(1)
	}
}

// TestRepairMail damages rows that are the mail itself, one kind after the other.
func TestRepairMail(t *testing.T) {
	t.Parallel()
	junk := []byte{9, 9, 9}
	for _, c := range []struct {
		name string
		hurt func(w *world)
		lost []string          // parts of what is told as lost, in any order
		gone []string          // that need not be as before
		want map[string]string // parts of what they are now
	}{
		{
			name: "an entry, still known by xe",
			hurt: func(w *world) { w.set(fix{keyEntry(1, 1, 2), junk}) },
			lost: []string{`mailbox "INBOX": UID 2: its row was damaged or missing`},
		},
		{
			name: "an entry that is missing, of a message that is nowhere else",
			hurt: func(w *world) { w.set(fix{keyEntry(1, 1, 4), nil}) },
			lost: []string{`mailbox "INBOX": UID 4`},
		},
		{
			name: "an entry and its xe",
			hurt: func(w *world) {
				w.set(fix{keyEntry(1, 1, 4), junk}, fix{keyWhere(1, 10), junk})
			},
			lost: []string{`nothing tells which message it was`, `mailbox "Recovered": UID 1: the message was in no mailbox`},
			gone: []string{"INBOX/4"}, want: map[string]string{"Recovered/1": "Body 9"},
		},
		{
			name: "a mailbox's row",
			hurt: func(w *world) { w.set(fix{keyMailbox(1, 3), junk}) },
			lost: []string{`its name and its use`},
			gone: []string{"Drafts"}, want: map[string]string{"Recovered 3/2": "Body 5"},
		},
		{
			name: "INBOX's row",
			hurt: func(w *world) { w.set(fix{keyMailbox(1, 1), nil}) },
		},
		{
			name: "both rows of a mailbox",
			hurt: func(w *world) { w.set(fix{keyMailbox(1, 3), nil}, fix{keyBox(1, 3), nil}) },
			lost: []string{`its name and its use`},
			gone: []string{"Drafts"}, want: map[string]string{"Recovered 3/2": "Body 5"},
		},
		{
			name: "the names of keywords",
			hurt: func(w *world) { w.set(fix{keyKeywords(1), junk}) },
			lost: []string{`the names of 8 keywords`},
		},
		{
			name: "an email's row",
			hurt: func(w *world) { w.set(fix{keyEmail(1, 10), junk}) },
			lost: []string{`the header lines that the server put in front`},
			gone: []string{"INBOX/4"}, want: map[string]string{"INBOX/4": "Body 9"},
		},
		{
			name: "an email's row and its link",
			hurt: func(w *world) {
				v := w.rows(kv.Emails, 1)
				for _, row := range v {
					if emailOf(row.key) == 10 {
						head, _ := decodeEmailHead(row.value)
						w.set(fix{row.key, nil}, fix{keyLink(head.blob, 1, 10), nil})
					}
				}
			},
			lost: []string{"INBOX\": UID 4: the message's row is damaged or missing, and so is its body; a message that says so stands in its place; lost: the message"},
			gone: []string{"INBOX/4"}, want: map[string]string{"INBOX/4": "this message is damaged"},
		},
		{
			name: "an email's row under a number that none has",
			hurt: func(w *world) {
				for _, row := range w.rows(kv.Emails, 1) {
					if e := emailOf(row.key); e == 10 {
						w.set(fix{keyEmail(1, 0), row.value}, fix{keyEmail(1, e|1<<63), row.value}, fix{keyEmail(1, maxEmails), row.value})
					}
				}
			},
			lost: []string{"its number was never given out", "its number was never given out", "its number was never given out"},
		},
		{
			name: "an entry of a number that none has",
			hurt: func(w *world) {
				row := entryRow{email: maxEmails - 1, modSeq: 3}
				w.set(fix{keyEntry(1, 1, 2), row.encode()})
				row = entryRow{email: 10, modSeq: 1<<63 - 2}
				w.set(fix{keyEntry(1, 1, 4), row.encode()})
			},
			lost: []string{`UID 2: its row was damaged or missing`, `UID 4: its row was damaged or missing`},
		},
		{
			name: "counters and a log of numbers that none has",
			hurt: func(w *world) {
				log := logRow{ops: []logOp{{m: 1, gone: []EmailID{1 << 62}}}}
				w.set(fix{keyLog(1, 1<<63+5), log.encode()}, fix{keyLog(1, 7), log.encode()})
				box := boxRow{uidNext: 1000, validity: 5, recentFrom: 1, highest: 1 << 63}
				w.set(fix{keyBox(1, 3), box.encode()})
				acct := accountRow{nextEmail: maxEmails + 1, nextMailbox: 9, modSeq: 1 << 62}
				w.set(fix{keyCounters(1), acct.encode()})
			},
			lost: []string{"UIDNEXT"},
		},
		{
			name: "a link",
			hurt: func(w *world) {
				for _, row := range w.rows(kv.Emails, 1) {
					head, _ := decodeEmailHead(row.value)
					w.set(fix{keyLink(head.blob, 1, emailOf(row.key)), nil})
				}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := populated(t)
			before := w.content(1, false)
			c.hurt(w)
			lost := w.repair(1)
			if len(lost) != len(c.lost) {
				t.Errorf("lost %q, want %q", lost, c.lost)
			}
			for _, part := range c.lost {
				if !slices.ContainsFunc(lost, func(s string) bool { return strings.Contains(s, part) }) {
					t.Errorf("lost %q, want %q among it", lost, part)
				}
			}
			now := w.content(1, false)
			for k, v := range before {
				spared := slices.ContainsFunc(c.gone, func(g string) bool { return k == g || strings.HasPrefix(k, g+"/") })
				if !spared && now[k] != v {
					t.Errorf("%s was %q and is %q", k, v, now[k])
				}
			}
			for k, part := range c.want {
				if !strings.Contains(now[k], part) {
					t.Errorf("%s is %q, want %q in it", k, now[k], part)
				}
			}
			if stray, err := w.o.Blobs.CheckLinks(ctx(t), false, w.LinkOwners()); err != nil || len(stray) > 0 {
				if !strings.Contains(c.name, "link") {
					t.Errorf("stray links: %v, %v", stray, err)
				}
			}
			w.usable(1)
			boxes, err := w.Mailboxes(ctx(t), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range boxes { // everything can be expunged
				uids, err := w.uids(ctx(t), 1, b.ID, nil)
				if err == nil {
					_, err = w.Expunge(ctx(t), 1, b.ID, uids)
				}
				if err != nil {
					t.Errorf("%s: %v", b.Name, err)
				}
			}
			w.check(1)
		})
	}
}

// TestMissingBody tells which message lost its body, and leaves the rest of it.
func TestMissingBody(t *testing.T) {
	t.Parallel()
	w := populated(t)
	e, err := w.Email(ctx(t), 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.set(fix{keyBlob(e.Blob), nil})
	found, err := w.Repair(ctx(t), 1)
	if err != nil || len(found) != 1 || found[0].State != mail.Beyond || found[0].Mailbox != "INBOX" || found[0].UID != 4 || found[0].Lost == "" {
		t.Fatalf("%+v, %v", found, err)
	}
	if _, err := w.Expunge(ctx(t), 1, Inbox, []UID{4}); err != nil {
		t.Fatal(err)
	}
	w.check(1)
}

// TestStrayLinks drops links of emails that are not there, and nothing else.
func TestStrayLinks(t *testing.T) {
	t.Parallel()
	w := populated(t)
	e, err := w.Email(ctx(t), 1, 10)
	if err != nil {
		t.Fatal(err)
	}
	w.set(fix{keyLink(e.Blob, 1, 5000), []byte{}}, fix{keyLink(mail.ID{'x'}, 7, 1), []byte{}})
	before := w.content(1, true)
	found, err := w.o.Blobs.CheckLinks(ctx(t), true, w.LinkOwners())
	if err != nil || len(found) != 2 {
		t.Fatalf("%v, %v", found, err)
	}
	if found, err = w.o.Blobs.CheckLinks(ctx(t), true, w.LinkOwners()); err != nil || len(found) != 0 {
		t.Fatalf("%v, %v", found, err)
	}
	if _, err := w.o.Blobs.Sweep(ctx(t), 0); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(before, w.content(1, true)) {
		t.Error("mail changed")
	}
	w.check(1)
}

// TestRepairUnderTraffic repairs while others deliver, copy and expunge.
func TestRepairUnderTraffic(t *testing.T) {
	t.Parallel()
	w := populated(t)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := range 400 { // more would outgrow a slow machine's repairs
			select {
			case <-stop:
				return
			default:
			}
			in := w.Incoming(t.Context())
			_, _ = io.WriteString(in, hello(fmt.Sprint("traffic", i)))
			m, err := in.Seal()
			if err != nil {
				t.Error(err)
				return
			}
			ap, err := w.AppendOne(t.Context(), m, Delivery{Account: 1})
			m.Discard()
			if err == nil && i%3 == 0 {
				_, err = w.Expunge(t.Context(), 1, Inbox, []UID{ap.UID})
			}
			if err != nil && !mail.Is(err, mail.Internal) {
				t.Error(err)
			}
		}
	}()
	for i := range 20 {
		for _, row := range w.rows([]kv.Prefix{kv.Where, kv.Threads, kv.References}[i%3], 1) {
			w.set(fix{row.key, nil})
		}
		if _, err := w.Repair(ctx(t), 1); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	if _, err := w.Repair(ctx(t), 1); err != nil {
		t.Fatal(err)
	}
	w.check(1)
}

func TestRepairNoAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.Repair(ctx(t), 9); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
	if _, err := w.Inspect(ctx(t), 9); !mail.Is(err, mail.NotFound) {
		t.Fatal(err)
	}
}
