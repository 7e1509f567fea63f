package queue

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/vfs"
)

// modelItem is what the model knows of an item.
type modelItem struct {
	states []State
	due    []time.Time
	leased *Item
}

// model is the queue as a map.
type model struct {
	f     *fixture
	rng   *rand.Rand
	items map[ID]*modelItem
}

func (m *model) pick(want func(*modelItem) bool) (ID, *modelItem) {
	var ids []ID
	for id, it := range m.items {
		if want(it) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ID{}, nil
	}
	slices.SortFunc(ids, func(a, b ID) int { return int(int64(a.Number - b.Number)) })
	id := ids[m.rng.IntN(len(ids))]
	return id, m.items[id]
}

func anyItem(*modelItem) bool { return true }

func (m *model) step(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	switch m.rng.IntN(10) {
	case 0, 1:
		it := m.f.item(fmt.Sprintf("d%d.test", m.rng.IntN(4)), make([]string, 1+m.rng.IntN(5))...)
		x := &modelItem{}
		for i := range it.Recipients {
			it.Recipients[i].Due = m.f.clock().Add(time.Duration(m.rng.IntN(3)) * time.Minute)
			x.states, x.due = append(x.states, Waiting), append(x.due, it.Recipients[i].Due)
		}
		m.f.add(t, it)
		m.items[it.ID] = x
	case 2, 3:
		m.takeDue(t)
	case 4, 5, 6:
		id, x := m.pick(func(x *modelItem) bool { return x.leased != nil })
		if x == nil {
			return
		}
		outs := m.outcomes(x)
		left, err := m.f.Done(ctx, x.leased, outs)
		fail(err)
		m.f.Recorded(x.leased)
		x.leased = nil
		if x.ended() != (left == nil) {
			t.Fatal("ended?", x.states, left)
		}
		if x.ended() {
			delete(m.items, id)
		}
	case 7:
		if id, x := m.pick(anyItem); x != nil {
			fail(m.f.Hold(ctx, id))
			x.each(Waiting, func(i int) { x.states[i] = Held })
		}
	case 8:
		if id, x := m.pick(anyItem); x != nil {
			fail(m.f.Release(ctx, id))
			x.each(Held, func(i int) { x.states[i], x.due[i] = Waiting, m.f.clock() })
		}
	case 9:
		if _, x := m.pick(func(x *modelItem) bool { return x.leased != nil }); x != nil && m.rng.IntN(2) == 0 {
			m.f.Return(x.leased) // nothing was done
			x.leased = nil
		}
		m.f.pass(time.Duration(m.rng.IntN(60)) * time.Second)
		if id, x := m.pick(func(x *modelItem) bool { return x.leased == nil }); x != nil && m.rng.IntN(3) == 0 {
			_, err := m.f.Drop(ctx, id)
			fail(err)
			delete(m.items, id)
		}
	}
}

func (x *modelItem) each(s State, fn func(int)) {
	for i := range x.states {
		if x.states[i] == s {
			fn(i)
		}
	}
}

func (x *modelItem) ended() bool {
	return !slices.ContainsFunc(x.states, func(s State) bool { return !s.Final() })
}

func (x *modelItem) isDue(now time.Time) bool {
	for i, s := range x.states {
		if s == Waiting && !x.due[i].After(now) {
			return true
		}
	}
	return false
}

// outcomes chooses what an attempt came to and does it to the model.
func (m *model) outcomes(x *modelItem) []Outcome {
	var outs []Outcome
	for i := range x.states {
		o := Outcome{N: i, Result: result(250, "x"), State: []State{Delivered, Failed, Waiting}[m.rng.IntN(3)]}
		if o.State == Waiting {
			o.Due = m.f.clock().Add(time.Duration(m.rng.IntN(100)) * time.Second)
		}
		outs = append(outs, o)
		switch {
		case x.states[i].Final():
		case o.State.Final():
			x.states[i] = o.State
		case x.states[i] == Waiting:
			x.due[i] = o.Due
		}
	}
	return outs
}

