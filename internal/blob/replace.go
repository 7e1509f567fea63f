package blob

import (
	"context"
	"errors"
	"io"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Condition is what is known of a body.
type Condition int

// The conditions of a body.
const (
	Absent  Condition = iota // there is none, and nothing links it
	Whole                    // it can be read, and matches its digest
	Damaged                  // it is in use, and cannot be read whole
)

// Condition reads a body through. Kinds: Unavailable when that cannot be done now, Canceled.
func (s *Store) Condition(ctx context.Context, id mail.ID) (Condition, error) {
	r, err := s.Open(ctx, id, 0, -1)
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		err = errors.Join(err, r.Close())
	}
	switch mail.KindOf(err) {
	case mail.NotFound:
		unused, err := s.unused(ctx, id)
		if err != nil || unused {
			return Absent, err
		}
	case mail.Internal:
		if err == nil {
			return Whole, nil
		}
	default:
		return Absent, err
	}
	return Damaged, nil
}

// unused tells whether a body has neither a row nor a link.
func (s *Store) unused(ctx context.Context, id mail.ID) (unused bool, err error) {
	err = s.kv.View(ctx, nil, func(r kv.Reader) error {
		unused = false
		if _, err := r.Get(blobKey(id)); !mail.Is(err, mail.NotFound) {
			return err
		}
		unused, err = lastLink(r, id, nil)
		return err
	})
	return unused, mail.Wrap("blob.condition", err)
}

// Replace puts a body that was written anew and sealed in the place of a damaged one of its id, whose links stay. Kind
// Exists when what is left of the old one says that it was another.
func (s *Store) Replace(ctx context.Context, w *Writer) error {
	w.linked = true // by others, however this ends
	err := s.kv.Update(ctx, kv.Txn{Lock: []kv.Key{kv.LockBlob(w.id)}}, func(tx kv.Tx) error {
		v, err := tx.Get(blobKey(w.id))
		if err != nil && !mail.Is(err, mail.NotFound) && !mail.Is(err, mail.Internal) {
			return err
		}
		old, ok := parseRow(v)
		if now, _ := parseRow(w.row); err == nil && ok && (old.length != now.length || old.digest != now.digest) {
			return mail.E("blob.replace", mail.Exists, "a body with the id %s is here and is another", w.id)
		}
		tx.Set(blobKey(w.id), w.row)
		return nil
	})
	return mail.Wrap("blob.replace", err)
}
