package postgres

import (
	"context"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
)

// member is one transaction on its way through a group. Its fn runs in its caller's goroutine, whenever a group says
// so.
type member struct {
	txn   kv.Txn
	slots []int32
	fn    func(kv.Tx) error
	since time.Time // in the line

	turn chan *group // run fn now; nil: the end, with err. Buffered: there is never more than one
	err  error       // of the last run of fn, then of all

	gone    bool      // its caller panicked: fn cannot run again
	follows bool      // a member before it, of its group, shares a slot with it
	waits   int       // such members that have not ended
	next    []*member // those for which it is such a one
}

// Update implements kv.Store. Once a group has taken the transaction the end of ctx is ignored: the outcome must be
// known.
func (s *Store) Update(ctx context.Context, t kv.Txn, fn func(kv.Tx) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	defer s.running.Done()
	m := &member{txn: t, slots: slotsOf(t.Lock), fn: fn, turn: make(chan *group, 1)}
	s.line.add(m)
	stop := ctx.Done()
	for {
		select {
		case g := <-m.turn:
			if g == nil {
				return m.err
			}
			m.run(g)
		case <-stop:
			if s.line.leave(m) {
				return canceled("kv.update", ctx)
			}
			stop = nil
		}
	}
}

// run runs fn once and tells the group how it ended, also when it panics.
func (m *member) run(g *group) {
	t := &tx{g: g, m: m}
	t.writes = t.first[:0]
	m.gone, m.err = true, mail.E("kv.update", mail.Internal, "fn did not return")
	defer func() {
		t.done = true
		g.ended(m, t)
	}()
	err := m.fn(t)
	if err == nil {
		err = t.err
	}
	m.gone, m.err = false, err
}
