package store

import (
	"context"
	"io"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Body reads sections of one message, for one goroutine: it is a message.Sections. Going forward it reads on where it
// is, so that looking at each of ten thousand parts reads the message once and not ten thousand times.
type Body struct {
	ctx   context.Context
	s     *Store
	email *Email
	r     io.ReadCloser // nil: not open
	pos   int64         // of r
	part  io.LimitedReader
}

var _ message.Sections = (*Body)(nil)

// farAhead is from where on it is cheaper to open anew than to skip.
const farAhead = 512 << 10

// Body gives the sections of a message; Close it.
func (s *Store) Body(ctx context.Context, e *Email) *Body { return &Body{ctx: ctx, s: s, email: e} }

// Section implements message.Sections. Kinds: NotFound when the message is gone; Canceled with the ctx.
func (b *Body) Section(off, n int64) (io.Reader, error) {
	if err := b.ctx.Err(); err != nil {
		return nil, &mail.Error{Op: "store.section", Kind: mail.Canceled, Err: err}
	}
	if b.r != nil && (off < b.pos || off-b.pos > farAhead) {
		b.Close()
	}
	if b.r == nil {
		r, err := b.s.OpenBody(b.ctx, b.email, off, -1)
		if err != nil {
			return nil, err
		}
		b.r, b.pos = r, off
	}
	if off > b.pos {
		if _, err := io.CopyN(io.Discard, b, off-b.pos); err != nil {
			return nil, mail.Wrap("store.section", err)
		}
	}
	b.part = io.LimitedReader{R: b, N: n}
	return &b.part, nil
}

// Read reads on.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	b.pos += int64(n)
	if err != nil && err != io.EOF {
		err = mail.Wrap("store.section", err)
	}
	return n, err
}

// Close ends reading. Calling it again does nothing.
func (b *Body) Close() {
	if b.r != nil {
		_ = b.r.Close()
		b.r = nil
	}
}

// EmailIDs lists the emails of an account above after, ascending, n at most.
func (s *Store) EmailIDs(ctx context.Context, a mail.AccountID, after EmailID, n int) ([]EmailID, error) {
	var ids []EmailID
	err := s.o.KV.View(ctx, lockOf(a), func(r kv.Reader) error {
		ids = nil
		o := kv.ScanOptions{KeysOnly: true, Limit: n}
		for row, err := range r.Scan(keyEmail(a, after+1), keyEmail(a, maxEmails), o) {
			if err != nil {
				return err
			}
			ids = append(ids, emailOf(row.Key))
		}
		return nil
	})
	return ids, mail.Wrap("store.emails", err)
}

// EachTexts gives fn those of the emails that exist, in their order, each with what walks over its texts. It ends with
// fn's first error.
func (s *Store) EachTexts(ctx context.Context, a mail.AccountID, ids []EmailID, fn func(i int, each func(func(message.Piece) bool) error) error) error {
	if len(ids) == 0 {
		return nil
	}
	var texts message.Texts
	return s.EachEmail(ctx, a, ids, func(i int, e *Email) error {
		if e == nil {
			return nil
		}
		return fn(i, func(give func(message.Piece) bool) error {
			b := s.Body(ctx, e)
			defer b.Close()
			return texts.Each(e.Root, b, message.Anywhere, give)
		})
	})
}
