package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"postel/internal/blob"
	"postel/internal/kv/pebble"
	"postel/internal/kv/pgtest"
	"postel/internal/kv/postgres"
	"postel/internal/mail"
)

// BenchmarkDeliverPostgres compares deliveries of ready messages of 5 KB by 128 producers into a store on a durable
// PostgreSQL with a bare program that writes the rows of the same deliveries to a table (k bytea, v bytea) of the same
// server, as many at a time, in two sessions, without locks, reads and answers to anyone. Run it with -benchtime=16x:
// each round delivers 1,280 messages each way, and the rounds alternate.
func BenchmarkDeliverPostgres(b *testing.B) {
	const producers, accounts, round = 128, 1000, 1280
	url := pgtest.Start(b, true).URL(b)
	k, err := postgres.Open(b.Context(), postgres.Options{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	w := worldOn(b, k)
	for a := range accounts {
		w.account(mail.AccountID(a + 1))
	}
	messages := make([]*Message, round*b.N)
	for i := range messages {
		messages[i] = take(w, mail5k(i))
	}
	txns := recordDeliveries(b, messages, accounts)
	bare := newBare(b, url)
	var bareTime, storeTime time.Duration
	b.ResetTimer()
	for i := range b.N {
		first, end := i*round, (i+1)*round
		storeTime += deliverAll(w, messages, first, end, producers, accounts)
		bareTime += bare.write(txns[first:end], producers/len(bare.conns))
	}
	n := float64(len(messages))
	b.ReportMetric(n/storeTime.Seconds(), "store/s")
	b.ReportMetric(n/bareTime.Seconds(), "bare/s")
	b.ReportMetric(100*bareTime.Seconds()/storeTime.Seconds(), "%")
}

// recordDeliveries gives the rows that the deliveries write, before anything is timed: what the engine they are taken
// from does in the background is nobody's cost.
func recordDeliveries(b *testing.B, messages []*Message, accounts int) [][]row {
	memory, err := pebble.OpenMemory()
	if err != nil {
		b.Fatal(err)
	}
	defer memory.Close()
	var txns [][]row
	k := recorded{memory, &txns}
	w := &world{Store: New(Options{KV: k, Blobs: blob.New(blob.Options{KV: k})}), kv: k, t: b}
	for a := range accounts {
		w.account(mail.AccountID(a + 1))
	}
	txns = nil
	for i, m := range messages {
		if _, err := w.AppendOne(b.Context(), m, benchDelivery(int64(i), int64(accounts))); err != nil {
			b.Fatal(err)
		}
	}
	return txns
}

// deliverAll delivers messages[first:end] to the accounts in turn.
func deliverAll(w *world, messages []*Message, first, end, producers, accounts int) time.Duration {
	var next atomic.Int64
	next.Store(int64(first))
	var wg sync.WaitGroup
	start := time.Now()
	for range producers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(end); i = next.Add(1) - 1 {
				if _, err := w.AppendOne(context.Background(), messages[i], benchDelivery(i, int64(accounts))); err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

// bare is the program without a mail store: two sessions that write groups in turn.
type bare struct {
	b     *testing.B
	conns []*pgx.Conn
}

func newBare(b *testing.B, url string) *bare {
	p := &bare{b: b}
	for range 2 {
		c, err := pgx.Connect(b.Context(), url)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.Close(context.Background()) })
		p.conns = append(p.conns, c)
	}
	for _, sql := range []string{
		`CREATE TABLE bare (k bytea PRIMARY KEY, v bytea NOT NULL) WITH (fillfactor = 85)`,
		`ALTER TABLE bare ALTER COLUMN v SET STORAGE EXTERNAL`, // as the store's: values are compressed already
	} {
		if _, err := p.conns[0].Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

// write commits the rows of so many transactions at a time.
func (p *bare) write(txns [][]row, group int) time.Duration {
	groups := make(chan [][]row, len(txns))
	for g := range slices.Chunk(txns, group) {
		groups <- g
	}
	close(groups)
	var wg sync.WaitGroup
	start := time.Now()
	for _, c := range p.conns {
		wg.Go(func() {
			for g := range groups {
				if err := writeGroup(c, g); err != nil {
					p.b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return time.Since(start)
}

func writeGroup(c *pgx.Conn, txns [][]row) error {
	var all []row
	for _, t := range txns {
		all = append(all, t...)
	}
	slices.SortStableFunc(all, func(a, b row) int { return bytes.Compare(a.key, b.key) })
	var keys, values [][]byte
	for i, r := range all {
		if i+1 == len(all) || !bytes.Equal(r.key, all[i+1].key) { // the last one stands
			keys, values = append(keys, r.key), append(values, r.value)
		}
	}
	var batch pgx.Batch
	batch.Queue(`BEGIN`)
	batch.Queue(`INSERT INTO bare SELECT * FROM unnest($1::bytea[], $2::bytea[]) ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v`, keys, values)
	batch.Queue(`COMMIT`)
	if err := c.SendBatch(context.Background(), &batch).Close(); err != nil {
		return fmt.Errorf("bare: %w", err)
	}
	return nil
}
