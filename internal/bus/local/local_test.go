package local

import (
	"sync"
	"testing"

	"postel/internal/bus"
)

func TestNewestWins(t *testing.T) {
	t.Parallel()
	b := New()
	mine, end := b.Subscribe(bus.OfAccount(1))
	other, endOther := b.Subscribe(bus.OfAccount(2))
	defer endOther()
	for _, n := range []uint64{3, 7, 5} {
		b.Publish(bus.OfAccount(1), n)
	}
	if n := <-mine; n != 7 {
		t.Errorf("got %d", n)
	}
	select {
	case n := <-mine:
		t.Errorf("got %d once more", n)
	case n := <-other:
		t.Errorf("another account got %d", n)
	default:
	}
	b.Publish(bus.OfAccount(1), 1) // what was taken does not count any more
	end()
	end()
	if n, ok := <-mine; n != 1 || !ok {
		t.Errorf("got %d, %v", n, ok)
	}
	if _, ok := <-mine; ok {
		t.Error("the channel is open after the end")
	}
	b.Publish(bus.OfAccount(1), 9)
}

// TestNothingStays has many subscriptions come and go while notices fly: none blocks, the newest arrives, and the
// table is empty in the end.
func TestNothingStays(t *testing.T) {
	t.Parallel()
	b := New()
	var wg sync.WaitGroup
	const last = 2000
	for range 8 {
		wg.Go(func() {
			for range 200 {
				_, end := b.Subscribe(bus.Topic{Kind: bus.Queue})
				end()
			}
		})
		c, end := b.Subscribe(bus.Topic{Kind: bus.Queue})
		wg.Go(func() {
			defer end()
			for before := uint64(0); ; {
				n := <-c
				if n < before {
					t.Errorf("%d after %d", n, before)
				}
				if before = n; n == last {
					return
				}
			}
		})
	}
	for n := range uint64(last) {
		b.Publish(bus.Topic{Kind: bus.Queue}, n+1)
	}
	wg.Wait()
	if len(b.subs) != 0 {
		t.Errorf("%d topics left", len(b.subs))
	}
}
