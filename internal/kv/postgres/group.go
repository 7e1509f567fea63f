package postgres

import (
	"context"
	"slices"
	"sync"
)

// group runs members in one transaction of the database. Members tell it themselves how they ended and start those that
// waited for them; its worker alone speaks with the database, while none of them runs.
type group struct {
	w       *worker
	members []*member
	fetched found // what stands in the database under our locks
	err     error // of the database: nothing of this run can be kept

	mu      sync.Mutex
	pending buffer        // writes of members that succeeded and that are not in the database yet
	octets  int           // of pending
	asks    []*ask        // reads that wait for an answer
	ready   []*member     // that may begin once pending is in the database
	running int           // fns that run and wait for nothing
	idle    chan struct{} // gets an element when running becomes 0
}

// maxPending is how many octets of writes a group gathers in memory before it sends them to the database, uncommitted.
const maxPending = 32 << 20

// ask is a read that only the database can answer: keys, or a page.
type ask struct {
	m     *member
	keys  [][]byte
	page  *page
	found *found // has the keys
	err   error
	ready chan struct{}
}

// known looks a row up in what the group knows: what was written before m, and what was fetched for all. What others
// write is of no concern to a member that shares no lock with them.
func (g *group) known(m *member, k []byte) (v []byte, known bool) {
	if m.follows {
		g.mu.Lock()
		v, known = g.pending.own(k)
		g.mu.Unlock()
	}
	if !known {
		v, known = g.fetched.own(k)
	}
	return v, known
}

// answer has the worker answer a read. It is called in the member's goroutine.
func (g *group) answer(a *ask) error {
	a.ready = make(chan struct{})
	g.mu.Lock()
	g.asks = append(g.asks, a)
	g.rests()
	g.mu.Unlock()
	<-a.ready
	return a.err
}

// rests notes that one that ran runs no more. The caller holds mu.
func (g *group) rests() {
	if g.running--; g.running == 0 {
		g.idle <- struct{}{}
	}
}

// ended keeps the writes of an fn that succeeded, and begins those that waited for it alone. It is called in the
// member's goroutine.
func (g *group) ended(m *member, t *tx) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.err == nil && !t.empty() {
		g.pending.add(&t.buffer)
		g.octets += t.size
	}
	g.release(m)
	g.rests()
}

// chain finds out which members share a slot, and so must run one after another.
func (g *group) chain() {
	last := make(map[int32]*member, len(g.members))
	for _, m := range g.members {
		m.waits, m.follows, m.next = 0, false, m.next[:0]
		for _, slot := range m.slots {
			if before := last[slot]; before != nil && !slices.Contains(before.next, m) {
				before.next = append(before.next, m)
				m.waits++
				m.follows = true
			}
			last[slot] = m
		}
	}
}

// run runs all fns and gathers their writes; g.err tells that the database failed meanwhile.
func (g *group) run(ctx context.Context) {
	g.chain()
	g.idle = make(chan struct{}, 1)
	g.mu.Lock()
	g.running = 1 // this
	for _, m := range g.members {
		if !m.follows {
			g.begin(m)
		}
	}
	g.rests()
	g.mu.Unlock()
	for {
		<-g.idle
		if len(g.asks) == 0 && len(g.ready) == 0 {
			return
		}
		g.read(ctx)
	}
}

// begin has a member run its fn, unless its caller is gone or nothing can be kept any more. While too much waits to be
// written it only gets ready. The caller holds mu.
func (g *group) begin(m *member) {
	switch {
	case m.gone || g.err != nil:
		g.release(m)
	case g.octets > maxPending:
		g.ready = append(g.ready, m)
	default:
		g.running++
		m.turn <- g
	}
}

// release begins those that waited for m alone. The caller holds mu.
func (g *group) release(m *member) {
	for _, after := range m.next {
		if after.waits--; after.waits == 0 {
			g.begin(after)
		}
	}
}

// read answers all reads that wait, in one round trip, and lets all go on. It is called while none runs.
func (g *group) read(ctx context.Context) {
	asks, ready := g.asks, g.ready
	g.asks, g.ready = nil, nil
	if g.err == nil {
		g.err = g.query(ctx, asks)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = 1 // this
	for _, a := range asks {
		a.err = wrap("kv.read", g.err)
		g.running++
		close(a.ready)
	}
	for _, m := range ready {
		g.begin(m)
	}
	g.rests()
}

// query reads for all that ask. A scan must see the writes of those before it: then these go to the database first.
func (g *group) query(ctx context.Context, asks []*ask) error {
	x := g.w.script()
	within, flush := readTimeout, g.octets > maxPending
	for _, a := range asks {
		flush = flush || a.page != nil && a.m.follows && g.pending.wrote(a.page.from, a.page.to)
	}
	if flush && x.write(&g.pending) {
		within = rangeTimeout
	}
	rows := &found{}
	for _, a := range asks {
		for _, k := range a.keys {
			rows.want(k)
		}
		a.found = rows
		if a.page != nil {
			x.scan(a.page)
		}
	}
	x.get(rows)
	if err := x.run(ctx, g.w.conn.PgConn(), within); err != nil {
		return err
	}
	if flush {
		g.flushed()
	}
	return nil
}

// flushed forgets what is in the database now, and what was fetched before it was.
func (g *group) flushed() {
	for k := range g.fetched.at {
		if _, written := g.pending.own([]byte(k)); written {
			delete(g.fetched.at, k)
		}
	}
	g.pending, g.octets = buffer{}, 0
}
