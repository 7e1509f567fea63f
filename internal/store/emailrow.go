package store

import (
	"time"

	"postel/internal/mail"
)

// The row em, written once:
//
//	em = version blob[16] thread size refs kept-hash[8]* internal-date prefix tree
//
// size is that of prefix and blob; tree is the blob's, as message encodes it, without the prefix; it is empty when it
// would be longer than maxTree or beyond keptLimits, and then computed when it is read. What precedes the date is all that deleting needs.

const (
	// MaxPrefix is the longest prefix of a message, in octets.
	MaxPrefix = 64 << 10
	maxTree   = 32 << 10
	maxEmails = 1 << 40
	maxCopies = 1 << 24
)

// emailHead is the front of the row.
type emailHead struct {
	blob   mail.ID
	thread uint64
	size   int64
	refs   []uint64
}

type emailRow struct {
	emailHead
	date   int64 // Unix seconds
	prefix []byte
	tree   []byte
}

func (r *emailRow) encode() []byte { return r.append(make([]byte, 0, 96+len(r.prefix)+len(r.tree))) }

func (r *emailRow) append(b []byte) []byte {
	b = append(b, version)
	b = append(b, r.blob[:]...)
	b = appendUint(b, r.thread)
	b = appendInt(b, r.size)
	b = appendUint(b, len(r.refs))
	for _, h := range r.refs {
		b = appendU64(b, h)
	}
	b = appendInt(b, r.date)
	b = appendOctets(b, r.prefix)
	return appendOctets(b, r.tree)
}

func (d *decoder) emailHead() emailHead {
	var h emailHead
	copy(h.blob[:], d.take(len(h.blob)))
	h.thread, h.size = d.uint(), d.int()
	if n := d.count(8); n > 0 {
		h.refs = make([]uint64, n)
		for i := range h.refs {
			h.refs[i] = d.u64()
		}
	}
	return h
}

func decodeEmailHead(v []byte) (emailHead, error) {
	d := decode(v)
	h := d.emailHead()
	if d.bad {
		return emailHead{}, damaged("em")
	}
	return h, nil
}

// decodeEmail reads the row; prefix and tree lie in v.
func decodeEmail(v []byte) (emailRow, error) {
	d := decode(v)
	r := emailRow{emailHead: d.emailHead()}
	r.date, r.prefix, r.tree = d.int(), d.octets(), d.octets()
	return r, d.end("em")
}

// email gives the row as those outside know it. Root is nil when the row has no tree.
func (r *emailRow) email(id EmailID, tree treeDecoder) (*Email, error) {
	e := &Email{
		ID: id, Blob: r.blob, Prefix: append([]byte(nil), r.prefix...), Size: r.size,
		InternalDate: time.Unix(r.date, 0), Thread: r.thread,
	}
	if len(r.tree) == 0 {
		return e, nil
	}
	root, err := tree(r.tree)
	if err != nil {
		return nil, mail.Wrap("store.email", err)
	}
	root.Shift(int64(len(r.prefix)))
	e.Root = root
	return e, nil
}
