package migrate

import (
	"context"
	"crypto/sha256"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

const version = 1

func lockServer() []kv.Key { return []kv.Key{kv.LockServer()} }

func markKey() kv.Key { return kv.K(kv.Server).Text("migrate") }

// Unfinished fails with Kind Unavailable when an interrupted run left these rows.
func Unfinished(ctx context.Context, s kv.Store) error {
	m, err := readMark(ctx, s)
	if err == nil && m != nil {
		err = mail.E("migrate", mail.Unavailable, "an unfinished `postel migrate` left this data: go on with it by --resume")
	}
	return err
}

// readMark gives the mark, nil when there is none.
func readMark(ctx context.Context, s kv.Store) (m []byte, err error) {
	err = s.View(ctx, lockServer(), func(r kv.Reader) error {
		v, err := r.Get(markKey())
		if mail.Is(err, mail.NotFound) {
			return nil
		}
		m = slices.Clone(v)
		return err
	})
	return m, err
}

func (r *run) mark() []byte {
	return append(append([]byte{version}, r.source[:]...), r.after...)
}

// begin looks at both sides and finds out where to begin.
func (r *run) begin(ctx context.Context) error {
	if err := Unfinished(ctx, r.From.Rows); err != nil {
		return err
	}
	if err := r.readSource(ctx); err != nil {
		return err
	}
	m, err := readMark(ctx, r.To.Rows)
	if err != nil {
		return err
	}
	if m != nil {
		return r.goOn(m)
	}
	if r.Resume {
		return mail.E("migrate", mail.Invalid, "%s has no unfinished migration to go on with", r.To.Name)
	}
	if err := r.mustBeEmpty(ctx); err != nil {
		return err
	}
	return r.To.Rows.Update(ctx, kv.Txn{Lock: lockServer()}, func(tx kv.Tx) error {
		tx.Set(markKey(), r.mark())
		return nil
	})
}

// goOn begins where a run before ended.
func (r *run) goOn(m []byte) error {
	if len(m) < 33 || m[0] != version {
		return mail.E("migrate", mail.Unsupported, "%s has a migration of another version", r.To.Name)
	}
	switch {
	case [32]byte(m[1:33]) != r.source:
		return mail.E("migrate", mail.Exists, "%s has an unfinished migration of other data", r.To.Name)
	case !r.Resume:
		return mail.E("migrate", mail.Exists, "%s has an unfinished migration: go on with it by --resume", r.To.Name)
	}
	r.result.Resumed, r.after = true, m[33:]
	return nil
}

// readSource makes a digest of what is different in each store: the directory's secret.
func (r *run) readSource(ctx context.Context) error {
	return r.From.Rows.View(ctx, lockServer(), func(rd kv.Reader) error {
		v, err := rd.Get(kv.K(kv.Server).Text("directory"))
		if mail.Is(err, mail.NotFound) {
			return mail.E("migrate", mail.Invalid, "%s has no data of a server", r.From.Name)
		}
		r.source = sha256.Sum256(v)
		return err
	})
}

// mustBeEmpty fails with Kind Exists when the target has a row, or a large body of its own.
func (r *run) mustBeEmpty(ctx context.Context) error {
	full := mail.E("migrate", mail.Exists, "%s is not empty", r.To.Name)
	for row, err := range all(ctx, r.To.Rows, nil) {
		if err != nil {
			return err
		}
		if len(row.Key) > 0 {
			return full
		}
	}
	if r.To.Large == nil || r.shared() {
		return nil
	}
	for _, err := range r.To.Large.List(ctx) {
		if err != nil {
			return err
		}
		return mail.E("migrate", mail.Exists, "the bodies of %s are not empty", r.To.Name)
	}
	return nil
}

// shared tells that large bodies stay where they are.
func (r *run) shared() bool { return r.From.Place != "" && r.From.Place == r.To.Place }
