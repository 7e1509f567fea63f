package app

import (
	"context"
	"encoding/binary"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/tlspolicy/tlsrpt"
)

// tlsLedger is a tlsrpt.Ledger on rows: a row a day and domain, and one a day that has the number of its domains. All of
// a day are under one lock, so that nodes add to one another's counts.
type tlsLedger struct{ kv kv.Store }

func tlsDay(d tlsrpt.Day) kv.Key { return kv.LockTLSReports(uint32(d)) }

func tlsReportKey(d tlsrpt.Day, m mail.Domain) kv.Key { return tlsDay(d).Text(string(m)) }

// tlsBatch is how many domains are written, or read, at once.
const tlsBatch = 200

// Add implements tlsrpt.Ledger.
func (l tlsLedger) Add(ctx context.Context, d tlsrpt.Day, more map[mail.Domain]tlsrpt.Counts) (refused int, err error) {
	names := make([]mail.Domain, 0, len(more))
	for m := range more {
		names = append(names, m)
	}
	slices.Sort(names)
	for batch := range slices.Chunk(names, tlsBatch) {
		n, err := l.add(ctx, d, batch, more)
		if refused += n; err != nil {
			return refused, err
		}
		for _, m := range batch {
			delete(more, m) // it is kept: not to be counted again when a later batch fails
		}
	}
	return refused, nil
}

func (l tlsLedger) add(ctx context.Context, d tlsrpt.Day, names []mail.Domain, more map[mail.Domain]tlsrpt.Counts) (refused int, err error) {
	keys := []kv.Key{tlsDay(d)}
	for _, m := range names {
		keys = append(keys, tlsReportKey(d, m))
	}
	err = l.kv.Update(ctx, kv.Txn{Lock: keys[:1], Read: keys, Lazy: true}, func(tx kv.Tx) error {
		values, err := tx.GetMulti(keys)
		if err != nil {
			return err
		}
		refused = 0
		domains, _ := binary.Uvarint(values[0]) // 0 without a row
		before := domains
		for i, m := range names {
			v := values[i+1]
			if v == nil && domains >= tlsrpt.MaxDomains {
				refused++
				continue
			}
			if v == nil {
				domains++
			}
			if err := l.merge(tx, keys[i+1], v, more[m]); err != nil {
				return err
			}
		}
		if domains != before {
			tx.Set(keys[0], binary.AppendUvarint(nil, domains))
		}
		return nil
	})
	return refused, err
}

// merge adds counts to a row; one that cannot be read begins anew.
func (l tlsLedger) merge(tx kv.Tx, k kv.Key, v []byte, more tlsrpt.Counts) error {
	var row tlsrpt.Row
	if v != nil {
		row, _ = tlsrpt.DecodeRow(v)
	}
	row.Counts.Add(more)
	b, err := row.Encode()
	if err == nil {
		tx.Set(k, b)
	}
	return err
}

// Row implements tlsrpt.Ledger.
func (l tlsLedger) Row(ctx context.Context, d tlsrpt.Day, m mail.Domain) (row tlsrpt.Row, err error) {
	k := tlsReportKey(d, m)
	err = l.kv.View(ctx, []kv.Key{tlsDay(d)}, func(r kv.Reader) error {
		v, err := r.Get(k)
		if err != nil {
			return err
		}
		row, err = tlsrpt.DecodeRow(v)
		return err
	})
	if mail.Is(err, mail.NotFound) {
		err = mail.E("tlsrpt.row", mail.NotFound, "no session with %s on %s was counted", m, d)
	}
	return row, err
}

// Rows implements tlsrpt.Ledger.
func (l tlsLedger) Rows(ctx context.Context, d tlsrpt.Day, fn func(mail.Domain, tlsrpt.Row) error) error {
	type one struct {
		m   mail.Domain
		row tlsrpt.Row
	}
	from, end := append(tlsDay(d), 0), tlsDay(d).End() // behind the number of domains
	for from != nil {
		var page []one
		err := l.kv.View(ctx, []kv.Key{tlsDay(d)}, func(r kv.Reader) error {
			page = page[:0]
			var last kv.Key
			n := 0
			for row, err := range r.Scan(from, end, kv.ScanOptions{Limit: tlsBatch}) {
				if err != nil {
					return err
				}
				n++
				last = append(append(last[:0], row.Key...), 0)
				if v, err := tlsrpt.DecodeRow(row.Value); err == nil {
					page = append(page, one{mail.Domain(row.Key[len(tlsDay(d)):]), v})
				}
			}
			if from = nil; n == tlsBatch {
				from = last
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, o := range page {
			if err := fn(o.m, o.row); err != nil {
				return err
			}
		}
	}
	return nil
}

// Change implements tlsrpt.Ledger.
func (l tlsLedger) Change(ctx context.Context, d tlsrpt.Day, m mail.Domain, fn func(*tlsrpt.Row)) error {
	k := tlsReportKey(d, m)
	return l.kv.Update(ctx, kv.Txn{Lock: []kv.Key{tlsDay(d)}, Read: []kv.Key{k}}, func(tx kv.Tx) error {
		v, err := tx.Get(k)
		if err != nil {
			return err
		}
		row, err := tlsrpt.DecodeRow(v)
		if err != nil {
			return err
		}
		fn(&row)
		b, err := row.Encode()
		if err == nil {
			tx.Set(k, b)
		}
		return err
	})
}

// Forget implements tlsrpt.Ledger.
func (l tlsLedger) Forget(ctx context.Context, before tlsrpt.Day) error {
	for {
		var old []kv.Key
		err := l.kv.View(ctx, nil, func(r kv.Reader) error {
			old = old[:0]
			for row, err := range r.Scan(kv.K(kv.TLSReports), tlsDay(before), kv.ScanOptions{Limit: tlsBatch, KeysOnly: true}) {
				if err != nil {
					return err
				}
				old = append(old, slices.Clone(row.Key))
			}
			return nil
		})
		if err != nil || len(old) == 0 {
			return err
		}
		var locks []kv.Key
		for _, k := range old {
			locks = append(locks, k[:len(tlsDay(before))])
		}
		err = l.kv.Update(ctx, kv.Txn{Lock: locks, Lazy: true, Frees: true}, func(tx kv.Tx) error {
			for _, k := range old {
				tx.Delete(k)
			}
			return nil
		})
		if err != nil || len(old) < tlsBatch {
			return err
		}
	}
}
