package blob

import (
	"errors"
	"testing"
	"time"

	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
)

func TestLinksThatEnd(t *testing.T) {
	t.Parallel()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	now := time.Unix(1_800_000_000, 0)
	s := New(Options{KV: k, Clock: func() time.Time { return now }})
	upload := Owner{Kind: Upload, A: 1, ID: 1}
	put := func(how func(tx kv.Tx, id mail.ID)) mail.ID {
		w := s.New(t.Context())
		defer w.Discard()
		if _, err := w.Write([]byte("some body")); err != nil {
			t.Fatal(err)
		}
		id, err := w.Seal()
		if err != nil {
			t.Fatal(err)
		}
		err = k.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockBlob(id)}}, func(tx kv.Tx) error {
			w.Link(tx, upload)
			how(tx, id)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	ids := map[string]mail.ID{
		"an hour":  put(func(tx kv.Tx, id mail.ID) { s.LinkUntil(tx, id, upload, now.Add(time.Hour)) }),
		"for good": put(func(kv.Tx, mail.ID) {}),
		"renewed": put(func(tx kv.Tx, id mail.ID) {
			s.LinkUntil(tx, id, upload, now.Add(time.Hour))
			s.LinkUntil(tx, id, upload, now.Add(3*time.Hour))
		}),
		"made lasting": put(func(tx kv.Tx, id mail.ID) {
			s.LinkUntil(tx, id, upload, now.Add(time.Hour))
			s.Link(tx, id, upload)
		}),
		"also an email's": put(func(tx kv.Tx, id mail.ID) {
			s.LinkUntil(tx, id, upload, now.Add(time.Hour))
			s.Link(tx, id, Owner{Kind: Email, A: 1, ID: 7})
		}),
	}
	for _, step := range []struct {
		wait time.Duration
		gone []string
	}{
		{59 * time.Minute, nil},
		{time.Minute, []string{"an hour"}},
		{2 * time.Hour, []string{"an hour", "renewed"}},
	} {
		now = now.Add(step.wait)
		if _, err := s.Sweep(t.Context(), time.Hour); err != nil {
			t.Fatal(err)
		}
		gone := map[string]bool{}
		for _, n := range step.gone {
			gone[n] = true
		}
		for name, id := range ids {
			if _, err := s.Size(t.Context(), id); mail.Is(err, mail.NotFound) != gone[name] || err != nil && !gone[name] {
				t.Errorf("after %v: %s: %v", step.wait, name, err)
			}
		}
	}
	err = k.View(t.Context(), nil, func(r kv.Reader) error {
		for row := range r.Scan(kv.K(kv.BlobEnds), kv.K(kv.BlobEnds).End(), kv.ScanOptions{}) {
			return errors.New("left: " + string(row.Key))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// BenchmarkSweepIdle sweeps where nothing has ended, with 10,000 links that will.
func BenchmarkSweepIdle(b *testing.B) {
	k, err := pebble.OpenMemory()
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	s := New(Options{KV: k})
	err = k.Update(b.Context(), kv.Txn{}, func(tx kv.Tx) error {
		for i := range uint64(10_000) {
			s.LinkUntil(tx, s.ids.New(time.Now()), Owner{Kind: Upload, A: 1, ID: i}, time.Now().Add(time.Hour))
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("by end", func(b *testing.B) {
		for range b.N {
			if _, err := s.Sweep(b.Context(), time.Hour); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("all links", func(b *testing.B) {
		for range b.N {
			err := k.View(b.Context(), nil, func(r kv.Reader) error {
				for _, err := range r.Scan(kv.K(kv.BlobLinks), kv.K(kv.BlobLinks).End(), kv.ScanOptions{}) {
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
}
