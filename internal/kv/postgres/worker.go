package postgres

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// maxTries bounds how often a group is run: conflicts end, and a session that breaks before COMMIT is replaced once
// or twice, but the callers wait.
const maxTries = 8

// maxPause is how long a worker waits at most for those that it answered.
const maxPause = 500 * time.Microsecond

// worker runs groups, one after another, in a session of its own.
type worker struct {
	s       *Store
	conn    *pgx.Conn // nil: to be opened
	scratch []byte    // of scripts
}

// maxScratch is how much room for parameters is kept from one script to the next.
const maxScratch = 4 << 20

// script gives an empty one that uses the room of the last.
func (w *worker) script() *script {
	x := w.s.script()
	x.reuse = &w.scratch
	return x
}

func (w *worker) work() {
	for {
		members := w.s.line.next()
		if members == nil {
			w.hangUp()
			return
		}
		start := time.Now()
		err := w.finish(members)
		for _, m := range members {
			if err != nil {
				m.err = err
			}
			m.turn <- nil
		}
		if len(members) > 1 { // let them come back, and be in one group with those that waited meanwhile
			time.Sleep(min(time.Since(start)/8, maxPause))
		}
	}
}

// finish runs a group until its outcome is certain, or cannot be known, and gives its slots back.
func (w *worker) finish(members []*member) error {
	held := slotsOfAll(members)
	defer w.s.line.free(held)
	for try := 1; ; try++ {
		again, err := w.try(members, held)
		if err == nil {
			return nil
		}
		if !again || try == maxTries {
			return wrap("kv.update", err)
		}
		w.s.log.Debug("kv: transactions run again", "count", len(members), "err", err)
		time.Sleep(time.Duration(rand.Int64N(int64(try) * int64(2*time.Millisecond))))
	}
}

func slotsOfAll(members []*member) []int32 {
	var all []int32
	for _, m := range members {
		all = append(all, m.slots...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// try runs a group once. again tells that nothing of it was kept and that another try may succeed.
func (w *worker) try(members []*member, held []int32) (again bool, err error) {
	ctx := context.Background() // callers may go away, the outcome must be known
	fresh := w.conn == nil
	if err := w.connect(ctx); err != nil {
		return false, err
	}
	g := &group{w: w, members: members}
	if err := w.begin(ctx, g, held); err != nil {
		return w.failed(ctx, err, fresh), err
	}
	g.run(ctx)
	if g.err != nil {
		return w.failed(ctx, g.err, fresh), g.err
	}
	return w.commit(ctx, g)
}

// begin opens the transaction, takes the slots and fetches what the members will want, in one round trip. Slots that
// were never needed before have no row yet: they get one, and all begins anew.
func (w *worker) begin(ctx context.Context, g *group, held []int32) error {
	for {
		n := 0
		x := w.script()
		x.exec(x.begin)
		if !slices.ContainsFunc(g.members, func(m *member) bool { return !m.txn.Lazy }) {
			x.exec(x.lazy)
		}
		if len(held) > 0 {
			x.take(held, &n)
		}
		g.fetched = found{}
		for _, m := range g.members {
			for _, k := range m.txn.Read {
				g.fetched.want(k)
			}
		}
		x.get(&g.fetched)
		if err := x.run(ctx, w.conn.PgConn(), readTimeout); err != nil || n == len(held) {
			return err
		}
		y := w.script()
		y.exec(y.rollback)
		y.exec(y.makeSlots, int4Array(nil, held))
		if err := y.run(ctx, w.conn.PgConn(), readTimeout); err != nil {
			return err
		}
	}
}

// commit writes what the group gathered. An error of the network, or of a server that goes down, leaves the outcome
// unknown: then nothing is tried again.
func (w *worker) commit(ctx context.Context, g *group) (again bool, err error) {
	x := w.script()
	within := commitTimeout
	if x.write(&g.pending) {
		within = rangeTimeout
	}
	x.exec(x.commit)
	if err = x.run(ctx, w.conn.PgConn(), within); err == nil {
		return false, nil
	}
	outcome := classify(err)
	w.undo(ctx, outcome)
	if outcome == lost {
		err = wrap("kv.update", err)
	}
	return outcome == conflict || outcome == lockTaken, err
}

// failed undoes what was begun, and tells whether to try again: after a conflict, and when a session was lost that
// may have been broken for long.
func (w *worker) failed(ctx context.Context, err error, fresh bool) bool {
	outcome := classify(err)
	w.undo(ctx, outcome)
	return outcome == conflict || outcome == lost && !fresh
}

// undo rolls back, or gives the session up.
func (w *worker) undo(ctx context.Context, o outcome) {
	if o != lost {
		x := w.script()
		x.exec(x.rollback)
		if x.run(ctx, w.conn.PgConn(), connectTimeout) == nil {
			return
		}
	}
	w.hangUp()
}

func (w *worker) connect(ctx context.Context) (err error) {
	if w.conn != nil {
		return nil
	}
	if w.conn, err = pgx.ConnectConfig(ctx, w.s.session); err != nil {
		w.conn = nil
		return err
	}
	if err = prepare(ctx, w.conn.PgConn(), w.s.statements.writing); err != nil {
		w.hangUp()
	}
	return err
}

func (w *worker) hangUp() {
	if w.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = w.conn.Close(ctx) // there is nothing left to save
	w.conn = nil
}
