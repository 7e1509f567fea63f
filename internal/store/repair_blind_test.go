package store

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// holed is a store of rows some of which the engine cannot read, as behind a damaged block.
type holed struct {
	kv.Store
	from, to kv.Key // from nil: it is whole
}

func (h *holed) View(ctx context.Context, locks []kv.Key, fn func(kv.Reader) error) error {
	return h.Store.View(ctx, locks, func(r kv.Reader) error { return fn(holedReader{r, h}) })
}

func (h *holed) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	return h.Store.Update(ctx, t, func(tx kv.Tx) error { return fn(holedTx{tx, holedReader{tx, h}}) })
}

type holedReader struct {
	r kv.Reader
	h *holed
}

type holedTx struct {
	kv.Tx
	r holedReader
}

func (t holedTx) Get(k kv.Key) ([]byte, error)             { return t.r.Get(k) }
func (t holedTx) GetMulti(keys []kv.Key) ([][]byte, error) { return t.r.GetMulti(keys) }
func (t holedTx) Scan(f, e kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return t.r.Scan(f, e, o)
}

func errHole() error { return mail.E("test", mail.Internal, "a block is damaged") }

func (r holedReader) in(k kv.Key) bool {
	return r.h.from != nil && bytes.Compare(k, r.h.from) >= 0 && bytes.Compare(k, r.h.to) < 0
}

func (r holedReader) Get(k kv.Key) ([]byte, error) {
	if r.in(k) {
		return nil, errHole()
	}
	return r.r.Get(k)
}

func (r holedReader) GetMulti(keys []kv.Key) ([][]byte, error) {
	if slices.ContainsFunc(keys, r.in) {
		return nil, errHole()
	}
	return r.r.GetMulti(keys)
}

func (r holedReader) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return func(yield func(kv.Row, error) bool) {
		for row, err := range r.r.Scan(from, to, o) {
			if err == nil && r.in(row.Key) {
				yield(kv.Row{}, errHole())
				return
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

// TestRepairAroundHoles takes a part of each table out of the engine's reach, with damage elsewhere in the account. A check
// names the range; a repair mends what does not depend on it, and decides upon nothing that may be there: when the range can
// be read again all mail is as it was, and nothing was lost.
func TestRepairAroundHoles(t *testing.T) {
	t.Parallel()
	boxes := []kv.Prefix{kv.Mailboxes, kv.BoxCounters, kv.Entries}
	// What is hurt besides, and the tables whose holes keep it from being mended.
	hurt := map[kv.Prefix][]kv.Prefix{
		kv.Where:       append(boxes, kv.Where, kv.Counters),
		kv.Threads:     append(boxes, kv.Emails, kv.Threads, kv.Counters),
		kv.BoxCounters: append(boxes, kv.Counters),
	}
	tables := []kv.Prefix{
		kv.Mailboxes, kv.Counters, kv.BoxCounters, kv.Entries, kv.Emails, kv.Where, kv.Threads, kv.References, kv.Keywords, kv.Log,
	}
	for i := range 2 * len(tables) {
		hole, wide := tables[i/2], i%2 == 1 // a row, or half of the table
		t.Run(fmt.Sprint(hole, " ", wide), func(t *testing.T) {
			t.Parallel()
			k, err := pebble.OpenMemory()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = k.Close() })
			h := &holed{Store: k}
			w := &world{Store: New(Options{KV: h, Blobs: blob.New(blob.Options{KV: h})}), kv: h, t: t}
			t.Cleanup(func() { _ = w.Close() })
			w.populate()
			before := w.content(1, true)
			damaged := map[kv.Prefix]fix{}
			for p := range hurt {
				if p == hole {
					continue
				}
				row := w.rows(p, 1)[1]
				damaged[p] = row
				if p == kv.BoxCounters { // only what is counted is wrong
					b, err := decodeBox(row.value)
					if err != nil {
						t.Fatal(err)
					}
					b.exists, b.unseen = b.exists+7, b.unseen+7
					w.set(fix{row.key, b.encode()})
					continue
				}
				w.set(fix{row.key, nil})
			}
			rows := w.rows(hole, 1)
			from, to := rows[len(rows)/2], rows[len(rows)/2]
			if wide {
				from, to = rows[len(rows)/4], rows[len(rows)*3/4]
			}
			h.from, h.to = from.key, append(slices.Clone(to.key), 0xff)
			found, err := w.Repair(ctx(t), 1)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(f mail.Finding) bool { return f.Part == string(hole) && f.State == mail.Beyond }) {
				t.Errorf("the range is not named: %v", found)
			}
			for _, f := range found {
				if f.Lost != "" {
					t.Errorf("%s", f)
				}
			}
			h.from = nil
			for p, row := range damaged {
				mended := slices.ContainsFunc(w.rows(p, 1), func(r fix) bool { return bytes.Equal(r.key, row.key) })
				if p == kv.BoxCounters && mended {
					now, _ := decodeBox(w.row(row.key))
					was, _ := decodeBox(row.value)
					mended = now.exists == was.exists && now.unseen == was.unseen
				}
				if want := !slices.Contains(hurt[p], hole); mended != want {
					t.Errorf("a row of %s: mended %v, want %v; found %v", p, mended, want, found)
				}
			}
			if lost := w.repair(1); len(lost) > 0 {
				t.Errorf("lost %q", lost)
			}
			if !maps.Equal(before, w.content(1, true)) {
				t.Error("mail changed")
			}
			w.usable(1)
		})
	}
}

// TestRepairBlobHoles: bodies and links that cannot be read are not decided upon, and a repair comes to its end.
func TestRepairBlobHoles(t *testing.T) {
	t.Parallel()
	for _, p := range []kv.Prefix{kv.Blobs, kv.BlobLinks} {
		k, err := pebble.OpenMemory()
		if err != nil {
			t.Fatal(err)
		}
		h := &holed{Store: k}
		w := &world{Store: New(Options{KV: h, Blobs: blob.New(blob.Options{KV: h})}), kv: h, t: t}
		w.populate()
		before := w.content(1, true)
		e, err := w.Email(ctx(t), 1, 10)
		if err != nil {
			t.Fatal(err)
		}
		h.from = kv.K(p).ID(e.Blob)
		h.to = append(slices.Clone(h.from), bytes.Repeat([]byte{0xff}, 20)...)
		found, err := w.Repair(ctx(t), 1)
		if want := map[kv.Prefix]int{kv.Blobs: 1}[p]; err != nil || len(found) != want {
			t.Errorf("%s: %v, %v", p, found, err)
		}
		h.from = nil
		w.check(1)
		if !maps.Equal(before, w.content(1, true)) {
			t.Error("mail changed")
		}
		_, _ = w.Close(), k.Close()
	}
}

// row gives a row's value.
func (w *world) row(k kv.Key) (v []byte) {
	w.t.Helper()
	err := w.kv.View(ctx(w.t), nil, func(r kv.Reader) error {
		got, err := r.Get(k)
		v = slices.Clone(got)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}
