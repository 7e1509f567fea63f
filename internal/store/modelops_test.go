package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"postel/internal/mail"
)

func (m *model) append() {
	b := m.box()
	f, keywords, names := m.flags()
	m.n++
	id := fmt.Sprint("m", m.n)
	text := hello(id)
	if m.n%3 == 0 {
		text = fmt.Sprintf("In-Reply-To: <m%d@example.org>\r\nReferences: <m1@example.org> <m%d@example.org>\r\n", m.n-1, m.n-1) + text
	}
	in := m.w.Incoming(m.w.t.Context())
	defer in.Discard()
	_, err := in.Write([]byte(text))
	m.ok(err)
	msg, err := in.Seal()
	m.ok(err)
	before := m.seq()
	ap, err := m.w.AppendOne(m.w.t.Context(), msg, Delivery{
		Account: 1, Mailbox: b.id, Flags: f, Keywords: keywords, Prefix: []byte("X: y\r\n"),
	})
	m.ok(err)
	if ap.ModSeq <= before || ap.UIDValidity != b.validity {
		m.t.Fatalf("%+v after MODSEQ %d", ap, before)
	}
	m.arrived(b, modelMessage{uid: ap.UID, email: ap.Email, flags: joined(names), size: int64(len(text) + 6)}, true)
}

func (m *model) setFlags() {
	b := m.box()
	f, keywords, names := m.flags()
	op := rapid.SampledFrom([]FlagOp{Replace, Add, Remove}).Draw(m.t, "op")
	uids := m.uids(b)
	m.ok(m.w.SetFlags(m.w.t.Context(), 1, b.id, uids, op, f, keywords))
	for _, uid := range uids {
		i := b.index(uid)
		if i < 0 {
			continue
		}
		now := map[string]bool{}
		if op != Replace {
			for n := range strings.FieldsSeq(b.msgs[i].flags) {
				now[n] = true
			}
		}
		for n := range names {
			if op == Remove {
				delete(now, n)
			} else {
				now[n] = true
			}
		}
		b.msgs[i].flags = joined(now)
	}
}

func (b *modelBox) remove(uids []UID) {
	b.msgs = slices.DeleteFunc(b.msgs, func(x modelMessage) bool { return slices.Contains(uids, x.uid) })
}

func (m *model) expunge() {
	b := m.box()
	uids := m.uids(b)
	var want []UID
	for _, x := range b.msgs {
		if slices.Contains(uids, x.uid) {
			want = append(want, x.uid)
		}
	}
	gone, err := m.w.Expunge(m.w.t.Context(), 1, b.id, uids)
	m.ok(err)
	if !slices.Equal(gone, want) {
		m.t.Fatalf("expunged %v, want %v", gone, want)
	}
	b.remove(gone)
}

func (m *model) expungeDeleted() {
	b := m.box()
	uids := m.uids(b)
	if rapid.Bool().Draw(m.t, "all") {
		uids = nil
	} else if uids == nil {
		uids = []UID{}
	}
	var want []UID
	for _, x := range b.msgs {
		if strings.Contains(x.flags, "\\Deleted") && (uids == nil || slices.Contains(uids, x.uid)) {
			want = append(want, x.uid)
		}
	}
	gone, err := m.w.ExpungeDeleted(m.w.t.Context(), 1, b.id, uids)
	m.ok(err)
	if !slices.Equal(gone, want) {
		m.t.Fatalf("expunged %v, want %v", gone, want)
	}
	b.remove(gone)
}

func (m *model) copyMove(move bool) {
	from, to := m.box(), m.box()
	uids := m.uids(from)
	var want []modelMessage
	for _, x := range from.msgs {
		if slices.Contains(uids, x.uid) {
			want = append(want, x)
		}
	}
	do := m.w.Copy
	if move {
		do = m.w.Move
	}
	done, err := do(m.w.t.Context(), 1, from.id, uids, to.id)
	m.ok(err)
	if len(done.From) != len(want) || len(done.To) != len(want) || len(want) > 0 && done.UIDValidity != to.validity {
		m.t.Fatalf("copied %+v, want %v", done, want)
	}
	if move {
		from.remove(uids)
	}
	for i, x := range want {
		if done.From[i] != x.uid {
			m.t.Fatalf("copied %+v, want %v", done, want)
		}
		x.uid = done.To[i]
		if !move {
			x.copy = m.copyOf(to, x.uid)
		}
		m.arrived(to, x, !move)
	}
}

