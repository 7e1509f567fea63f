package store

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postel/internal/kv/kvtest"
	"postel/internal/mail"
)

// model is what the store should be, in the simplest way.
type model struct {
	t        *rapid.T
	w        *world
	boxes    []*modelBox
	names    map[string]bool // subscriptions
	validity uint32          // the highest ever seen
	modSeq   ModSeq
	copies   map[string]bool // email and copy number of all entries ever
	sessions []*session
	n        int
	turn     func()            // before each action, where there are several nodes
	settle   func()            // waits for what goes on in the background, at all nodes
	lost     map[EmailID]int64 // all emails that were ever there and are not purged, with their sizes
}

type modelBox struct {
	id       MailboxID
	name     string
	validity uint32
	next     UID
	msgs     []modelMessage
}

type modelMessage struct {
	uid   UID
	email EmailID
	copy  uint32
	size  int64
	flags string // names, sorted
}

// session is a client that knows of the mailbox only what Diff told it.
type session struct {
	v    *View
	box  *modelBox
	snap *Snapshot
	seen map[UID]string // flags
	list []UID
}

const (
	tiny = "tiny" // steps of a few messages
	big  = "big"
)

func newModel(t *rapid.T, tb testing.TB, scale string) *model {
	k := openRows(tb)
	strict := kvtest.Strict(k, kvtest.Options{Report: tb.Error})
	m := &model{t: t, w: worldOn(tb, strict), names: map[string]bool{}, copies: map[string]bool{}, lost: map[EmailID]int64{}}
	m.settle = func() { m.w.idle() }
	if rapid.Bool().Draw(t, "keep") {
		m.w.o.Keep = time.Hour
	}
	t.Cleanup(func() {
		m.w.Close()
		_ = k.Close()
	})
	if scale == tiny {
		m.w.steps = steps{flags: 3, move: 3, expunge: 3, copy: 3, gap: 2, ahead: 1 << 20}
		m.w.logPolicy = logPolicy{every: 4, least: 8, most: 16, age: time.Hour, own: 2}
	}
	m.w.account(1)
	for _, n := range []string{"INBOX", "Sent", "Drafts", "Trash", "Junk", "Archive"} {
		m.names[n] = true
	}
	all, err := m.w.Mailboxes(ctx(tb), 1)
	m.ok(err)
	for _, b := range all {
		m.add(b)
	}
	return m
}

func (m *model) ok(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatalf("%v", err)
	}
}

func (m *model) want(err error, kind mail.Kind) {
	m.t.Helper()
	if !mail.Is(err, kind) {
		m.t.Fatalf("error %v, want %v", err, kind)
	}
}

func (m *model) add(b Mailbox) *modelBox {
	if slices.ContainsFunc(m.boxes, func(x *modelBox) bool { return x.validity == b.UIDValidity || x.id == b.ID }) {
		m.t.Fatalf("%+v repeats an id or UIDVALIDITY", b)
	}
	m.validity = max(m.validity, b.UIDValidity)
	box := &modelBox{id: b.ID, name: b.Name, validity: b.UIDValidity, next: 1}
	m.boxes = append(m.boxes, box)
	return box
}

func (m *model) box() *modelBox { return rapid.SampledFrom(m.boxes).Draw(m.t, "box") }

func (m *model) named(name string) *modelBox {
	for _, b := range m.boxes {
		if b.name == name {
			return b
		}
	}
	return nil
}

// uids draws some UIDs, absent ones among them.
func (m *model) uids(b *modelBox) []UID {
	var uids []UID
	for _, x := range b.msgs {
		if rapid.IntRange(0, 2).Draw(m.t, "take") > 0 {
			uids = append(uids, x.uid)
		}
	}
	if rapid.Bool().Draw(m.t, "absent") {
		uids = append(uids, b.next, b.next+2, b.next+3, 1)
	}
	return rapid.Permutation(uids).Draw(m.t, "order")
}

func (b *modelBox) index(uid UID) int {
	return slices.IndexFunc(b.msgs, func(x modelMessage) bool { return x.uid == uid })
}

// arrived puts a message at the end of a mailbox.
func (m *model) arrived(b *modelBox, x modelMessage, fresh bool) {
	if x.uid < b.next {
		m.t.Fatalf("UID %d below UIDNEXT %d", x.uid, b.next)
	}
	b.next = x.uid + 1
	if k := fmt.Sprint(x.email, "-", x.copy); fresh {
		if m.copies[k] {
			m.t.Fatalf("copy %s was there before", k)
		}
		m.copies[k] = true
		m.lost[x.email] = x.size
	}
	b.msgs = append(b.msgs, x)
}

