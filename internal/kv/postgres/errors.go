package postgres

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"postel/internal/mail"
)

// outcome says what an error of the database means for a transaction.
type outcome int

const (
	broken    outcome = iota // a bug or damage: as often as it is tried
	conflict                 // the transaction is undone; trying again may succeed
	lost                     // the session is gone, or the database can do nothing now
	lockTaken                // another node kept a slot too long
)

// classify reads SQLSTATE. An error without one comes from the network.
func classify(err error) outcome {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return lost
	}
	switch {
	case pg.Code == "40001", pg.Code == "40P01": // serialization failure, deadlock
		return conflict
	case pg.Code == "55P03": // lock_timeout
		return lockTaken
	case pg.Severity == "FATAL", pg.Severity == "PANIC",
		pg.Code == "25006",               // a server that became read-only: a standby now
		pg.Code == "25P03",               // idle in transaction for too long
		strings.HasPrefix(pg.Code, "08"), // connection
		strings.HasPrefix(pg.Code, "53"), // no room, no memory, too many connections
		strings.HasPrefix(pg.Code, "57"), // shutdown, start, cancelled
		strings.HasPrefix(pg.Code, "58"): // the server's disk
		return lost
	}
	return broken
}

// wrap gives an error of the database a Kind: Full when its disk has no room, Internal when it is broken, else
// Unavailable.
func wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var e *mail.Error
	if errors.As(err, &e) {
		return mail.Wrap(op, err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "53100" {
		return &mail.Error{Op: op, Kind: mail.Full, Err: err}
	}
	if classify(err) == broken {
		return &mail.Error{Op: op, Kind: mail.Internal, Err: err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Text: "the database does not answer", Err: err}
}

// canceled tells that the caller went away.
func canceled(op string, ctx context.Context) error {
	return &mail.Error{Op: op, Kind: mail.Canceled, Err: ctx.Err()}
}