// takeDue leases all that is due and compares with the model.
func (m *model) takeDue(t *testing.T) {
	t.Helper()
	now := m.f.clock()
	items, err := m.f.Due(t.Context(), now, 1000, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := map[ID]bool{}
	for _, it := range items {
		x := m.items[it.ID]
		if x == nil || x.leased != nil || !x.isDue(now) {
			t.Fatalf("%s should not be due", it.ID)
		}
		x.leased = it
		got[it.ID] = true
	}
	for id, x := range m.items {
		if x.leased == nil && x.isDue(now) {
			t.Fatalf("%s was not found due", id)
		}
	}
}

// compare reads every item and compares states.
func (m *model) compare(t *testing.T) {
	t.Helper()
	m.f.verify(t)
	items, _, err := m.f.List(t.Context(), Filter{Limit: 1 << 20})
	if err != nil || len(items) != len(m.items) {
		t.Fatal(len(items), len(m.items), err)
	}
	for _, it := range items {
		x := m.items[it.ID]
		for i := range it.Recipients {
			if it.Recipients[i].State != x.states[i] {
				t.Fatalf("%s recipient %d is %v, want %v", it.ID, i, it.Recipients[i].State, x.states[i])
			}
		}
	}
}

// TestModel does random operations on the queue and on a map.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &model{f: newFixture(t, vfs.NewMem()), rng: rand.New(rand.NewPCG(seed, 1)), items: map[ID]*modelItem{}}
			for i := range 600 {
				m.step(t)
				if i%50 == 49 {
					m.compare(t)
				}
			}
		})
	}
}

// TestCrash lets several goroutines add and finish items, takes the power away at some moment, and compares what is
// left with what was acknowledged: an item whose Add returned is there unless its end was asked for; a recipient
// whose final state was acknowledged never waits again.
func TestCrash(t *testing.T) {
	t.Parallel()
	for i := range 12 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			crashOnce(t, uint64(i), []int{0, 50, 100}[i%3])
		})
	}
}

// ledger is what the outside knows.
type ledger struct {
	mu        sync.Mutex
	added     map[ID]int // acknowledged, with the number of recipients
	asked     map[ID]bool
	delivered map[ID][]int // acknowledged final states
	gone      map[ID]bool  // acknowledged end
}

func crashOnce(t *testing.T, seed uint64, keep int) {
	fs := vfs.NewCrashable()
	f := newFixture(t, fs)
	l := &ledger{added: map[ID]int{}, asked: map[ID]bool{}, delivered: map[ID][]int{}, gone: map[ID]bool{}}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range uint64(4) {
		wg.Go(func() { produce(t, f, l, rand.New(rand.NewPCG(seed, w)), stop) })
	}
	time.Sleep(time.Duration(5+seed*3) * time.Millisecond)
	l.mu.Lock() // nothing is acknowledged between the copy of the ledger and the crash
	after := fs.Crash(keep, seed)
	known := ledger{added: map[ID]int{}, asked: map[ID]bool{}, delivered: map[ID][]int{}, gone: map[ID]bool{}}
	for id, n := range l.added {
		known.added[id], known.asked[id], known.gone[id] = n, l.asked[id], l.gone[id]
		known.delivered[id] = slices.Clone(l.delivered[id])
	}
	l.mu.Unlock()
	close(stop)
	wg.Wait()
	compareLedger(t, newFixture(t, after), &known)
}

