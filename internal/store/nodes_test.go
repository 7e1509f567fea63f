package store

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postel/internal/bus"
	"postel/internal/bus/local"
	"postel/internal/kv/kvtest"
	"postel/internal/kv/pebble"
	"postel/internal/lease"
	"postel/internal/mail"
)

// sibling gives another node over the rows of w, with its own settings of steps.
func (w *world) sibling(t testing.TB, b bus.Bus) *world {
	n := &world{kv: w.kv, t: t, Store: New(Options{KV: w.kv, Blobs: w.o.Blobs, Bus: b, Shared: true})}
	n.steps, n.logPolicy, n.poll = w.steps, w.logPolicy, 10*time.Millisecond
	return n
}

// TestModelNodes is TestModel with two nodes over the same rows, each action at one of them and sessions at both:
// what was done at one is seen at the other as if it were the same. The bus does not help: all its notices are lost.
func TestModelNodes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := newModel(r, t, tiny)
		nodes := []*world{m.w.sibling(t, nil), m.w.sibling(t, nil)}
		defer func() {
			for _, n := range nodes {
				_ = n.Close()
			}
		}()
		m.turn = func() { m.w = rapid.SampledFrom(nodes).Draw(m.t, "node") }
		m.settle = func() {
			for _, n := range nodes {
				n.idle()
			}
		}
		for _, n := range nodes {
			n.o.Keep = m.w.o.Keep
		}
		m.w = nodes[0]
		r.Repeat(m.actions())
		m.t = r
		for len(m.sessions) > 0 {
			m.look(m.sessions[0])
			m.drop(m.sessions[0])
		}
		for _, n := range nodes {
			n.jobs.Wait()
			m.w = n
			m.checkAll()
		}
	})
}

// TestConcurrentNodes is TestConcurrent at two nodes, with a bus and with one that loses all.
func TestConcurrentNodes(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]bus.Bus{"bus": local.New(), "lost": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.account(1)
			w.steps = steps{flags: 7, move: 5, expunge: 5, copy: 6, gap: 8, ahead: 1 << 20}
			w.logPolicy = logPolicy{every: 4, least: 40, most: 60, age: time.Hour, own: 4}
			var writers, readers sync.WaitGroup
			var all []*storm
			for n := range 2 {
				s := &storm{w: w.sibling(t, b)}
				defer s.w.Close()
				all = append(all, s)
				for i := range 2 {
					writers.Go(func() { s.deliver(2*n+i, 40) })
					writers.Go(func() { s.meddle(uint64(2*n+i), 30) })
				}
				readers.Go(func() { s.read(Inbox) })
				readers.Go(func() { s.read(2) })
			}
			writers.Wait()
			for _, s := range all {
				s.done.Store(true)
			}
			readers.Wait()
			w.check(1)
			if links, err := w.CheckLinks(ctx(t), 1); err != nil || len(links) > 0 {
				t.Error(links, err)
			}
		})
	}
}

// TestIdleAcrossNodes: who waits at one node is woken by what happens at another, also when the notice is lost.
func TestIdleAcrossNodes(t *testing.T) {
	t.Parallel()
	for name, b := range map[string]bus.Bus{"bus": local.New(), "lost": nil} {
		w := newWorld(t)
		w.account(1)
		here, there := w.sibling(t, b), w.sibling(t, b)
		if b != nil {
			here.poll = time.Hour
		}
		v, err := here.Open(ctx(t), 1, Inbox, false)
		if err != nil {
			t.Fatal(err)
		}
		for len(v.Changed()) > 0 {
			<-v.Changed()
		}
		there.append(1, Inbox, "x", 0)
		select {
		case <-v.Changed():
		case <-time.After(5 * time.Second):
			t.Error(name, "not woken")
		}
		p, err := v.Latest(ctx(t))
		if err != nil || p.Len() != 1 {
			t.Error(name, p.Len(), err)
		}
		if err := there.DeleteAccount(ctx(t), 1); err != nil {
			t.Error(err)
		}
		if _, err := v.Latest(ctx(t)); !mail.Is(err, mail.NotFound) {
			t.Error(name, "the account is gone:", err)
		}
		v.Close()
		_, _ = here.Close(), there.Close()
	}
}

// TestMaildropNodes: a maildrop has one session over all nodes.
func TestMaildropNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var nodes []*world
	for range 2 {
		n, err := lease.Join(ctx(t), lease.Options{KV: w.kv})
		if err != nil {
			t.Fatal(err)
		}
		s := w.sibling(t, nil)
		defer s.Close()
		s.o.Node = n
		nodes = append(nodes, s)
	}
	for i := range 6 {
		mine, other := nodes[i%2], nodes[1-i%2]
		release, err := mine.LockMaildrop(ctx(t), 7)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range nodes {
			if _, err := n.LockMaildrop(ctx(t), 7); !mail.Is(err, mail.Busy) {
				t.Errorf("a second session got it: %v", err)
			}
		}
		free, err := other.LockMaildrop(ctx(t), 8)
		if err != nil {
			t.Error(err)
		}
		free()
		release()
		release()
	}
}

// TestResumeStale: a job that another node is at is left alone, one that nobody ends is done.
func TestResumeStale(t *testing.T) {
	t.Parallel()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	w := worldOn(t, kvtest.Strict(k, kvtest.Options{Report: t.Error}))
	w.account(1)
	for i := range 5 {
		w.append(1, 2, fmt.Sprint(i), 0)
	}
	n := 0
	w.o.KV = failing{Store: w.kv, fail: func() error {
		if n++; n > 1 {
			return errStop
		}
		return nil
	}}
	if err := w.Delete(ctx(t), 1, 2); err != nil { // it is gone, and a job is left
		t.Fatal(err)
	}
	now := time.Now()
	other := New(Options{KV: w.kv, Blobs: w.o.Blobs, Shared: true, Clock: func() time.Time { return now }})
	defer other.Close()
	for range 3 {
		if err := other.ResumeStale(ctx(t), time.Minute); err != nil {
			t.Fatal(err)
		}
		if left, err := other.pending(ctx(t)); err != nil || len(left) != 1 {
			t.Fatal("done too early", left, err)
		}
		now = now.Add(20*time.Second + time.Duration(rand.IntN(1000)))
	}
	if err := other.ResumeStale(ctx(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	noJobs(t, w.kv)
	w.o.KV = w.kv
	w.check(1)
}
