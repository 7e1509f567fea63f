package postgres

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/bus"
	"postel/internal/bus/bustest"
	"postel/internal/bus/local"
	"postel/internal/kv/pgtest"
)

var server pgtest.Shared

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

// node opens a bus and waits until it hears.
func node(t *testing.T, url string) *Bus {
	t.Helper()
	b, err := New(Options{URL: url, Local: local.New()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// meet waits until a hears b and b hears a, by a topic that no test uses.
func meet(t *testing.T, a, b *Bus) {
	t.Helper()
	topic := bus.Topic{Kind: 99, ID: uint64(time.Now().UnixNano())}
	for _, pair := range [][2]*Bus{{a, b}, {b, a}} {
		c, end := pair[1].Subscribe(topic)
		for heard, n := false, uint64(1); !heard; n++ {
			pair[0].Publish(topic, n)
			select {
			case <-c:
				heard = true
			case <-time.After(50 * time.Millisecond):
				if n > 400 {
					t.Fatal("the nodes do not hear each other")
				}
			}
		}
		end()
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	bustest.Run(t, func(t *testing.T) (bus.Bus, bus.Bus) {
		url := server.URL(t)
		a, b := node(t, url), node(t, url)
		meet(t, a, b)
		return a, b
	})
}

// TestDatabaseRestarts has the database go away and come back: this process goes on at once, the other node hears
// again later.
func TestDatabaseRestarts(t *testing.T) {
	t.Parallel()
	c := pgtest.Start(t, false)
	a, b := node(t, c.Admin()+"&pool_max_conns=3"), node(t, c.Admin())
	meet(t, a, b)
	c.Stop()
	mine, end := a.Subscribe(bus.OfAccount(1))
	defer end()
	a.Publish(bus.OfAccount(1), 5)
	if n := <-mine; n != 5 {
		t.Errorf("got %d", n)
	}
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	meet(t, a, b)
}

func TestCloseLeavesNothing(t *testing.T) {
	before := goleak.IgnoreCurrent()
	b, err := New(Options{URL: "postgres://u@127.0.0.1:1/x", Local: local.New()})
	if err != nil {
		t.Fatal(err)
	}
	b.Publish(bus.OfAccount(1), 1)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}

// TestManyTopics fills several payloads.
func TestManyTopics(t *testing.T) {
	t.Parallel()
	url := server.URL(t)
	a, b := node(t, url), node(t, url)
	meet(t, a, b)
	const topics = 3000
	var subs []<-chan uint64
	for i := range uint64(topics) {
		s, end := b.Subscribe(bus.Topic{ID: i << 40})
		defer end()
		subs = append(subs, s)
	}
	for i := range uint64(topics) {
		a.Publish(bus.Topic{ID: i << 40}, i+1<<50)
	}
	for i, s := range subs {
		select {
		case n := <-s:
			if n != uint64(i)+1<<50 {
				t.Errorf("topic %d got %d", i, n)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("topic %d heard nothing", i)
		}
	}
}

// FuzzHeard reads any payload; what it publishes is what format writes.
func FuzzHeard(f *testing.F) {
	f.Add("x\n0 1 2\n")
	f.Add("\n\n1 2\n256 1 1\n-1 +2 3\n0 18446744073709551615 18446744073709551615")
	f.Fuzz(func(t *testing.T, line string) {
		topic, number, ok := parse(line)
		if !ok {
			return
		}
		again, n, ok := parse(format(topic, number)[:len(format(topic, number))-1])
		if again != topic || n != number || !ok {
			t.Errorf("%q is %v %d, then %v %d", line, topic, number, again, n)
		}
	})
}
