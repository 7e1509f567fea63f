package app

import (
	"context"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/search"
	"postel/internal/store"
)

// textIndex makes the index of texts over the store.
func (n *node) textIndex() *search.Index {
	return search.New(search.Options{KV: n.kv, Source: texts{n.store}, Clock: n.clock, Log: n.Log, Limits: n.parseLimits()})
}

// parseLimits bounds what is understood of a message.
func (n *node) parseLimits() message.Limits {
	lim := n.Config.Limits
	return message.Limits{Depth: lim.MIMEDepth, Parts: lim.MIMEParts, Header: int(lim.Header)}
}

// texts gives the index the texts of the store's emails: it is a search.Source.
type texts struct{ s *store.Store }

func (t texts) Emails(ctx context.Context, a mail.AccountID, after uint64, n int) ([]uint64, error) {
	ids, err := t.s.EmailIDs(ctx, a, store.EmailID(after), n)
	list := make([]uint64, len(ids))
	for i, id := range ids {
		list[i] = uint64(id)
	}
	return list, err
}

func (t texts) Count(ctx context.Context, a mail.AccountID) (int64, error) {
	_, messages, err := t.s.Usage(ctx, a)
	return messages, err
}

func (t texts) Texts(ctx context.Context, a mail.AccountID, emails []uint64, fn func(int, search.Each) error) error {
	ids := make([]store.EmailID, len(emails))
	for i, e := range emails {
		ids[i] = store.EmailID(e)
	}
	return t.s.EachTexts(ctx, a, ids, func(i int, each func(func(message.Piece) bool) error) error { return fn(i, each) })
}
