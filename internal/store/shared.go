package store

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// shared is a mailbox that sessions of this process look at: one snapshot for all of them.
type shared struct {
	s *Store
	a mail.AccountID
	m MailboxID

	// target is the MODSEQ of the newest durable change that may concern the mailbox; a snapshot that has seen it is
	// the newest.
	target atomic.Uint64
	snap   atomic.Pointer[Snapshot]

	advancing sync.Mutex // held by who reads the next snapshot

	mu     sync.Mutex
	views  map[*View]struct{}
	recent UID // UIDs below were announced to a session as recent

	// Under the registry's lock, while nobody looks at it:
	leave *time.Timer // drops it
	kept  int         // entries of its snapshot
}

// maxReplay is the largest number of change log rows that a snapshot is advanced by; beyond, all is read anew.
const maxReplay = 2000

// latest gives the newest snapshot. Kind NotFound once the mailbox is gone.
func (h *shared) latest(ctx context.Context) (*Snapshot, error) {
	if err := h.ask(ctx); err != nil {
		return nil, mail.Wrap("store.latest", err)
	}
	if p := h.snap.Load(); p != nil && uint64(p.seen) >= h.target.Load() {
		return p, nil
	}
	h.advancing.Lock()
	defer h.advancing.Unlock()
	old := h.snap.Load()
	if old != nil && uint64(old.seen) >= h.target.Load() {
		return old, nil
	}
	var next *Snapshot
	err := h.s.o.KV.View(ctx, lockOf(h.a), func(r kv.Reader) (err error) {
		next, err = h.read(r, old)
		return err
	})
	if err != nil {
		return nil, mail.Wrap("store.latest", err)
	}
	h.snap.Store(next)
	return next, nil
}

// read gives the snapshot of what r shows: old advanced by the change log, or all anew.
func (h *shared) read(r kv.Reader, old *Snapshot) (*Snapshot, error) {
	rows, err := r.GetMulti([]kv.Key{keyCounters(h.a), keyBox(h.a, h.m), keyKeywords(h.a)})
	if err != nil {
		return nil, err
	}
	if rows[0] == nil || rows[1] == nil {
		return nil, noMailbox()
	}
	acct, err := decodeAccount(rows[0])
	if err != nil {
		return nil, err
	}
	b, err := decodeBox(rows[1])
	if err != nil {
		return nil, err
	}
	next := new(Snapshot)
	if old != nil && old.seen >= acct.floor {
		next, err = h.advance(r, old, acct.modSeq, &b)
	} else {
		next, err = h.load(r, next, 0, &b)
	}
	if err != nil {
		return nil, err
	}
	next.validity, next.uidNext, next.highest, next.seen = b.validity, b.uidNext, b.highest, acct.modSeq
	next.keywords, err = namesOf(rows[2], old)
	return next, err
}

func namesOf(row []byte, old *Snapshot) (*keywordNames, error) {
	if old != nil && bytes.Equal(old.keywords.row, row) {
		return old.keywords, nil
	}
	if row == nil {
		return new(keywordNames), nil
	}
	names, err := decodeKeywords(row)
	return &keywordNames{row: bytes.Clone(row), names: names}, err
}

// load adds to p the entries from a UID on.
func (h *shared) load(r kv.Reader, p *Snapshot, from UID, b *boxRow) (*Snapshot, error) {
	d := p.edit()
	for row, err := range r.Scan(keyEntry(h.a, h.m, from), keyEntry(h.a, h.m, b.uidNext), kv.ScanOptions{}) {
		if err != nil {
			return nil, err
		}
		e, err := decodeEntry(row.Value)
		if err != nil {
			return nil, err
		}
		if uid := UID(lastUint32(row.Key)); !b.hidden(uid) {
			d.add(uid, &e)
		}
	}
	return d.done(), nil
}

// advance gives the snapshot after old, at MODSEQ now.
func (h *shared) advance(r kv.Reader, old *Snapshot, now ModSeq, b *boxRow) (*Snapshot, error) {
	touched, ok, err := h.touched(r, old, now)
	if err != nil {
		return nil, err
	}
	if !ok || len(touched) > 1000+old.n/4 {
		return h.load(r, new(Snapshot), 0, b)
	}
	entries, err := readEntries(r, h.a, h.m, nil, touched)
	if err != nil {
		return nil, err
	}
	next := *old
	if len(touched) > 0 {
		d := old.edit()
		for i, uid := range touched {
			if entries[i].email == 0 {
				d.remove(uid)
			} else {
				d.set(uid, &entries[i])
			}
		}
		next = *d.done()
	}
	if b.uidNext > old.uidNext {
		return h.load(r, &next, old.uidNext, b)
	}
	return &next, nil
}

// touched lists the entries of old that were changed or removed up to MODSEQ now, ascending; ok is false when they
// are too many to tell.
func (h *shared) touched(r kv.Reader, old *Snapshot, now ModSeq) (uids []UID, ok bool, err error) {
	rows, limit := 0, 1000+old.n/2
	o := kv.ScanOptions{Limit: maxReplay + 1}
	for row, err := range r.Scan(keyLog(h.a, old.seen+1), keyLog(h.a, now+1), o) {
		if err != nil {
			return nil, false, err
		}
		l, err := decodeLog(row.Value)
		if err != nil {
			return nil, false, err
		}
		if rows++; rows > maxReplay {
			return nil, false, nil
		}
		for _, op := range l.ops {
			if op.m != h.m || op.kind != opFlags && op.kind != opExpunge {
				continue
			}
			for _, s := range op.uids {
				for uid := s.first; uid < min(s.end, old.uidNext); uid++ {
					uids = append(uids, uid)
				}
			}
			if len(uids) > limit {
				slices.Sort(uids)
				if uids = slices.Compact(uids); len(uids) > limit {
					return nil, false, nil
				}
			}
		}
	}
	slices.Sort(uids)
	return slices.Compact(uids), true, nil
}

// raise tells of a durable change and wakes those who wait for one.
func (h *shared) raise(seq ModSeq) {
	for {
		old := h.target.Load()
		if uint64(seq) <= old || h.target.CompareAndSwap(old, uint64(seq)) {
			break
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range h.views {
		v.signal()
	}
}
