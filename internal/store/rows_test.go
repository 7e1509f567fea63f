package store

import (
	"bytes"
	"testing"
)

// FuzzRows decodes anything as every kind of row: what is taken is written back to a row that means the same, and
// memory stays in proportion.
func FuzzRows(f *testing.F) {
	entry := entryRow{email: 1 << 33, copy: 2, flags: 1<<63 | Seen, modSeq: 1 << 40, saved: 1795447620, size: 5000}
	where := whereRow{nextCopy: 3, places: []place{{1, 2}, {7, 1<<32 - 1}}}
	box := boxRow{validity: 9, uidNext: 7, exists: 3, unseen: 1, recent: 2, recentFrom: 5, size: 99, staged: []uidRange{{9, 12}, {3, 4}}}
	log := logRow{time: 5, ops: []logOp{{kind: opExpunge, m: 4, uids: []uidRange{{1, 3}}, gone: []EmailID{4, 9}}, {kind: opKeywords}}}
	email := emailRow{emailHead: emailHead{thread: 4, size: 7, refs: []uint64{1, 1 << 63}}, date: -5, prefix: []byte("a"), tree: []byte("b")}
	for kind, b := range [][]byte{
		entry.encode(), where.encode(), box.encode(), log.encode(), email.encode(),
		mailboxRow{validity: 1, role: RoleSent, name: "Sent"}.encode(), referenceRow{thread: 4, emails: 2}.encode(),
		(&accountRow{nextEmail: 5, bytes: -3}).encode(), job{kind: jobStaged, a: 1, m: 2, first: 3, end: 9}.encode(),
		encodeKeywords([]string{"$Junk", "x"}),
	} {
		f.Add(byte(kind), b)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		once, ok := again(kind, b)
		if !ok {
			return
		}
		if len(once) > len(b) {
			t.Fatalf("%x became longer: %x", b, once)
		}
		if twice, ok := again(kind, once); !ok || !bytes.Equal(once, twice) {
			t.Fatalf("%x became %x became %x", b, once, twice)
		}
	})
}

// again decodes a row and encodes it.
func again(kind byte, b []byte) ([]byte, bool) {
	switch kind % 10 {
	case 0:
		r, err := decodeEntry(b)
		return r.encode(), err == nil
	case 1:
		r, err := decodeWhere(b)
		return r.encode(), err == nil
	case 2:
		r, err := decodeBox(b)
		return r.encode(), err == nil
	case 3:
		r, err := decodeLog(b)
		return r.encode(), err == nil
	case 4:
		r, err := decodeEmail(b)
		return r.encode(), err == nil
	case 5:
		r, err := decodeMailbox(b)
		return r.encode(), err == nil
	case 6:
		r, err := decodeReference(b)
		return r.encode(), err == nil
	case 7:
		r, err := decodeAccount(b)
		return r.encode(), err == nil
	case 8:
		r, err := decodeJob(b)
		return r.encode(), err == nil
	}
	names, err := decodeKeywords(b)
	return encodeKeywords(names), err == nil
}
