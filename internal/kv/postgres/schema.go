package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"postel/internal/mail"
)

// Format is the version of the tables. A database with a newer one is refused and left as it is.
const Format = 1

// createTables are the statements of version 1. Each may run again: not every database undoes DDL.
//
// Values do not compress (bodies are compressed, small rows have nothing to gain), and small rows are often written
// again in place, for which their pages keep room.
func createTables() []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS postel_locks (slot integer PRIMARY KEY)`,
		`CREATE TABLE IF NOT EXISTS postel_rows (k bytea PRIMARY KEY, v bytea NOT NULL) WITH (fillfactor = 85)`,
		`ALTER TABLE postel_rows ALTER COLUMN v SET STORAGE EXTERNAL`,
		`CREATE TABLE IF NOT EXISTS postel_bodies (k bytea PRIMARY KEY, v bytea NOT NULL)`,
		`ALTER TABLE postel_bodies ALTER COLUMN v SET STORAGE EXTERNAL`,
	}
}

// prepare makes the tables where they are missing, under the lock of the schema's row, and checks their version.
func (s *Store) prepare(ctx context.Context) error {
	const op = "kv.open"
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	c, err := pgx.ConnectConfig(ctx, s.session)
	if err != nil {
		return &mail.Error{Op: op, Kind: mail.Unavailable, Text: "the database cannot be reached", Err: err}
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	version, err := schemaVersion(ctx, c)
	if err == nil && version == 0 {
		version, err = s.create(ctx, c)
	}
	switch {
	case err != nil:
		return wrap(op, err)
	case version > Format:
		return mail.E(op, mail.Unsupported, "the database has format %d, this binary reads up to %d", version, Format)
	case version < 1:
		return mail.E(op, mail.Internal, "the database's format version is damaged")
	}
	s.warn(ctx, c)
	return nil
}

// schemaVersion gives the version in the database, 0 when there is none yet.
func schemaVersion(ctx context.Context, c *pgx.Conn) (version int, err error) {
	err = c.QueryRow(ctx, `SELECT version FROM postel_schema WHERE one = 1`).Scan(&version)
	var pg *pgconn.PgError
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && pg.Code == "42P01" { // undefined table
		return 0, nil
	}
	return version, err
}

// create makes the tables. Nodes that start at the same moment meet in the making of postel_schema, where all but one
// fail and try again, and then wait for its row.
func (s *Store) create(ctx context.Context, c *pgx.Conn) (version int, err error) {
	for try := range 10 {
		if _, err = c.Exec(ctx, `CREATE TABLE IF NOT EXISTS postel_schema (one integer PRIMARY KEY, version integer NOT NULL)`); err == nil {
			_, err = c.Exec(ctx, `INSERT INTO postel_schema VALUES (1, 0) ON CONFLICT DO NOTHING`)
		}
		if err == nil {
			break
		}
		time.Sleep(time.Duration(try+1) * 20 * time.Millisecond)
	}
	if err != nil {
		return 0, err
	}
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT version FROM postel_schema WHERE one = 1 FOR UPDATE`).Scan(&version); err != nil || version != 0 {
			return err
		}
		for _, sql := range createTables() {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		version = Format
		_, err := tx.Exec(ctx, fmt.Sprintf(`UPDATE postel_schema SET version = %d`, Format))
		return err
	})
	return version, err
}

// warn tells of a server that gives durability away.
func (s *Store) warn(ctx context.Context, c *pgx.Conn) {
	for _, name := range []string{"fsync", "full_page_writes"} {
		var value string
		if c.QueryRow(ctx, `SHOW `+name).Scan(&value) == nil && value == "off" {
			s.log.Warn("the database's server will lose mail when its power fails", "setting", name, "value", value)
		}
	}
}