// copyOf asks the store for the number of a copy.
func (m *model) copyOf(b *modelBox, uid UID) uint32 {
	v, err := m.w.Open(m.w.t.Context(), 1, b.id, true)
	m.ok(err)
	defer v.Close()
	p, err := v.Latest(m.w.t.Context())
	m.ok(err)
	return p.At(p.Seq(uid)).Copy
}

func (m *model) name() string {
	return rapid.SampledFrom([]string{
		"a", "a/b", "a/b/c", "b", "b/b", "b/b/c", "inbox/x", "INBOX/x", "Sent", "ä", "c/d/e", "inbox", "a/", "", "x//y", "x\ny",
	}).Draw(m.t, "name")
}

func (m *model) create() {
	name := m.name()
	clean, bad := CleanName(name)
	made, err := m.w.Create(m.w.t.Context(), 1, name, RoleNone)
	if bad != nil {
		m.want(err, mail.Invalid)
		return
	}
	if m.named(clean) != nil {
		m.want(err, mail.Exists)
		return
	}
	m.ok(err)
	if made.UIDValidity <= m.validity || made.Name != clean {
		m.t.Fatalf("%+v after UIDVALIDITY %d", made, m.validity)
	}
	m.superiors(clean)
	m.add(made)
}

// superiors notes mailboxes that the store made by itself.
func (m *model) superiors(name string) {
	for _, up := range superiors(name) {
		if m.named(up) != nil {
			continue
		}
		b, err := m.w.Mailbox(m.w.t.Context(), 1, up)
		m.ok(err)
		m.add(b)
	}
}

func (m *model) rename() {
	b, name := m.box(), m.name()
	err := m.w.Rename(m.w.t.Context(), 1, b.id, name)
	clean, bad := CleanName(name)
	switch {
	case bad != nil:
		m.want(err, mail.Invalid)
		return
	case m.named(clean) != nil:
		m.want(err, mail.Exists)
		return
	case b.id == Inbox:
		m.ok(err)
		m.renamedInbox(b, clean)
		return
	case strings.HasPrefix(clean, b.name+"/"):
		m.want(err, mail.Invalid)
		return
	}
	old := b.name
	for _, x := range m.boxes {
		if rest, ok := strings.CutPrefix(x.name, old+"/"); ok && m.named(clean+"/"+rest) != nil &&
			!strings.HasPrefix(clean+"/"+rest, old+"/") {
			m.want(err, mail.Exists)
			return
		}
	}
	m.ok(err)
	for _, x := range m.boxes {
		if x.name == old || strings.HasPrefix(x.name, old+"/") {
			x.name = clean + x.name[len(old):]
		}
	}
	m.superiors(clean)
}

func (m *model) renamedInbox(inbox *modelBox, name string) {
	m.superiors(name)
	made, err := m.w.Mailbox(m.w.t.Context(), 1, name)
	m.ok(err)
	b := m.add(made)
	for i, x := range inbox.msgs {
		x.uid = UID(i + 1)
		m.arrived(b, x, false)
	}
	inbox.msgs = nil
}

func (m *model) delete() {
	b := m.box()
	err := m.w.Delete(m.w.t.Context(), 1, b.id)
	if b.id == Inbox {
		m.want(err, mail.Denied)
		return
	}
	m.ok(err)
	m.boxes = slices.DeleteFunc(m.boxes, func(x *modelBox) bool { return x == b })
	b.name = "" // gone
	m.want(m.w.Delete(m.w.t.Context(), 1, b.id), mail.NotFound)
}

