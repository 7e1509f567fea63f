package blob

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"postel/internal/kv"
	"postel/internal/mail"
)

// form tells where a body lies and how.
type form byte

const (
	inlineRaw form = iota
	inlineZstd
	object
	inlineS2
)

const (
	rowVersion = 1
	rowHeader  = 18
)

// row is a bl row.
type row struct {
	form   form
	length int64
	digest uint64
	body   []byte // stored octets of an inline one
}

// appendHeader appends the row without its body.
func (r row) appendHeader(b []byte) []byte {
	b = append(b, rowVersion, byte(r.form))
	b = binary.BigEndian.AppendUint64(b, uint64(r.length))
	return binary.BigEndian.AppendUint64(b, r.digest)
}

// parseRow reads a row; ok is false when it is damaged. The body is part of b.
func parseRow(b []byte) (r row, ok bool) {
	if len(b) < rowHeader || b[0] != rowVersion || form(b[1]) > inlineS2 {
		return row{}, false
	}
	r = row{form: form(b[1]), digest: binary.BigEndian.Uint64(b[10:]), body: b[rowHeader:]}
	r.length = int64(binary.BigEndian.Uint64(b[2:]))
	switch {
	case r.length < 0, r.form == object && len(r.body) > 0, r.form == inlineRaw && int64(len(r.body)) != r.length:
		return row{}, false
	}
	return r, true
}

// plain appends the body of an inline row to dst, verified.
func (s *Store) plain(dst []byte, r row) ([]byte, bool) {
	have := len(dst)
	var err error
	switch n := int(min(r.length, 1<<40)); r.form {
	case inlineRaw:
		dst = append(dst, r.body...)
	case inlineS2:
		dst, err = s.codec.unpackS2(dst, r.body, n)
	default:
		dst, err = s.codec.decompress(dst, r.body, n)
	}
	if err != nil {
		return dst, false
	}
	return dst, xxhash.Sum64(dst[have:]) == r.digest
}

func blobKey(id mail.ID) kv.Key { return kv.K(kv.Blobs).ID(id) }

func garbageKey(id mail.ID) kv.Key { return kv.K(kv.BlobGarbage).ID(id) }

func linksKey(id mail.ID) kv.Key { return kv.K(kv.BlobLinks).ID(id) }

func linkKey(id mail.ID, o Owner) kv.Key {
	return append(make(kv.Key, 0, 40), linksKey(id)...).U8(byte(o.Kind)).U64(o.A).U64(o.ID)
}

// damaged is the error of a body that cannot be read as it was written; a backend that is away, or a caller, damages
// nothing.
func damaged(id mail.ID, err error) error {
	if mail.Is(err, mail.Unavailable) || mail.Is(err, mail.Canceled) {
		return mail.Wrap("blob.read", err)
	}
	return &mail.Error{Op: "blob.read", Kind: mail.Internal, Text: "blob " + id.String() + " is damaged", Err: err}
}
