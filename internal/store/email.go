package store

import (
	"bytes"
	"context"
	"io"
	"slices"
	"time"

	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Email is what was computed of a message at delivery. Copies of the message share it.
type Email struct {
	ID           EmailID
	Blob         mail.ID
	Prefix       []byte // the header lines in front of the blob
	Size         int64  // octets of prefix and blob: RFC822.SIZE
	InternalDate time.Time
	Thread       uint64
	// Root is the tree of prefix and blob together, with its Envelope and its Summary (kept fields, preview).
	Root *message.Part
}

// emailBatch bounds how many rows one read takes into memory.
const emailBatch = 64

// Emails reads emails, in the order of ids; nil where one is gone. The ids come from a Snapshot. It holds all of
// them in memory, some KiB each and some MiB for one with thousands of parts: EachEmail is for more than a few.
func (s *Store) Emails(ctx context.Context, a mail.AccountID, ids []EmailID) ([]*Email, error) {
	emails := make([]*Email, len(ids))
	err := s.EachEmail(ctx, a, ids, func(i int, e *Email) error {
		emails[i] = e
		return nil
	})
	if err != nil {
		return nil, err
	}
	return emails, nil
}

// EachEmail gives fn emails in the order of ids, nil where one is gone, and ends with fn's first error. Unless fn keeps
// them, a few small trees and one that is computed from its body are in memory at a time, whatever strangers sent. Kind
// Busy when there are too many of the latter.
func (s *Store) EachEmail(ctx context.Context, a mail.AccountID, ids []EmailID, fn func(i int, e *Email) error) error {
	return s.eachTree(ctx, a, ids, message.Decode, fn)
}

// EachTop is EachEmail with Roots of which little more than their Summary is there, as message.DecodeTop gives them.
func (s *Store) EachTop(ctx context.Context, a mail.AccountID, ids []EmailID, fn func(i int, e *Email) error) error {
	return s.eachTree(ctx, a, ids, message.DecodeTop, fn)
}

// treeDecoder reads a tree, or what is wanted of it.
type treeDecoder func([]byte) (*message.Part, error)

func (s *Store) eachTree(ctx context.Context, a mail.AccountID, ids []EmailID, tree treeDecoder, fn func(i int, e *Email) error) error {
	for at := 0; at < len(ids); at += emailBatch {
		emails, err := s.emailBatch(ctx, a, ids[at:min(at+emailBatch, len(ids))], tree)
		if err != nil {
			return mail.Wrap("store.emails", err)
		}
		for i, e := range emails {
			emails[i] = nil
			if err := s.whole(ctx, e, func(e *Email) error { return fn(at+i, e) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// emailBatch reads some emails; Root is nil where the row has no tree.
func (s *Store) emailBatch(ctx context.Context, a mail.AccountID, ids []EmailID, tree treeDecoder) ([]*Email, error) {
	emails := make([]*Email, len(ids))
	err := s.o.KV.View(ctx, nil, func(r kv.Reader) error {
		return eachEmail(r, a, ids, func(i int, v []byte) error {
			row, err := decodeEmail(v)
			if err == nil {
				emails[i], err = row.email(ids[i], tree)
			}
			return err
		})
	})
	return emails, err
}

// What large trees, of some MiB each, may take in memory all together.
const (
	maxHeavy  = 32               // of them at a time
	heavyWait = 10 * time.Second // how long one waits for its turn
)

// whole calls fn with an email and its tree, which is computed when its row has none. Kind Busy when the turn of such a
// large one does not come: others, who read slowly, may hold theirs for long.
func (s *Store) whole(ctx context.Context, e *Email, fn func(*Email) error) error {
	if e == nil || e.Root != nil {
		return fn(e)
	}
	if err := s.enterHeavy(ctx); err != nil {
		return err
	}
	defer func() { <-s.heavy }()
	root, _, err := s.parseBlob(ctx, e.Blob, message.NewParser(s.o.Parse))
	if mail.Is(err, mail.NotFound) {
		return fn(nil)
	}
	if err != nil {
		return mail.Wrap("store.emails", err)
	}
	root.Shift(int64(len(e.Prefix)))
	e.Root = root
	return fn(e)
}

func (s *Store) enterHeavy(ctx context.Context) error {
	select {
	case s.heavy <- struct{}{}:
		return nil
	default:
	}
	ctx, cancel := context.WithTimeout(ctx, heavyWait)
	defer cancel()
	select {
	case s.heavy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return mail.E("store.emails", mail.Busy, "too many large messages are being read, try again later")
	}
}

// eachEmail gives fn the rows of those emails that exist. Neighbours, as a mailbox that was filled by deliveries has
// them, are scanned: that is some times faster than looking them up one by one.
func eachEmail(r kv.Reader, a mail.AccountID, ids []EmailID, fn func(i int, v []byte) error) error {
	if first, last := ids[0], ids[len(ids)-1]; slices.IsSorted(ids) && last-first < EmailID(2*len(ids)) {
		i := 0
		for row, err := range r.Scan(keyEmail(a, first), keyEmail(a, last+1), kv.ScanOptions{}) {
			if err != nil {
				return err
			}
			id := emailOf(row.Key)
			for i < len(ids) && ids[i] < id {
				i++
			}
			for ; i < len(ids) && ids[i] == id; i++ {
				if err := fn(i, row.Value); err != nil {
					return err
				}
			}
		}
		return nil
	}
	keys := make([]kv.Key, len(ids))
	for i, id := range ids {
		keys[i] = keyEmail(a, id)
	}
	rows, err := r.GetMulti(keys)
	if err != nil {
		return err
	}
	for i, v := range rows {
		if v == nil {
			continue
		}
		if err := fn(i, v); err != nil {
			return err
		}
	}
	return nil
}

// Email reads one email. Kind NotFound when it is gone.
func (s *Store) Email(ctx context.Context, a mail.AccountID, id EmailID) (*Email, error) {
	emails, err := s.Emails(ctx, a, []EmailID{id})
	if err != nil {
		return nil, err
	}
	if emails[0] == nil {
		return nil, mail.E("store.email", mail.NotFound, "message is gone")
	}
	return emails[0], nil
}

// EmailRow reads what is kept of an email and no more: Root is nil where it would have to be computed. Kind NotFound.
func (s *Store) EmailRow(ctx context.Context, a mail.AccountID, id EmailID) (*Email, error) {
	emails, err := s.emailBatch(ctx, a, []EmailID{id}, message.Decode)
	if err != nil {
		return nil, mail.Wrap("store.email", err)
	}
	if emails[0] == nil {
		return nil, mail.E("store.email", mail.NotFound, "message is gone")
	}
	return emails[0], nil
}

// OpenBody reads a message, prefix and blob, from off on, n octets at most; a negative n is to the end. What is
// beyond the end is cut off. Kinds: NotFound when it is gone, Invalid when off is negative.
func (s *Store) OpenBody(ctx context.Context, e *Email, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, mail.E("store.body", mail.Invalid, "negative offset")
	}
	off = min(off, e.Size)
	if n < 0 || n > e.Size-off {
		n = e.Size - off
	}
	var prefix []byte
	if off < int64(len(e.Prefix)) {
		prefix = e.Prefix[off:]
		prefix = prefix[:min(int64(len(prefix)), n)]
	}
	n -= int64(len(prefix))
	if n == 0 {
		return io.NopCloser(bytes.NewReader(prefix)), nil
	}
	r, err := s.o.Blobs.Open(ctx, e.Blob, max(0, off-int64(len(e.Prefix))), n)
	if err != nil || len(prefix) == 0 {
		return r, mail.Wrap("store.body", err)
	}
	return &body{prefix: prefix, ReadCloser: r}, nil
}

// body is a prefix and then the blob.
type body struct {
	prefix []byte
	io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	if len(b.prefix) == 0 {
		return b.ReadCloser.Read(p)
	}
	n := copy(p, b.prefix)
	b.prefix = b.prefix[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.prefix)
	b.prefix = b.prefix[n:]
	if err != nil {
		return int64(n), err
	}
	m, err := io.Copy(w, b.ReadCloser)
	return int64(n) + m, err
}