func produce(t *testing.T, f *fixture, l *ledger, rng *rand.Rand, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		it := f.item(fmt.Sprintf("d%d.test", rng.IntN(9)), make([]string, 1+rng.IntN(3))...)
		f.add(t, it)
		l.mu.Lock()
		l.added[it.ID] = len(it.Recipients)
		l.mu.Unlock()
		for n := range rng.IntN(len(it.Recipients) + 1) {
			if n == len(it.Recipients)-1 {
				l.mu.Lock()
				l.asked[it.ID] = true
				l.mu.Unlock()
			}
			left, err := f.Done(t.Context(), it, []Outcome{{N: n, State: Delivered, Result: result(250, "ok")}})
			if err != nil {
				t.Error(err)
				return
			}
			l.mu.Lock()
			l.delivered[it.ID] = append(l.delivered[it.ID], n)
			l.gone[it.ID] = left == nil
			l.mu.Unlock()
		}
	}
}

func compareLedger(t *testing.T, f *fixture, l *ledger) {
	t.Helper()
	f.verify(t)
	for id, n := range l.added {
		it, err := f.Show(t.Context(), id)
		switch {
		case mail.Is(err, mail.NotFound) && l.asked[id]:
			if ended, err := f.Ended(t.Context(), id); err != nil || len(ended) != n {
				t.Errorf("%s ended, but %d rows tell: %v", id, len(ended), err)
			}
			continue
		case err != nil:
			t.Errorf("%s is lost: %v", id, err)
			continue
		case l.gone[id]:
			t.Errorf("%s is back", id)
		}
		for _, i := range l.delivered[id] {
			if it.Recipients[i].State != Delivered {
				t.Errorf("%s: recipient %d waits again", id, i)
			}
		}
	}
	if len(l.added) == 0 {
		t.Log("nothing was acknowledged before the crash")
	}
}

// FuzzRows reads any octets as rows: no panic, and what can be read is written the same way.
func FuzzRows(f *testing.F) {
	it := &Item{Destination: "a.test", Blob: blobID(1), Recipients: make([]Recipient, 3), Prefix: []byte("x: y\r\n")}
	r := Recipient{Last: result(451, "later"), State: Held, Attempts: 7}
	x := Ended{Destination: "a.test", Result: result(250, "ok"), State: Delivered}
	f.Add(it.encode())
	f.Add(r.encode())
	r.remember()
	r.Session = blobID(3)
	f.Add(r.encode())
	it.Via = "[2001:db8::1]:2525"
	f.Add(it.encode())
	f.Add(x.encode())
	f.Fuzz(func(t *testing.T, v []byte) {
		if it, err := decodeItem(ID{}, v); err == nil {
			back, err := decodeItem(ID{}, it.encode())
			if err != nil || back.Via != it.Via || back.Destination != it.Destination || string(back.Prefix) != string(it.Prefix) ||
				len(back.Recipients) != len(it.Recipients) || back.Received != it.Received || back.From != it.From {
				t.Fatalf("%+v came back as %+v, %v", it, back, err)
			}
		}
		var r, s Recipient
		if r.decode(ID{}, v) == nil {
			r.Last.Text = r.Last.Text[:min(len(r.Last.Text), maxReplyText)]
			if err := s.decode(ID{}, r.encode()); err != nil || s != r {
				t.Fatalf("%+v came back as %+v, %v", r, s, err)
			}
			if n := len(r.Attempted()); n > maxEarlier+1 {
				t.Fatal(n, "attempts")
			}
		}
		k := endedKey(20000, 7, 3)
		if x, err := decodeEnded(k, v); err == nil {
			x.Result.Text = x.Result.Text[:min(len(x.Result.Text), maxReplyText)]
			if y, err := decodeEnded(k, x.encode()); err != nil || x != y {
				t.Fatalf("%+v came back as %+v, %v", x, y, err)
			}
		}
	})
}

// BenchmarkRelay is what the queue costs a relayed message: in, out.
func BenchmarkRelay(b *testing.B) {
	f := newFixture(b, vfs.NewMem())
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			it := f.add(b, f.item("remote.test", "a"))
			if _, err := f.Done(b.Context(), it, []Outcome{{N: 0, State: Delivered, Result: result(250, "ok")}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
