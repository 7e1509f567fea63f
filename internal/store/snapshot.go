package store

import (
	"iter"
	"slices"
	"sort"
	"time"
)

// chunkLen is the number of entries of a full chunk: what a change of one flag copies.
const chunkLen = 256

// slot is an entry in memory: 36 octets without padding.
type slot struct {
	uid, size          uint32
	saved              uint32 // Unix seconds
	email, emailCopy   uint32 // 40 bits of email: emailCopy's lowest octet is the upper part; 24 bits of copy
	flagsLo, flagsHi   uint32
	modSeqLo, modSeqHi uint32
}

func newSlot(uid UID, e *entryRow) slot {
	return slot{
		uid: uint32(uid), size: uint32(min(max(e.size, 0), 1<<32-1)), saved: uint32(min(max(e.saved, 0), 1<<32-1)),
		email: uint32(e.email), emailCopy: uint32(e.email>>32)&0xff | e.copy<<8,
		flagsLo: uint32(e.flags), flagsHi: uint32(e.flags >> 32),
		modSeqLo: uint32(e.modSeq), modSeqHi: uint32(e.modSeq >> 32),
	}
}

func (s *slot) modSeq() ModSeq { return ModSeq(s.modSeqHi)<<32 | ModSeq(s.modSeqLo) }

func (s *slot) emailID() EmailID { return EmailID(s.emailCopy&0xff)<<32 | EmailID(s.email) }

func (s *slot) flags() Flags { return Flags(s.flagsHi)<<32 | Flags(s.flagsLo) }

func (s *slot) entry() Entry {
	return Entry{
		UID: UID(s.uid), Email: s.emailID(), Copy: s.emailCopy >> 8, Flags: s.flags(), ModSeq: s.modSeq(),
		SaveDate: time.Unix(int64(s.saved), 0), Size: int64(s.size),
	}
}

// chunk is some consecutive entries. Its slots never change; behind them the newest snapshot may add more.
type chunk struct {
	start int // entries before it
	slots []slot
}

// Snapshot is a mailbox as it was at one moment: its entries in the order of their UIDs, numbered from 1 (RFC 9051
// §2.3.1.2). Immutable, and shared by the sessions that look at the mailbox; entries that did not change are shared
// with the snapshots before and after it. Safe for concurrent use.
type Snapshot struct {
	chunks   []chunk
	n        int
	validity uint32
	uidNext  UID
	highest  ModSeq
	seen     ModSeq // of the account: all changes up to it are in
	keywords *keywordNames
}

// keywordNames are shared by snapshots as long as they stay the same.
type keywordNames struct {
	row   []byte
	names []string
}

// Len is the number of messages.
func (p *Snapshot) Len() int { return p.n }

// At gives the entry with a sequence number from 1 to Len; the zero Entry outside of that.
func (p *Snapshot) At(seq int) Entry {
	if seq < 1 || seq > p.n {
		return Entry{}
	}
	i := sort.Search(len(p.chunks), func(i int) bool { return p.chunks[i].start >= seq }) - 1
	return p.chunks[i].slots[seq-1-p.chunks[i].start].entry()
}

// Seq gives the sequence number of a UID, 0 when it is not there.
func (p *Snapshot) Seq(uid UID) int {
	i, j, ok := p.find(uid)
	if !ok {
		return 0
	}
	return p.chunks[i].start + j + 1
}

// SeqAtLeast gives the sequence number of the first entry with that UID or a greater one, Len+1 when there is none.
func (p *Snapshot) SeqAtLeast(uid UID) int {
	i, j, _ := p.find(uid)
	if i == len(p.chunks) {
		return p.n + 1
	}
	return p.chunks[i].start + j + 1
}

// find gives the place of the first entry with at least that UID; i is len(chunks) when there is none.
func (p *Snapshot) find(uid UID) (i, j int, exact bool) {
	i = sort.Search(len(p.chunks), func(i int) bool {
		s := p.chunks[i].slots
		return s[len(s)-1].uid >= uint32(uid)
	})
	if i == len(p.chunks) {
		return i, 0, false
	}
	s := p.chunks[i].slots
	j = sort.Search(len(s), func(j int) bool { return s[j].uid >= uint32(uid) })
	return i, j, s[j].uid == uint32(uid)
}

