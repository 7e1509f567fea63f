package deep

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/queue"
	"postel/internal/store"
)

// filler puts items into the queue of a data directory whose server is not running.
type filler struct {
	t     *testing.T
	kv    kv.Store
	blobs *blob.Store
	store *store.Store
	queue *queue.Queue
}

// fillBatch is how many items one commit takes.
const fillBatch = 500

// fill opens the directory for fn.
func fill(t *testing.T, data string, fn func(f *filler)) {
	t.Helper()
	k, err := pebble.Open(pebble.Options{Dir: filepath.Join(data, "kv"), Format: math.MaxUint32})
	if err != nil {
		t.Fatal(err)
	}
	f := &filler{t: t, kv: k, blobs: blob.New(blob.Options{KV: k})}
	f.store = store.New(store.Options{KV: k, Blobs: f.blobs})
	f.queue = queue.New(queue.Options{KV: k, Blobs: f.blobs})
	fn(f)
	if err := f.store.Close(); err != nil {
		t.Error(err)
	}
	if err := k.Close(); err != nil {
		t.Error(err)
	}
}

// add adds n items; destination and due give those of the i-th.
func (f *filler) add(n int, destination func(i int) string, due func(i int) time.Time) {
	f.t.Helper()
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	for from := 0; from < n; from += fillBatch {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f.batch(from, min(from+fillBatch, n), destination, due); err != nil {
				f.t.Error(err)
			}
		})
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.FailNow()
	}
}

func (f *filler) batch(from, to int, destination func(i int) string, due func(i int) time.Time) error {
	var items []*queue.Item
	bodies := map[mail.ID]*store.Message{}
	var locks []kv.Key
	for i := from; i < to; i++ {
		m, err := f.message(i)
		if err != nil {
			return err
		}
		defer m.Discard()
		it := f.item(m, destination(i), due(i))
		items, bodies[m.ID()] = append(items, it), m
		locks = append(locks, it.ID.Lock())
	}
	return f.kv.Update(f.t.Context(), kv.Txn{Lock: locks, Lazy: true}, func(tx kv.Tx) error {
		for _, it := range items {
			err := f.queue.Add(tx, it, func(tx kv.Tx, o blob.Owner) { f.store.Link(tx, bodies[it.Blob], o) })
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *filler) message(i int) (*store.Message, error) {
	in := f.store.Incoming(f.t.Context())
	_, err := fmt.Fprintf(in, "From: news@here.test\r\nSubject: issue %d\r\nMessage-ID: <%d@here.test>\r\n\r\n", i, i)
	if err == nil {
		_, err = io.WriteString(in, text)
	}
	if err != nil {
		in.Discard()
		return nil, err
	}
	return in.Seal()
}

func (f *filler) item(m *store.Message, destination string, due time.Time) *queue.Item {
	return &queue.Item{
		ID: f.queue.NewID(destination), Destination: destination, Blob: m.ID(), Size: m.Size(), Content: m.Content(),
		Prefix: []byte("Received: by here.test; Mon, 1 Nov 2027 10:00:00 +0000\r\n"), Received: time.Now(),
		From: mail.Address{Local: "news", Domain: "here.test"},
		Recipients: []queue.Recipient{{
			Recipient: mail.Recipient{Address: mail.Address{Local: "reader", Domain: mail.Domain(destination)}}, Due: due,
		}},
	}
}
