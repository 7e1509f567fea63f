package backup

import (
	"encoding/binary"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/store"
)

// Head is what an archive says of itself.
type Head struct {
	Format  int       `json:"format"`
	ID      mail.ID   `json:"id"`
	Made    time.Time `json:"made"`
	Of      string    `json:"of,omitempty"`    // the account, "" is everything
	Since   mail.ID   `json:"since,omitempty"` // the archive that this one builds on
	Version string    `json:"version,omitempty"`
}

// account is the payload of A.
type account struct {
	Address string     `json:"address"`
	Partial bool       `json:"partial,omitempty"` // in a restore: not all of its mail
	Mail    store.Dump `json:"mail"`
}

// total is the payload of Z and X.
type total struct {
	Accounts int   `json:"accounts,omitempty"`
	Messages int   `json:"messages"`
	Bytes    int64 `json:"bytes,omitempty"`
	Queue    int   `json:"queue,omitempty"`
	// Unreadable is how many messages were damaged in the store itself, and are not in the archive, or not whole.
	Unreadable int `json:"unreadable,omitempty"`
	// Gone are the emails of the account that were removed for good while it was backed up.
	Gone []uint64 `json:"gone,omitempty"`
}

// reader reads a payload and keeps that it was bad.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) octets() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func appendOctets(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

// encodeRows is the payload of D and R.
func encodeRows(rows []kv.Row) []byte {
	var b []byte
	for _, r := range rows {
		b = appendOctets(appendOctets(b, r.Key), r.Value)
	}
	return b
}

func decodeRows(b []byte) ([]kv.Row, error) {
	var rows []kv.Row
	r := reader{b: b}
	for len(r.b) > 0 && !r.bad {
		rows = append(rows, kv.Row{Key: append(kv.Key(nil), r.octets()...), Value: append([]byte(nil), r.octets()...)})
	}
	if r.bad {
		return nil, damaged("rows of the directory")
	}
	return rows, nil
}

// appendEntry appends an entry of E.
func appendEntry(b []byte, e *store.DumpedEntry) []byte {
	for _, v := range [...]uint64{uint64(e.Mailbox), uint64(e.UID), uint64(e.Email), uint64(e.Copy), uint64(e.Flags), uint64(max(e.Saved, 0))} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeEntries(b []byte) ([]store.DumpedEntry, error) {
	list := make([]store.DumpedEntry, 0, len(b)/12+1)
	r := reader{b: b}
	for len(r.b) > 0 && !r.bad {
		list = append(list, store.DumpedEntry{
			Mailbox: store.MailboxID(r.uint()), UID: store.UID(r.uint()), Email: store.EmailID(r.uint()), Copy: uint32(r.uint()),
			Flags: store.Flags(r.uint()), Saved: int64(r.uint() & (1<<62 - 1)),
		})
	}
	if r.bad {
		return nil, damaged("a list of entries")
	}
	return list, nil
}

// letter is the payload of M and Q.
type letter struct {
	entries []store.DumpedEntry // in a restore: where it goes
	row     []byte
	size    int64  // of the body
	body    []byte // its beginning
}

func (l *letter) encode() []byte {
	var places []byte
	for i := range l.entries {
		places = appendEntry(places, &l.entries[i])
	}
	b := appendOctets(make([]byte, 0, len(places)+len(l.row)+len(l.body)+32), places)
	b = appendOctets(b, l.row)
	b = binary.AppendUvarint(b, uint64(l.size))
	return append(b, l.body...)
}

func decodeLetter(b []byte) (l letter, err error) {
	r := reader{b: b}
	places := r.octets()
	l.row, l.size = r.octets(), int64(r.uint()&(1<<62-1))
	l.body = r.b
	if r.bad || int64(len(l.body)) > l.size {
		return l, damaged("a message")
	}
	l.entries, err = decodeEntries(places)
	return l, err
}
