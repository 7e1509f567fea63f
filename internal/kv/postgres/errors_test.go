package postgres

import (
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"postel/internal/mail"
)

// TestKinds gives what callers see of the database's errors, and whether the transaction may run again.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		outcome outcome
		kind    mail.Kind
	}{
		{errors.New("connection reset"), lost, mail.Unavailable},
		{&pgconn.PgError{Severity: "ERROR", Code: "40001"}, conflict, mail.Unavailable},
		{&pgconn.PgError{Severity: "ERROR", Code: "40P01"}, conflict, mail.Unavailable},
		{&pgconn.PgError{Severity: "ERROR", Code: "55P03"}, lockTaken, mail.Unavailable},
		{&pgconn.PgError{Severity: "FATAL", Code: "57P01"}, lost, mail.Unavailable},
		{&pgconn.PgError{Severity: "ERROR", Code: "25006"}, lost, mail.Unavailable},
		{&pgconn.PgError{Severity: "ERROR", Code: "53100"}, lost, mail.Full},
		{&pgconn.PgError{Severity: "ERROR", Code: "42P01"}, broken, mail.Internal},
		{mail.E("x", mail.Canceled, "gone"), lost, mail.Canceled},
	} {
		if got := classify(c.err); got != c.outcome {
			t.Errorf("%v: outcome %d, want %d", c.err, got, c.outcome)
		}
		if err := wrap("op", c.err); !mail.Is(err, c.kind) {
			t.Errorf("%v: %v, want %v", c.err, err, c.kind)
		}
	}
}
