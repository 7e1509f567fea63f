package search

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"postel/internal/kv"
	"postel/internal/message"
)

// TestAgrees compares the index with the texts themselves, in every state: while it is being built, complete, merged,
// with emails gone and come, and after damage.
func TestAgrees(t *testing.T) {
	t.Parallel()
	rounds := uint64(12)
	if testing.Short() {
		rounds = 4
	}
	real := mails(t)
	for seed := range rounds {
		r := rand.New(rand.NewPCG(seed, 1))
		w := newWorld(t, Options{Least: 1, Batch: 2000 + r.IntN(20_000), Largest: 100_000})
		for range 60 {
			w.src.add(synthetic(r))
		}
		for _, m := range real {
			w.src.add(m)
		}
		look := func() {
			t.Helper()
			for range 25 {
				w.lookAtRandom(r)
			}
		}
		for more := true; more; {
			var err error
			if more, err = w.step(t.Context(), account, 1); err != nil {
				t.Fatal(err)
			}
			look()
		}
		if u, _ := w.agree("invoice", message.Anywhere); u != 0 {
			t.Fatalf("%d emails are not indexed in the end", u)
		}
		for range 40 {
			ids := w.src.ids()
			w.src.remove(ids[r.IntN(len(ids))])
		}
		w.src.add(synthetic(r))
		look()
		w.damage(r)
		look()
		if err := w.Build(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		look()
		if err := w.Rebuild(t.Context(), account); err != nil {
			t.Fatal(err)
		}
		if found, err := w.Check(t.Context(), account); err != nil || len(found) != 0 {
			t.Fatal(found, err)
		}
	}
}

// damage scribbles over some rows of the index, or removes them.
func (w *world) damage(r *rand.Rand) {
	w.t.Helper()
	var keys []kv.Key
	err := w.kv.View(w.t.Context(), []kv.Key{kv.LockAccount(account)}, func(rd kv.Reader) error {
		for _, p := range []kv.Prefix{kv.TextIndex, kv.TextState} {
			from := kv.K(p).Account(account)
			for row, err := range rd.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
				if err != nil {
					return err
				}
				if p == kv.TextIndex || r.IntN(3) == 0 {
					keys = append(keys, append(kv.Key(nil), row.Key...))
				}
			}
		}
		return nil
	})
	if err != nil || len(keys) == 0 {
		w.t.Fatal(err, len(keys))
	}
	err = w.kv.Update(w.t.Context(), kv.Txn{Lock: []kv.Key{kv.LockAccount(account)}}, func(tx kv.Tx) error {
		for range 1 + r.IntN(4) {
			k := keys[r.IntN(len(keys))]
			v, err := tx.Get(k)
			if err != nil || r.IntN(3) == 0 {
				tx.Delete(k)
				continue
			}
			v = append([]byte(nil), v...)
			v[r.IntN(len(v))] ^= 1 << r.IntN(8)
			tx.Set(k, v[:len(v)-r.IntN(2)])
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestPlans looks at how needles are looked up.
func TestPlans(t *testing.T) {
	t.Parallel()
	for needle, want := range map[string]string{
		"":                                   "",
		" -. ":                               "",
		"a":                                  "inside a; exact",
		"word":                               "inside word; exact",
		"ion. mas":                           "back ion; front mas",
		"(a b) c":                            "whole a; whole b; front c",
		" word ":                             "whole word",
		"発":                                  "inside 発; exact",
		"発注":                                 "whole 発注; exact",
		"発注書":                                "whole 発注; whole 注書",
		"x発注":                                "back x; whole 発注",
		"ééé":                                "inside e\u0301e\u0301e\u0301; exact",
		"0123456789012345678901234567890123": "inside 012345678901234567890123456789012; inside 123456789012345678901234567890123",
	} {
		p := planOf([]byte(message.Fold(needle)))
		got := ""
		for i, q := range p.probes {
			if i > 0 {
				got += "; "
			}
			got += fmt.Sprintf("%s %s", [...]string{"whole", "front", "back", "inside"}[q.fit], q.text)
		}
		if p.exact {
			got += "; exact"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", needle, got, want)
		}
	}
}
