package store

import (
	"context"
	"errors"
	"fmt"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Check is Inspect in words, for tests: nothing when all is well.
func (s *Store) Check(ctx context.Context, a mail.AccountID) ([]string, error) {
	found, err := s.Inspect(ctx, a)
	lines := make([]string, len(found))
	for i, f := range found {
		lines[i] = f.String()
	}
	return lines, err
}

// CheckLinks tells which links of blobs belong to no email of the account's, which Check cannot know: it looks
// through all links there are. Deliveries that are under way may be among them.
func (s *Store) CheckLinks(ctx context.Context, a mail.AccountID) ([]string, error) {
	var found []string
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		found = nil
		from := kv.K(kv.BlobLinks)
		for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
			if err != nil {
				return err
			}
			of, e, ok := linkOwner(row.Key)
			if !ok || of != a {
				continue
			}
			if _, err := r.Get(keyEmail(a, e)); errors.Is(err, kv.ErrNotFound) {
				found = append(found, fmt.Sprintf("blob %s is linked by email %d, which does not exist", row.Key[2:18], e))
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	return found, mail.Wrap("store.check", err)
}
