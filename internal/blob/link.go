package blob

import (
	"errors"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Link makes o an owner of an existing body. For the lock it needs see kv.LockBlob: the transaction holds that of
// the blob, or that of an owner which has a link. In one transaction link before you unlink.
func (s *Store) Link(tx kv.Tx, id mail.ID, o Owner) { tx.Set(linkKey(id, o), nil) }

// Unlink drops the link of o; the transaction holds kv.LockBlob(id) and the owner's lock. The last link takes the
// body with it: its row at once, its object by Sweep after the commit. When the same transaction wrote links of the
// same body before, it cannot tell whether this was the last, and leaves that to Sweep.
func (s *Store) Unlink(tx kv.Tx, id mail.ID, o Owner) error {
	link := linkKey(id, o)
	last, err := lastLink(tx, id, link)
	tx.Delete(link)
	switch {
	case errors.Is(err, kv.ErrOwnWrites):
		tx.Set(garbageKey(id), nil)
		return nil
	case err != nil || !last:
		return mail.Wrap("blob.unlink", err)
	}
	b, err := tx.Get(blobKey(id))
	if err != nil {
		if mail.Is(err, mail.NotFound) {
			return nil
		}
		return mail.Wrap("blob.unlink", err)
	}
	if r, ok := parseRow(b); !ok || r.form == object {
		tx.Set(garbageKey(id), nil)
	}
	tx.Delete(blobKey(id))
	return nil
}

// UnlinkLater drops the link of o under the owner's lock alone: whether it was the last, Sweep finds out. For
// transactions over many bodies, whose ids are not known when the locks are taken.
func (s *Store) UnlinkLater(tx kv.Tx, id mail.ID, o Owner) {
	tx.Delete(linkKey(id, o))
	tx.Set(garbageKey(id), nil)
}

// lastLink tells whether a body has no link but this one.
func lastLink(r kv.Reader, id mail.ID, link kv.Key) (bool, error) {
	from := linksKey(id)
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true, Limit: 2}) {
		if err != nil {
			return false, err
		}
		if string(row.Key) != string(link) {
			return false, nil
		}
	}
	return true, nil
}