// UIDNext is what the next message will have at least (RFC 9051 §2.3.1.1).
func (p *Snapshot) UIDNext() UID { return p.uidNext }

// UIDValidity is the mailbox's.
func (p *Snapshot) UIDValidity() uint32 { return p.validity }

// ModSeq is the mailbox's HIGHESTMODSEQ (RFC 7162 §3.1.2.1).
func (p *Snapshot) ModSeq() ModSeq { return p.highest }

// Keywords gives the names of the account's keyword slots: bit FirstKeyword+i of Flags is Keywords()[i]. Do not
// change it.
func (p *Snapshot) Keywords() []string { return p.keywords.names }

// All gives all entries with their sequence numbers.
func (p *Snapshot) All() iter.Seq2[int, Entry] {
	return func(yield func(int, Entry) bool) {
		for _, c := range p.chunks {
			for j := range c.slots {
				if !yield(c.start+j+1, c.slots[j].entry()) {
					return
				}
			}
		}
	}
}

// Where gives the entries for which keep is true, with their sequence numbers, as All does; a nil keep keeps all. It is
// for finding few among many: it costs a fraction of looking at entries.
func (p *Snapshot) Where(keep func(EmailID, Flags) bool) iter.Seq2[int, Entry] {
	if keep == nil {
		return p.All()
	}
	return func(yield func(int, Entry) bool) {
		for _, c := range p.chunks {
			for j := range c.slots {
				s := &c.slots[j]
				if keep(s.emailID(), s.flags()) && !yield(c.start+j+1, s.entry()) {
					return
				}
			}
		}
	}
}

// edit makes the next snapshot out of p, which stays as it is. It must be the newest one of its mailbox: new entries
// may be put behind its own in the same memory.
type edit struct {
	next   *Snapshot
	copied []bool // chunks that are the edit's own
	holes  bool   // entries were removed
}

func (p *Snapshot) edit() *edit {
	next := *p
	next.chunks = slices.Clone(p.chunks)
	return &edit{next: &next, copied: make([]bool, len(p.chunks))}
}

// own makes a chunk changeable.
func (d *edit) own(i int) []slot {
	c := &d.next.chunks[i]
	if !d.copied[i] {
		c.slots = slices.Clone(c.slots)
		d.copied[i] = true
	}
	return c.slots
}

// set puts a changed entry in the place of the one with its UID, if there is one.
func (d *edit) set(uid UID, e *entryRow) {
	if i, j, ok := d.next.find(uid); ok {
		d.own(i)[j] = newSlot(uid, e)
	}
}

// remove removes an entry, if it is there.
func (d *edit) remove(uid UID) {
	i, j, ok := d.next.find(uid)
	if !ok {
		return
	}
	c := &d.next.chunks[i]
	c.slots = slices.Delete(d.own(i), j, j+1)
	if len(c.slots) == 0 { // find looks at the last slot of each chunk
		d.next.chunks = slices.Delete(d.next.chunks, i, i+1)
		d.copied = slices.Delete(d.copied, i, i+1)
	}
	d.next.n--
	d.holes = true
}

// add puts an entry behind all others.
func (d *edit) add(uid UID, e *entryRow) {
	p := d.next
	if n := len(p.chunks); n == 0 || len(p.chunks[n-1].slots) >= chunkLen {
		room := 4
		if n > 0 {
			room = chunkLen
		}
		p.chunks = append(p.chunks, chunk{start: p.n, slots: make([]slot, 0, room)})
		d.copied = append(d.copied, true)
	}
	c := &p.chunks[len(p.chunks)-1]
	c.slots = append(c.slots, newSlot(uid, e))
	p.n++
}

// done gives the snapshot.
func (d *edit) done() *Snapshot {
	p := d.next
	if d.holes {
		p.chunks = merge(p.chunks)
	}
	n := 0
	for i := range p.chunks {
		p.chunks[i].start = n
		n += len(p.chunks[i].slots)
	}
	return p
}

// merge joins neighbours that have become small.
func merge(chunks []chunk) []chunk {
	kept := chunks[:0]
	for _, c := range chunks {
		if n := len(kept); n > 0 && len(kept[n-1].slots)+len(c.slots) <= chunkLen/2 {
			kept[n-1].slots = slices.Concat(kept[n-1].slots, c.slots)
			continue
		}
		kept = append(kept, c)
	}
	clear(chunks[len(kept):])
	return kept
}
