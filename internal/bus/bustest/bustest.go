// Package bustest is the conformance suite of bus's backends.
package bustest

import (
	"sync"
	"testing"
	"time"

	"postel/internal/bus"
	"postel/internal/mail"
)

// patience is how long a notice may take on a slow machine.
const patience = 20 * time.Second

// Run is the suite. open gives a bus that nobody else uses, and a second end of the same bus: what is published at
// one is heard at the other too, which may be the same.
func Run(t *testing.T, open func(t *testing.T) (here, there bus.Bus)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, bus.Bus, bus.Bus){
		"NewestWins": testNewestWins, "Ends": testEnds, "ManySubscribers": testManySubscribers, "Storm": testStorm,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here, there := open(t)
			test(t, here, there)
		})
	}
}

// await takes numbers until it gets n; what is newer than n is wrong.
func await(t *testing.T, c <-chan uint64, n uint64) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case got := <-c:
			if got == n {
				return
			}
			if got > n {
				t.Errorf("got %d, want %d", got, n)
				return
			}
		case <-timeout:
			t.Errorf("nobody told of %d", n)
			return
		}
	}
}

func testNewestWins(t *testing.T, here, there bus.Bus) {
	for i, at := range []bus.Bus{here, there} { // each with topics of its own: notices may be late
		one, two := bus.OfAccount(mail.AccountID(2*i)), bus.OfAccount(mail.AccountID(2*i+1))
		work := bus.Topic{Kind: bus.Queue, ID: one.ID}
		mine, end := at.Subscribe(one)
		defer end()
		other, endOther := at.Subscribe(two)
		defer endOther()
		queue, endQueue := at.Subscribe(work)
		defer endQueue()
		for _, n := range []uint64{3, 7, 5} {
			here.Publish(one, n)
		}
		await(t, mine, 7)
		select {
		case n := <-other:
			t.Errorf("another account got %d", n)
		case n := <-queue:
			t.Errorf("another kind got %d", n)
		default:
		}
		here.Publish(one, 9)
		await(t, mine, 9)
		here.Publish(work, 2)
		await(t, queue, 2)
	}
}

func testEnds(t *testing.T, here, there bus.Bus) {
	for _, at := range []bus.Bus{here, there} {
		c, end := at.Subscribe(bus.OfAccount(1))
		end()
		end()
		if _, ok := <-c; ok {
			t.Error("the channel is open after the end")
		}
		here.Publish(bus.OfAccount(1), 9)
	}
}

func testManySubscribers(t *testing.T, here, there bus.Bus) {
	var wg sync.WaitGroup
	for i := range uint64(20) {
		for _, at := range []bus.Bus{here, there} {
			c, end := at.Subscribe(bus.Topic{Kind: bus.Account, ID: i / 2})
			wg.Go(func() {
				defer end()
				await(t, c, 100+i/2)
			})
		}
	}
	for i := range uint64(10) {
		here.Publish(bus.Topic{Kind: bus.Account, ID: i}, 100+i)
	}
	wg.Wait()
}

// testStorm has subscriptions come and go while notices fly from both ends: nothing blocks, and the newest arrives.
func testStorm(t *testing.T, here, there bus.Bus) {
	var wg sync.WaitGroup
	const last = 1000
	topic := bus.Topic{Kind: bus.Queue}
	for _, at := range []bus.Bus{here, there} {
		for range 4 {
			wg.Go(func() {
				for range 100 {
					_, end := at.Subscribe(topic)
					end()
				}
			})
			c, end := at.Subscribe(topic)
			wg.Go(func() {
				defer end()
				await(t, c, last)
			})
		}
	}
	for n := range uint64(last) {
		here.Publish(topic, n+1)
	}
	wg.Wait()
}