var flagNames = []string{"\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft"}

func (m *model) flags() (f Flags, keywords []string, names map[string]bool) {
	names = map[string]bool{}
	for i, n := range flagNames {
		if rapid.IntRange(0, 3).Draw(m.t, n) == 0 {
			f |= 1 << i
			names[n] = true
		}
	}
	for _, k := range []string{"$Junk", "work", "Zürich"[:1] + "ug"} {
		if rapid.IntRange(0, 5).Draw(m.t, k) == 0 {
			names[strings.ToLower(k)] = true
			if rapid.Bool().Draw(m.t, "upper") {
				k = strings.ToUpper(k)
			}
			keywords = append(keywords, k)
		}
	}
	return f, keywords, names
}

func joined(names map[string]bool) string {
	return strings.Join(slices.Sorted(maps.Keys(names)), " ")
}

func flagsOf(p *Snapshot, f Flags) string {
	names := map[string]bool{}
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			names[n] = true
		}
	}
	for i, n := range p.Keywords() {
		if f&(1<<(FirstKeyword+i)) != 0 {
			names[strings.ToLower(n)] = true
		}
	}
	return joined(names)
}

// checkAll compares everything.
func (m *model) checkAll() {
	w, c := m.w, m.w.t.Context()
	m.w.jobs.Wait()
	all, err := w.Mailboxes(c, 1)
	m.ok(err)
	if len(all) != len(m.boxes) || all[0].Name != "INBOX" {
		m.t.Fatalf("%d mailboxes, want %d", len(all), len(m.boxes))
	}
	for _, b := range all {
		x := m.named(b.Name)
		if x == nil || x.id != b.ID || x.validity != b.UIDValidity || b.Subscribed != m.names[b.Name] {
			m.t.Fatalf("mailbox %+v, want %+v", b, x)
		}
		st, err := w.Status(c, 1, b.ID)
		m.ok(err)
		if int(st.Messages) != len(x.msgs) || st.UIDNext < x.next || st.HighestModSeq > m.seq() {
			m.t.Fatalf("status %+v, want %d messages, UIDNEXT %d", st, len(x.msgs), x.next)
		}
	}
	found, err := w.Check(c, 1)
	m.ok(err)
	links, err := w.CheckLinks(c, 1)
	m.ok(err)
	if len(found)+len(links) > 0 {
		m.t.Fatalf("%q %q", found, links)
	}
}

// seq gives the account's MODSEQ, which must not fall.
func (m *model) seq() ModSeq {
	seq, err := m.w.modSeq(m.w.t.Context(), 1)
	m.ok(err)
	if seq < m.modSeq {
		m.t.Fatalf("MODSEQ fell from %d to %d", m.modSeq, seq)
	}
	m.modSeq = seq
	return seq
}

func (m *model) actions() map[string]func(*rapid.T) {
	with := func(fn func()) func(*rapid.T) {
		return func(t *rapid.T) {
			if m.t = t; m.turn != nil {
				m.turn()
			}
			fn()
		}
	}
	return map[string]func(*rapid.T){
		"append":   with(m.append),
		"append2":  with(m.append),
		"flags":    with(m.setFlags),
		"expunge":  with(m.expunge),
		"deleted":  with(m.expungeDeleted),
		"copy":     with(func() { m.copyMove(false) }),
		"move":     with(func() { m.copyMove(true) }),
		"create":   with(m.create),
		"rename":   with(m.rename),
		"delete":   with(m.delete),
		"undelete": with(m.undelete),
		"purge":    with(m.purge),
		"names":    with(m.subscribe),
		"open":     with(m.open),
		"poll":     with(m.poll),
		"poll2":    with(m.poll),
		"close":    with(m.closeOne),
		"":         with(func() {}),
	}
}

// TestModel does random things to a store and to a model of it, with sessions that look now and then.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) { runModel(r, t, tiny) })
}

// TestModelLarge is the same with steps as they are.
func TestModelLarge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) { runModel(r, t, big) })
}

func runModel(r *rapid.T, t *testing.T, scale string) {
	m := newModel(r, t, scale)
	r.Repeat(m.actions())
	m.t = r
	for len(m.sessions) > 0 {
		m.look(m.sessions[0])
		m.drop(m.sessions[0])
	}
	m.checkAll()
}

// TestMain keeps the default run short: POSTEL_LONG, or -rapid.checks, makes it longer.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		n := "40"
		if os.Getenv("POSTEL_LONG") != "" {
			n = "3000"
		}
		if err := flag.Set("rapid.checks", n); err != nil {
			panic(err)
		}
	}
	os.Exit(server.Main(m))
}
