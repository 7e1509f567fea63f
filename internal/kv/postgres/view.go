package postgres

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5/pgxpool"

	"postel/internal/kv"
	"postel/internal/mail"
)

// View implements kv.Store. It takes no lock: what is committed is durable.
func (s *Store) View(ctx context.Context, _ []kv.Key, fn func(kv.Reader) error) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	c, err := s.open(ctx)
	if err != nil {
		s.running.Done()
		return err
	}
	r := &reader{s: s, ctx: ctx, c: c}
	defer func() {
		r.done = true
		go r.end() // nobody waits for the end of a reading transaction
	}()
	err = fn(r)
	if r.err != nil {
		return r.err
	}
	return err
}

// open begins a reading transaction. A session that broke while it lay in the pool is found only now: then all are
// given up, and one tries once more.
func (s *Store) open(ctx context.Context) (*pgxpool.Conn, error) {
	const op = "kv.view"
	for again := false; ; again = true {
		wait, cancel := context.WithTimeout(ctx, lockTimeout)
		c, err := s.pool.Acquire(wait)
		cancel()
		if err == nil {
			x := s.script()
			x.exec(x.view)
			x.exec(x.snapshot)
			if err = x.run(ctx, c.Conn().PgConn(), readTimeout); err == nil {
				return c, nil
			}
			c.Release() // not idle: so it is closed
			if !again && ctx.Err() == nil && classify(err) == lost {
				s.pool.Reset()
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, canceled(op, ctx)
		}
		return nil, wrap(op, err)
	}
}

// reader reads in a View's snapshot.
type reader struct {
	s    *Store
	ctx  context.Context //nolint:containedctx // of the View, whose fn gets none
	c    *pgxpool.Conn
	err  error // first failure of the database: it ends the View
	done bool
}

// end closes the transaction and gives the session back.
func (r *reader) end() {
	defer r.s.running.Done()
	if r.err == nil {
		x := r.s.script()
		x.exec(x.commit)
		_ = x.run(context.WithoutCancel(r.ctx), r.c.Conn().PgConn(), readTimeout) // a session that is not idle is closed
	}
	r.c.Release()
}

// ask runs a script.
func (r *reader) ask(x *script) error {
	if r.done {
		return used()
	}
	if r.err == nil {
		if err := x.run(r.ctx, r.c.Conn().PgConn(), readTimeout); err != nil {
			if r.err = wrap("kv.read", err); r.ctx.Err() != nil {
				r.err = canceled("kv.read", r.ctx)
			}
		}
	}
	return r.err
}

// Get implements kv.Reader.
func (r *reader) Get(k kv.Key) ([]byte, error) {
	v, err := r.GetMulti([]kv.Key{k})
	if err != nil {
		return nil, err
	}
	if v[0] == nil {
		return nil, kv.ErrNotFound
	}
	return v[0], nil
}

// GetMulti implements kv.Reader.
func (r *reader) GetMulti(keys []kv.Key) ([][]byte, error) {
	values := make([][]byte, len(keys))
	x, rows := r.s.script(), &found{}
	for _, k := range keys {
		rows.want(k)
	}
	x.get(rows)
	if len(keys) > 0 {
		if err := r.ask(x); err != nil {
			return nil, err
		}
	}
	for i, k := range keys {
		values[i], _ = rows.own(k)
	}
	return values, nil
}

// Scan implements kv.Reader.
func (r *reader) Scan(from, to kv.Key, o kv.ScanOptions) iter.Seq2[kv.Row, error] {
	return r.s.scan(from, to, o, func(p *page) error {
		x := r.s.script()
		x.scan(p)
		return r.ask(x)
	})
}

// used is the error of a reader whose life is over.
func used() error { return mail.E("kv.read", mail.Internal, "used after the end of the transaction") }
