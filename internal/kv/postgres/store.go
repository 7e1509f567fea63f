package postgres

import (
	"context"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Store is a kv.Store in a PostgreSQL database. Safe for concurrent use, and for several processes on one database.
type Store struct {
	log        *slog.Logger
	statements *statements
	session    *pgx.ConnConfig
	pool       *pgxpool.Pool // for Views
	line       line          // what waits for a group

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // Updates and Views; none is added once closed is set
	workers sync.WaitGroup
}

var _ kv.Store = (*Store)(nil)

// Open connects to the database and makes the tables where they are missing. Kind Invalid for a bad URL, Unavailable
// when the database cannot be reached, Unsupported when a newer version wrote it.
func Open(ctx context.Context, o Options) (*Store, error) {
	o = o.withDefaults()
	pool, session, err := o.configs()
	if err != nil {
		return nil, err
	}
	s := &Store{log: o.Logger, statements: newStatements(), session: session}
	s.line.init(o.Group)
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	pool.AfterConnect = func(ctx context.Context, c *pgx.Conn) error { return prepare(ctx, c.PgConn(), s.statements.reading) }
	if s.pool, err = pgxpool.NewWithConfig(context.WithoutCancel(ctx), pool); err != nil {
		return nil, wrap("kv.open", err)
	}
	for range o.Groups {
		w := &worker{s: s}
		s.workers.Go(w.work)
	}
	return s, nil
}

// begin counts a caller in.
func (s *Store) begin(ctx context.Context) error {
	if ctx.Err() != nil {
		return canceled("kv", ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return mail.E("kv", mail.Unavailable, "the store is closed")
	}
	s.running.Add(1)
	return nil
}

// Close waits for the running Updates and Views and ends all sessions.
func (s *Store) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	if again {
		return nil
	}
	s.line.close()
	s.workers.Wait()
	s.pool.Close()
	return nil
}
