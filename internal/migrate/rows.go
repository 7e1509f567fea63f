package migrate

import (
	"bytes"
	"context"
	"iter"
	"slices"

	"postel/internal/kv"
)

// Bounds of one transaction: of reading, and of writing.
const (
	batchRows  = 5000
	batchBytes = 4 << 20
)

// own tells rows that belong to one place only.
func own(k kv.Key) bool {
	if len(k) < 2 {
		return false
	}
	switch kv.Prefix(k[:2]) {
	case kv.Nodes, kv.Leases:
		return true
	case kv.Server:
		return bytes.Equal(k, markKey()) || bytes.Equal(k, kv.K(kv.Server).Text("format"))
	}
	return false
}

// batch reads the next rows behind a key, in one short View. It gives the last key it looked at, nil at the end.
func batch(ctx context.Context, s kv.Store, after kv.Key, limit int) (rows []kv.Row, last kv.Key, err error) {
	err = s.View(ctx, nil, func(r kv.Reader) error {
		rows, last = rows[:0], nil
		var from kv.Key
		if len(after) > 0 {
			from = append(slices.Clone(after), 0)
		}
		size := 0
		for row, err := range r.Scan(from, nil, kv.ScanOptions{Limit: limit}) {
			if err != nil {
				return err
			}
			last = slices.Clone(row.Key)
			if !own(row.Key) {
				rows = append(rows, kv.Row{Key: last, Value: bytes.Clone(row.Value)})
			}
			if size += len(row.Key) + len(row.Value); size >= batchBytes {
				break
			}
		}
		return nil
	})
	return rows, last, err
}

// all gives all rows behind a key that are copied.
func all(ctx context.Context, s kv.Store, after kv.Key) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		for {
			rows, last, err := batch(ctx, s, after, batchRows)
			if err != nil {
				yield(kv.Row{}, err)
				return
			}
			for _, row := range rows {
				if !yield(row, nil) {
					return
				}
			}
			if last == nil {
				return
			}
			after = last
		}
	}
}

// rows copies the rows behind the mark.
func (r *run) rows(ctx context.Context) error {
	r.progress.Phase = "rows"
	for {
		rows, last, err := batch(ctx, r.From.Rows, r.after, r.Batch)
		if err != nil || last == nil {
			return err
		}
		if err := r.write(ctx, rows, last); err != nil {
			return err
		}
		r.after = last
		r.progress.Table = string(last[:min(len(last), 2)])
		r.tell()
	}
}

// write puts rows into the target and moves the mark. Rows that fill a transaction go without it first.
func (r *run) write(ctx context.Context, rows []kv.Row, last kv.Key) error {
	size := 0
	for _, row := range rows {
		size += len(row.Key) + len(row.Value)
	}
	put := func(tx kv.Tx) {
		for _, row := range rows {
			tx.Set(row.Key, row.Value)
		}
	}
	r.after = last
	mark := r.mark()
	if size > kv.MaxTxnBytes/2 {
		if err := r.To.Rows.Update(ctx, kv.Txn{Lock: lockServer()}, func(tx kv.Tx) error { put(tx); return nil }); err != nil {
			return err
		}
		rows = nil
	}
	err := r.To.Rows.Update(ctx, kv.Txn{Lock: lockServer()}, func(tx kv.Tx) error {
		put(tx)
		tx.Set(markKey(), mark)
		return nil
	})
	r.progress.Rows += int64(len(rows))
	r.progress.Bytes += int64(size)
	return err
}
