package store

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

// recorded is a kv.Store that notes the rows of each transaction.
type recorded struct {
	kv.Store
	txns *[][]row
}

type row struct {
	key   kv.Key
	value []byte
}

type recordedTx struct {
	kv.Tx
	rows []row
}

func (t *recordedTx) Set(k kv.Key, v []byte) {
	t.rows = append(t.rows, row{append(kv.Key(nil), k...), append([]byte{}, v...)})
	t.Tx.Set(k, v)
}

func (r recorded) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	var rows []row
	err := r.Store.Update(ctx, t, func(tx kv.Tx) error {
		rec := &recordedTx{Tx: tx}
		err := fn(rec)
		rows = rec.rows
		return err
	})
	if err == nil && len(rows) > 0 {
		*r.txns = append(*r.txns, rows)
	}
	return err
}

func benchDelivery(i, accounts int64) Delivery {
	return Delivery{Account: mail.AccountID(1 + i%accounts), Prefix: []byte("Return-Path: <a@example.org>\r\n")}
}

// besideAccounts get mail in turn.
const besideAccounts = 1000

// BenchmarkBeside delivers messages of 5 KB to 1,000 accounts and beside it, in the same run, has a bare Pebble commit the
// rows of the same deliveries: a synced batch a delivery, as many producers, no locks and no reads. "rows" are messages that
// are ready but for their rows, "whole" ones are parsed and compressed too.
//
// There are two bare ones, both with Pebble's own options but for the write buffer. That of "bare" is as large as ours: beside
// it stands what our layers cost. That of "bare64" takes all rows of a round: it writes no table as long as the clock runs,
// while ours writes and compacts tables as a server does that goes on. In rounds of 200,000 messages the two are alike.
//
// An iteration is a round of each, in turn: -benchtime=9x. "…-of-…" is the median of the rounds' ratios, "…-cpu" the CPU
// time that a message takes in µs, of all threads.
func BenchmarkBeside(b *testing.B) {
	const most = 20_000
	txns := recordDeliveries(b, besideMessages(b, most), besideAccounts)
	for _, p := range []struct{ producers, messages int }{{1, 2000}, {16, most / 2}, {128, most}} {
		b.Run(fmt.Sprintf("producers=%d", p.producers), func(b *testing.B) {
			var bare, bare64, rows, whole rounds
			for range b.N {
				bare.add(benchBare(b, txns[:p.messages], p.producers, 16<<20))
				rows.add(benchStore(b, p.messages, p.producers, false))
				bare64.add(benchBare(b, txns[:p.messages], p.producers, 64<<20))
				whole.add(benchStore(b, p.messages, p.producers, true))
			}
			bare.report(b, "bare")
			bare64.report(b, "bare64")
			rows.report(b, "rows")
			whole.report(b, "whole")
			b.ReportMetric(rows.of(bare), "rows-of-bare")
			b.ReportMetric(rows.of(bare64), "rows-of-bare64")
			b.ReportMetric(whole.of(bare), "whole-of-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// rounds are the outcomes of one program's rounds: messages a second, and µs of CPU time a message.
type rounds struct{ rate, cpu []float64 }

func (r *rounds) add(rate, cpu float64) { r.rate, r.cpu = append(r.rate, rate), append(r.cpu, cpu) }

func (r *rounds) report(b *testing.B, name string) {
	b.ReportMetric(median(r.rate), name+"/s")
	b.ReportMetric(median(r.cpu), name+"-cpu")
}

// of gives the median of the ratios of the rates.
func (r *rounds) of(o rounds) float64 {
	v := slices.Clone(r.rate)
	for i := range v {
		v[i] /= o.rate[i]
	}
	return median(v)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// produce makes some calls by some producers.
func produce(b *testing.B, calls, producers int, call func(i int) error) (rate, cpuTime float64) {
	var n atomic.Int64
	var wg sync.WaitGroup
	runtime.GC() // what was before is not this one's
	start, before := time.Now(), cpu()
	for range producers {
		wg.Go(func() {
			for i := int(n.Add(1)); i <= calls; i = int(n.Add(1)) {
				if err := call(i - 1); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	took, spent := time.Since(start), cpu()-before
	return float64(calls) / took.Seconds(), float64(spent.Nanoseconds()) / 1000 / float64(calls)
}

// besideMessages gives messages that are ready but for their rows.
func besideMessages(b *testing.B, n int) []*Message {
	w := &world{Store: New(Options{Blobs: blob.New(blob.Options{})}), t: b}
	texts := besideTexts()
	messages := make([]*Message, n)
	for i := range messages {
		messages[i] = take(w, texts[i%len(texts)])
	}
	return messages
}

func besideTexts() []string {
	texts := make([]string, 256)
	for i := range texts {
		texts[i] = mail5k(i)
	}
	return texts
}

// quiet is a logger of an engine that has nothing to say.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}

func (quiet) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// benchBare commits recorded transactions.
func benchBare(b *testing.B, txns [][]row, producers int, buffer uint64) (rate, cpuTime float64) {
	db, err := engine.Open(b.TempDir(), &engine.Options{MemTableSize: buffer, Logger: quiet{}})
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	return produce(b, len(txns), producers, func(i int) error {
		batch := db.NewBatch()
		defer batch.Close()
		for _, r := range txns[i] {
			if err := batch.Set(r.key, r.value, nil); err != nil {
				return err
			}
		}
		return batch.Commit(engine.Sync)
	})
}

// benchStore delivers through the store; without whole the messages are ready but for their rows.
func benchStore(b *testing.B, messages, producers int, whole bool) (rate, cpuTime float64) {
	k, err := pebble.Open(pebble.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k})}), kv: k, t: b}
	var wg sync.WaitGroup
	for first := range 50 {
		wg.Go(func() {
			for a := first; a < besideAccounts; a += 50 {
				w.account(mail.AccountID(a + 1))
			}
		})
	}
	wg.Wait()
	texts, ready := besideTexts(), make([]*Message, messages)
	if !whole {
		ready = besideMessages(b, messages)
	}
	return produce(b, messages, producers, func(i int) error {
		m := ready[i]
		if whole {
			m = take(w, texts[i%len(texts)])
		}
		_, err := w.AppendOne(context.Background(), m, benchDelivery(int64(i), besideAccounts))
		m.Discard()
		return err
	})
}
