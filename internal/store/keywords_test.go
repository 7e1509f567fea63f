package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"postel/internal/mail"
)

// setKeyword gives messages a keyword, or takes it away.
func (w *world) setKeyword(op FlagOp, uid UID, names ...string) error {
	return w.SetFlags(ctx(w.t), 1, Inbox, []UID{uid}, op, 0, names)
}

// shown gives the keywords of each message of a snapshot.
func shown(p *Snapshot) map[UID]string {
	out := map[UID]string{}
	for _, e := range p.All() {
		var names []string
		for i, n := range p.Keywords() {
			if e.Flags.Has(1 << (FirstKeyword + i)) {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		out[e.UID] = strings.Join(names, " ")
	}
	return out
}

// TestSlotsAreUsedAgain fills all slots, frees some in each way there is, and gives them to other names, while an old
// snapshot keeps what it meant.
func TestSlotsAreUsedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	for i := range MaxKeywords {
		w.append(1, Inbox, fmt.Sprint(i), 0)
		if err := w.setKeyword(Add, UID(i+1), fmt.Sprintf("k%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	room := func(want bool) {
		t.Helper()
		if ok, err := w.KeywordRoom(ctx(t), 1); ok != want || err != nil {
			t.Errorf("room: %v, %v", ok, err)
		}
	}
	v, err := w.Open(ctx(t), 1, Inbox, false)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	before, err := v.Latest(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	meant := shown(before)
	room(false)
	room(false)
	if err := w.setKeyword(Add, 1, "new"); !mail.Is(err, mail.TooMany) {
		t.Errorf("a 59th keyword: %v", err)
	}
	steps := []struct {
		free func() error
		name string
	}{
		{func() error { return w.setKeyword(Remove, 4, "K3") }, "removed"},
		{func() error { _, err := w.Expunge(ctx(t), 1, Inbox, []UID{8}); return err }, "expunged"},
		{func() error { return w.setKeyword(Replace, 12) }, "replaced"},
	}
	for i, s := range steps {
		if err := s.free(); err != nil {
			t.Fatal(err)
		}
		room(true)
		if err := w.setKeyword(Add, 1, s.name, "second"); !mail.Is(err, mail.TooMany) { // one slot for two names
			t.Errorf("%s: %v", s.name, err)
		}
		if err := w.setKeyword(Add, 1, s.name); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
		room(false)
		now, err := v.Latest(ctx(t))
		if err != nil {
			t.Fatal(err)
		}
		names := shown(now)
		if !strings.Contains(names[1], s.name) || names[2] != "k1" || !Renamed(before.Keywords(), now.Keywords()) {
			t.Errorf("step %d: %q, %q", i, names[1], names[2])
		}
		if got := shown(before); got[4] != "k3" || got[1] != meant[1] || got[8] != "k7" {
			t.Errorf("the old snapshot says %v", got)
		}
	}
	if err := w.setKeyword(Remove, 1, "removed", "expunged"); err != nil {
		t.Fatal(err)
	}
	if err := w.setKeyword(Add, 1, "both", "fit"); err != nil {
		t.Error(err)
	}
	found, err := w.Check(ctx(t), 1)
	if err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
}

// TestSlotsConcurrently has writers give and take more names than there are slots, each on messages of its own, while
// readers look: a message always shows a state that its writer gave it, by name.
func TestSlotsConcurrently(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.account(1)
	const writers, rounds = 6, 60
	valid := make([]sync.Map, writers+1)
	for i := range writers {
		w.append(1, Inbox, fmt.Sprint(i), 0)
		valid[i+1].Store("", true)
	}
	var wg, readers sync.WaitGroup
	stop := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			r, uid := rand.New(rand.NewPCG(7, uint64(i))), UID(i+1)
			for n := range rounds {
				var names []string
				for k := range r.IntN(16) {
					names = append(names, fmt.Sprintf("w%d-%d-%02d", i, n, k))
				}
				valid[uid].Store(strings.Join(names, " "), true)
				if err := w.setKeyword(Replace, uid, names...); err != nil && !mail.Is(err, mail.TooMany) {
					t.Error(err)
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				v, err := w.Open(ctx(t), 1, Inbox, true)
				if err != nil {
					t.Error(err)
					return
				}
				for range 20 {
					p, err := v.Latest(ctx(t))
					if err != nil {
						t.Error(err)
						break
					}
					for uid, s := range shown(p) {
						if _, ok := valid[uid].Load(s); !ok {
							t.Errorf("message %d shows %q, which nobody gave it", uid, s)
						}
					}
				}
				v.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	readers.Wait()
	if len(w.names(t)) != MaxKeywords {
		t.Errorf("%d names: the slots never ran out", len(w.names(t)))
	}
}

func (w *world) names(t *testing.T) []string {
	t.Helper()
	v, err := w.Open(ctx(t), 1, Inbox, true)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	p, err := v.Latest(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	return p.Keywords()
}