func (m *model) subscribe() {
	name := m.name()
	clean, bad := CleanName(name)
	on := rapid.Bool().Draw(m.t, "on")
	err := m.w.Subscribe(m.w.t.Context(), 1, name, on)
	if bad != nil {
		m.want(err, mail.Invalid)
		return
	}
	m.ok(err)
	delete(m.names, clean)
	if on {
		m.names[clean] = true
	}
	names, err := m.w.Subscriptions(m.w.t.Context(), 1)
	m.ok(err)
	slices.Sort(names)
	if !slices.Equal(names, slices.Sorted(maps.Keys(m.names))) {
		m.t.Fatalf("subscribed %q, want %v", names, m.names)
	}
}

func (m *model) open() {
	if len(m.sessions) >= 6 {
		m.t.Skip("enough sessions")
	}
	b := m.box()
	v, err := m.w.Open(m.w.t.Context(), 1, b.id, rapid.Bool().Draw(m.t, "read-only"))
	m.ok(err)
	m.sessions = append(m.sessions, &session{v: v, box: b, seen: map[UID]string{}, snap: &Snapshot{keywords: new(keywordNames)}})
}

func (m *model) session() *session {
	if len(m.sessions) == 0 {
		m.t.Skip("no session")
	}
	return rapid.SampledFrom(m.sessions).Draw(m.t, "session")
}

func (m *model) poll() { m.look(m.session()) }

// look lets a session catch up by Diff and compares what it knows then with the model.
func (m *model) look(s *session) {
	p, err := s.v.Latest(m.w.t.Context())
	if s.box.name == "" {
		m.want(err, mail.NotFound)
		return
	}
	m.ok(err)
	d := Diff(s.snap, p)
	s.list = slices.DeleteFunc(s.list, func(u UID) bool { return slices.Contains(d.Expunged, u) })
	for _, uid := range d.Flags {
		s.seen[uid] = flagsOf(p, p.At(p.Seq(uid)).Flags)
	}
	for i := p.Len() - d.Added + 1; i <= p.Len(); i++ {
		e := p.At(i)
		s.list = append(s.list, e.UID)
		s.seen[e.UID] = flagsOf(p, e.Flags)
	}
	s.snap = p
	m.compare(s, p)
}

func (m *model) compare(s *session, p *Snapshot) {
	msgs := s.box.msgs
	if p.Len() != len(msgs) || len(s.list) != len(msgs) || p.UIDNext() < s.box.next || p.UIDValidity() != s.box.validity {
		m.t.Fatalf("snapshot has %d messages, the session %d, the model %d", p.Len(), len(s.list), len(msgs))
	}
	next := 1
	for seq, e := range p.All() {
		x := msgs[seq-1]
		if seq != next || e.UID != x.uid || s.list[seq-1] != x.uid || e.Email != x.email || e.Size != x.size ||
			e.Copy != x.copy || s.seen[x.uid] != x.flags || flagsOf(p, e.Flags) != x.flags {
			m.t.Fatalf("entry %d is %+v (%q), the session has %d %q, the model %+v", seq, e, flagsOf(p, e.Flags),
				s.list[seq-1], s.seen[x.uid], x)
		}
		if p.Seq(e.UID) != seq || p.At(seq) != e || p.SeqAtLeast(e.UID) != seq || e.ModSeq > p.ModSeq() {
			m.t.Fatalf("entry %d is not found by its UID %d", seq, e.UID)
		}
		next++
	}
	for i := 1; i < len(p.chunks); i++ {
		if c := p.chunks[i]; c.start != p.chunks[i-1].start+len(p.chunks[i-1].slots) || len(c.slots) == 0 {
			m.t.Fatalf("chunk %d starts at %d", i, c.start)
		}
	}
	uid := rapid.SampledFrom([]UID{0, 1, p.UIDNext() - 1, p.UIDNext(), 1<<32 - 1}).Draw(m.t, "uid")
	i, _ := slices.BinarySearchFunc(msgs, uid, func(x modelMessage, u UID) int { return cmp.Compare(x.uid, u) })
	if p.SeqAtLeast(uid) != i+1 {
		m.t.Fatalf("first entry from UID %d on is %d, want %d", uid, p.SeqAtLeast(uid), i+1)
	}
}

func (m *model) closeOne() { m.drop(m.session()) }

func (m *model) drop(s *session) {
	s.v.Close()
	m.sessions = slices.DeleteFunc(m.sessions, func(x *session) bool { return x == s })
}
