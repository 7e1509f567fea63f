package store

import (
	"context"
	"encoding/binary"
	"iter"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// objImport is the type octet of what imports remember; the id is the key of a message in its source, the value a
// version octet, then mailbox u32 and UID u32, where it went.
const objImport = 2

// ImportKey tells a message of an import from all others: the same each time that its source is read.
type ImportKey [16]byte

func keyImports(a mail.AccountID) kv.Key { return kv.K(kv.Objects).Account(a).U8(objImport) }

func keyImport(a mail.AccountID, k ImportKey) kv.Key { return append(keyImports(a), k[:]...) }

// MaxImport is how many messages one Import takes.
const MaxImport = 64

// ImportItem is one message to import. Delivery.Account is not looked at.
type ImportItem struct {
	Key     ImportKey
	Message *Message
	Delivery
}

// Imported says what became of an ImportItem.
type Imported struct {
	Appended
	Present bool  // it was imported before; Appended is empty
	Err     error // it was not taken: Kinds of Append, and OverQuota
}

// Import appends messages in one transaction, each at most once for its key whatever became of it since: so an import
// that was cut off may be begun anew. With again what was imported before is imported once more. An error of its own
// says that none was taken: Kinds NotFound, TooMany for more than MaxImport, Unavailable, Canceled.
func (s *Store) Import(ctx context.Context, a mail.AccountID, items []ImportItem, again bool) ([]Imported, error) {
	if len(items) > MaxImport {
		return nil, mail.E("store.import", mail.TooMany, "more than %d messages at once", MaxImport)
	}
	quota, full, err := s.importRoom(ctx, a, items)
	if err != nil {
		return nil, mail.Wrap("store.import", err)
	}
	t := kv.Txn{Lock: lockOf(a)}
	for i := range items {
		items[i].Account = a
		t.Read = append(append(t.Read, keyImport(a, items[i].Key)), s.AppendReads(items[i].Message, items[i].Delivery)...)
	}
	out := make([]Imported, len(items))
	err = s.o.KV.Update(ctx, t, func(tx kv.Tx) error {
		clear(out)
		for i := range items {
			if err := s.importOne(tx, &items[i], &out[i], quota, full[i], again); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, mail.Wrap("store.import", err)
	}
	for i := range out {
		if out[i].UID != 0 {
			s.Notify(out[i].Appended)
		}
	}
	return out, nil
}

// importRoom asks for the room of each message by itself: an account, or its domain, is overrun by one Import at most. It
// gives the account's limit, and those errors of Kind OverQuota that are a message's own.
func (s *Store) importRoom(ctx context.Context, a mail.AccountID, items []ImportItem) (quota int64, full []error, err error) {
	full = make([]error, len(items))
	if s.o.Quota == nil {
		return 0, full, nil
	}
	for i := range items {
		q, err := s.o.Quota(ctx, a, items[i].Message.Size()+int64(len(items[i].Prefix)))
		switch {
		case mail.Is(err, mail.OverQuota):
			full[i] = err
		case err != nil:
			return 0, nil, err
		default:
			quota = q
		}
	}
	return quota, full, nil
}

// importOne appends a message unless its key is there. Its own refusals stay its own.
func (s *Store) importOne(tx kv.Tx, it *ImportItem, out *Imported, quota int64, full error, again bool) error {
	key := keyImport(it.Account, it.Key)
	if _, err := tx.Get(key); err == nil && !again {
		out.Present = true
		return nil
	} else if err != nil && !mail.Is(err, mail.NotFound) {
		return err
	}
	if full != nil {
		out.Err = full
		return nil
	}
	acct, err := readAccount(tx, it.Account)
	if err != nil {
		return err
	}
	if quota > 0 && acct.bytes+it.Message.Size()+int64(len(it.Prefix)) > quota {
		out.Err = mail.E("store.import", mail.OverQuota, "no room in the account")
		return nil
	}
	ap, err := s.Append(tx, it.Message, it.Delivery)
	switch mail.KindOf(err) {
	case mail.NotFound, mail.Invalid, mail.TooLarge, mail.TooMany:
		if err != nil {
			out.Err = err
			return nil
		}
	}
	if err != nil {
		return err
	}
	v := binary.BigEndian.AppendUint32([]byte{1}, uint32(ap.Mailbox))
	tx.Set(key, binary.BigEndian.AppendUint32(v, uint32(ap.UID)))
	out.Appended = ap
	return nil
}

// importPage is how many keys one View reads.
const importPage = 10_000

// ImportKeys gives the keys of what was imported into an account, in their order, read page by page.
func (s *Store) ImportKeys(ctx context.Context, a mail.AccountID) iter.Seq2[ImportKey, error] {
	return func(yield func(ImportKey, error) bool) {
		for from := keyImports(a); from != nil; {
			page, next, err := s.importPage(ctx, a, from)
			if err != nil {
				yield(ImportKey{}, mail.Wrap("store.import", err))
				return
			}
			for _, k := range page {
				if !yield(k, nil) {
					return
				}
			}
			from = next
		}
	}
}

// importPage reads some keys, and where to go on; nil at the end.
func (s *Store) importPage(ctx context.Context, a mail.AccountID, from kv.Key) (page []ImportKey, next kv.Key, err error) {
	all := keyImports(a)
	err = s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		page, next = nil, nil
		n := 0
		for row, err := range r.Scan(from, all.End(), kv.ScanOptions{KeysOnly: true, Limit: importPage}) {
			if err != nil {
				return err
			}
			if id := row.Key[len(all):]; len(id) == len(ImportKey{}) {
				page = append(page, ImportKey(id))
			}
			if n++; n == importPage {
				next = append(slices.Clone(row.Key), 0)
			}
		}
		return nil
	})
	return page, next, err
}
