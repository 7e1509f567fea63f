package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"

	"golang.org/x/sync/errgroup"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Table is what one table of rows has.
type Table struct {
	Prefix string `json:"table"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	Digest string `json:"sha256"` // over the length and octets of each key and value
}

// verify reads both sides whole and compares their tables.
func (r *run) verify(ctx context.Context) error {
	r.progress = Progress{Phase: "verify"}
	var from, to []Table
	g, both := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		from, err = survey(both, r.From.Rows, func(t Table, rows, size int64) {
			r.progress.Table, r.progress.Rows, r.progress.Bytes = t.Prefix, rows, size
			r.tell()
		})
		return err
	})
	g.Go(func() (err error) {
		to, err = survey(both, r.To.Rows, func(Table, int64, int64) {})
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if differ := compare(from, to); len(differ) > 0 {
		return mail.E("migrate", mail.Internal,
			"the sides differ in the tables %s: the source was changed meanwhile; begin again with an empty target", strings.Join(differ, " "))
	}
	r.result.Tables = from
	for _, t := range from {
		r.result.Rows += t.Rows
		r.result.Bytes += t.Bytes
	}
	return nil
}

// survey counts and digests all tables, in the order of their keys. tell is called every some thousand rows.
func survey(ctx context.Context, s kv.Store, tell func(t Table, rows, size int64)) (tables []Table, err error) {
	var at Table
	var h hash.Hash
	var rows, size int64
	flush := func() {
		if h != nil {
			at.Digest = hex.EncodeToString(h.Sum(nil))
			tables = append(tables, at)
		}
	}
	var head [8]byte
	for row, err := range all(ctx, s, nil) {
		if err != nil {
			return nil, err
		}
		if p := string(row.Key[:min(len(row.Key), 2)]); h == nil || p != at.Prefix {
			flush()
			at, h = Table{Prefix: p}, sha256.New()
		}
		for _, b := range [][]byte{row.Key, row.Value} {
			binary.BigEndian.PutUint64(head[:], uint64(len(b)))
			_, _ = h.Write(head[:]) // never fails (hash.Hash)
			_, _ = h.Write(b)
		}
		n := int64(len(row.Key) + len(row.Value))
		at.Rows, at.Bytes = at.Rows+1, at.Bytes+n
		size += n
		if rows++; rows%batchRows == 0 {
			tell(at, rows, size)
		}
	}
	flush()
	return tables, nil
}

// compare lists the tables that are not the same.
func compare(a, b []Table) (differ []string) {
	other := map[string]Table{}
	for _, t := range b {
		other[t.Prefix] = t
	}
	for _, t := range a {
		if other[t.Prefix] != t {
			differ = append(differ, t.Prefix)
		}
		delete(other, t.Prefix)
	}
	for p := range other {
		differ = append(differ, p)
	}
	return differ
}
