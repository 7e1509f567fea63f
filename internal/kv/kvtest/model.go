package kvtest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"postel/internal/kv"
	"postel/internal/mail"
)

// testModel runs random transactions against the store and a map, and compares whatever both can be asked.
func testModel(t *testing.T, s *suite) {
	var account atomic.Uint64 // each check has rows of its own
	account.Store(1000)
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{s: s, a: mail.AccountID(account.Add(1)), rows: map[string]string{}}
		for range rapid.IntRange(1, 8).Draw(rt, "transactions") {
			m.transaction(rt)
			err := s.View(s.ctx, lock(m.a), func(r kv.Reader) error { m.compare(rt, r, m.rows); return nil })
			if err != nil {
				rt.Fatal(err)
			}
		}
	})
}

type model struct {
	s    *suite
	a    mail.AccountID
	rows map[string]string
}

// op is one operation, drawn before the transaction so that fn may run twice.
type op struct {
	what     string
	from, to string
	value    string
}

var errDrop = errors.New("drop")

// name draws from few names, so that they meet; they differ in length and share beginnings.
func name(rt *rapid.T) string {
	return rapid.SampledFrom([]string{"", "a", "a\x00", "aa", "ab", "b", "b\xff", "b\xff\xff", "c", "d"}).Draw(rt, "name")
}

func (m *model) transaction(rt *rapid.T) {
	var ops []op
	for range rapid.IntRange(0, 30).Draw(rt, "ops") {
		o := op{what: rapid.SampledFrom([]string{"set", "set", "delete", "range", "get"}).Draw(rt, "op"), from: name(rt)}
		o.to = o.from + rapid.SampledFrom([]string{"", "\x00", "\xff"}).Draw(rt, "to")
		o.value = strings.Repeat("v", rapid.SampledFrom([]int{0, 1, 100, 20_000}).Draw(rt, "size")) + fmt.Sprint(len(ops))
		ops = append(ops, o)
	}
	drop := rapid.IntRange(0, 5).Draw(rt, "drop") == 0
	var after map[string]string
	err := m.s.Update(m.s.ctx, kv.Txn{Lock: lock(m.a)}, func(tx kv.Tx) error {
		after = maps.Clone(m.rows)
		m.compare(rt, tx, after)
		for _, o := range ops {
			m.apply(rt, tx, after, o)
		}
		if drop {
			return errDrop
		}
		return nil
	})
	switch {
	case drop && !errors.Is(err, errDrop), !drop && err != nil:
		rt.Fatal(err)
	case !drop:
		m.rows = after
	}
}

func (m *model) apply(rt *rapid.T, tx kv.Tx, rows map[string]string, o op) {
	switch o.what {
	case "set":
		tx.Set(key(m.a, o.from), []byte(o.value))
		rows[o.from] = o.value
	case "delete":
		tx.Delete(key(m.a, o.from))
		delete(rows, o.from)
	case "range":
		tx.DeleteRange(key(m.a, o.from), key(m.a, o.to))
		maps.DeleteFunc(rows, func(k, _ string) bool { return o.from <= k && k < o.to })
	}
	m.get(rt, tx, rows, o.from)
}

func (m *model) get(rt *rapid.T, r kv.Reader, rows map[string]string, name string) {
	v, err := r.Get(key(m.a, name))
	if w, ok := rows[name]; ok && (err != nil || string(v) != w) || !ok && !errors.Is(err, kv.ErrNotFound) {
		rt.Fatalf("%q: got %.40q, %v; model %.40q, %v", name, v, err, w, ok)
	}
}

// compare scans, both ways, a range drawn at random, and gets each row of the model.
func (m *model) compare(rt *rapid.T, r kv.Reader, model map[string]string) {
	for name := range model {
		m.get(rt, r, model, name)
	}
	from, to := name(rt), name(rt)+"\xff"
	var wanted []string
	for _, k := range slices.Sorted(maps.Keys(model)) {
		if from <= k && k < to {
			wanted = append(wanted, k+"="+model[k])
		}
	}
	for _, reverse := range []bool{false, true} {
		var got []string
		for row, err := range r.Scan(key(m.a, from), key(m.a, to), kv.ScanOptions{Reverse: reverse}) {
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, string(row.Key[10:])+"="+string(row.Value))
		}
		if reverse {
			slices.Reverse(got)
		}
		if !slices.Equal(got, wanted) {
			rt.Fatalf("scan %q to %q: got %.200q, want %.200q", from, to, got, wanted)
		}
	}
}
