package store

import (
	"context"
	"slices"

	"postel/internal/kv"
	"postel/internal/mail"
)

// objSubscription is the type octet of subscriptions among an account's objects; the id is the name.
const objSubscription = 1

func keySubscription(a mail.AccountID, name string) kv.Key {
	return kv.K(kv.Objects).Account(a).U8(objSubscription).Text(name)
}

// Subscribe puts a name on the account's list of subscriptions, or takes it off. The mailbox need not exist
// (RFC 9051 §6.3.7); taking off a name that is not on the list does nothing. Kinds: Invalid, TooMany, NotFound for
// no account.
func (s *Store) Subscribe(ctx context.Context, a mail.AccountID, name string, on bool) error {
	name, err := CleanName(name)
	if err != nil {
		return err
	}
	return s.change(ctx, a, nil, func(c *change) error {
		names, err := subscriptions(c.tx, a)
		if err != nil {
			return err
		}
		switch {
		case slices.Contains(names, name) == on:
			return nil
		case !on:
			c.tx.Delete(keySubscription(a, name))
		case len(names) >= s.o.Mailboxes:
			return mail.E("store.subscribe", mail.TooMany, "more than %d subscriptions", s.o.Mailboxes)
		default:
			c.tx.Set(keySubscription(a, name), nil)
		}
		c.op(opMailbox, 0)
		return nil
	})
}

// Subscriptions gives the subscribed names in the order of Mailboxes.
func (s *Store) Subscriptions(ctx context.Context, a mail.AccountID) ([]string, error) {
	var names []string
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) (err error) {
		names, err = subscriptions(r, a)
		return err
	})
	slices.SortFunc(names, compareNames)
	return names, err
}

func subscriptions(r kv.Reader, a mail.AccountID) ([]string, error) {
	from := keySubscription(a, "")
	var names []string
	for row, err := range r.Scan(from, from.End(), kv.ScanOptions{KeysOnly: true}) {
		if err != nil {
			return nil, mail.Wrap("store.subscriptions", err)
		}
		names = append(names, string(row.Key[len(from):]))
	}
	return names, nil
}

// subscribed tells whether one name is on the list.
func subscribed(r kv.Reader, a mail.AccountID, name string) (bool, error) {
	rows, err := r.GetMulti([]kv.Key{keySubscription(a, name)})
	return err == nil && rows[0] != nil, mail.Wrap("store.subscriptions", err)
}
