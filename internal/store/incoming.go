package store

import (
	"context"
	"io"
	"sync"

	"postel/internal/blob"
	"postel/internal/kv"
	"postel/internal/mail"
	"postel/internal/message"
)

// Incoming takes a message once: its body goes to the blobs and through the parser. Not safe for concurrent use. Its
// owner calls Discard at the end, or that of the sealed Message, whatever happened.
type Incoming struct {
	s *Store
	w *blob.Writer
	p *message.Parser
}

// Room tells whether a message of n octets (0: unknown) may come: whether the disk has room for it. To be asked before
// the message is sent. Kind Full.
func (s *Store) Room(n int64) error {
	if s.o.Room == nil {
		return nil
	}
	return s.o.Room(n)
}

// Incoming begins a message. The ctx ends writing it, not what was written.
func (s *Store) Incoming(ctx context.Context) *Incoming {
	return &Incoming{s: s, w: s.o.Blobs.New(ctx), p: s.parsers.get()}
}

// ID is the message's id, known from the beginning: that of its blob.
func (in *Incoming) ID() mail.ID { return in.w.ID() }

// Size is the number of octets written so far.
func (in *Incoming) Size() int64 { return in.w.Size() }

// Write takes more of the message. Kinds: Unavailable, Canceled.
func (in *Incoming) Write(p []byte) (int, error) {
	n, err := in.w.Write(p)
	if in.p != nil {
		_, _ = in.p.Write(p[:n]) // never fails
	}
	return n, err
}

// Seal ends the message: what lies outside of the rows is durable, all that is kept of it is computed.
func (in *Incoming) Seal() (*Message, error) {
	if in.p == nil {
		return nil, mail.E("store.seal", mail.Internal, "the message was sealed or dropped before")
	}
	id, err := in.w.Seal()
	if err != nil {
		return nil, mail.Wrap("store.seal", err)
	}
	root, err := in.p.Close()
	if err != nil {
		return nil, mail.Wrap("store.seal", err)
	}
	m := newMessage(id, in.w.Size(), root, in.w)
	m.content = in.p.Content()
	in.s.parsers.put(in.p)
	in.p = nil
	return m, nil
}

// Discard frees what the message holds; what no transaction linked is gone. Calling it again does nothing.
func (in *Incoming) Discard() {
	in.w.Discard()
	if in.p != nil {
		in.s.parsers.put(in.p)
		in.p = nil
	}
}

// Message is a message that is ready to be appended, any number of times. Immutable but for Discard.
type Message struct {
	id   mail.ID
	size int64
	root *message.Part
	tree []byte
	refs refs

	content mail.Content
	w       *blob.Writer // nil for one that is linked already
}

func newMessage(id mail.ID, size int64, root *message.Part, w *blob.Writer) *Message {
	m := &Message{id: id, size: size, root: root, refs: findRefs(root), w: w}
	if m.tree = root.AppendBinary(make([]byte, 0, 1024)); len(m.tree) > maxTree || root.Truncated {
		m.tree = nil
	}
	return m
}

// ID is the message's id: that of its blob.
func (m *Message) ID() mail.ID { return m.id }

// Size is the length of the blob, without any prefix.
func (m *Message) Size() int64 { return m.size }

// Root is the tree of the blob, without any prefix, as far as it is kept in rows: see maxParts. It is shared: do not
// change it.
func (m *Message) Root() *message.Part { return m.root }

// Content tells what the message asks of the way that it goes.
func (m *Message) Content() mail.Content { return m.content }

// Open reads a message that came by Incoming and was not discarded.
func (m *Message) Open(ctx context.Context) (io.ReadCloser, error) {
	if m.w == nil {
		return nil, mail.E("store.open", mail.Internal, "the message was stored before")
	}
	return m.w.Open(ctx)
}

// Link makes o an owner of the message's blob as part of tx, as the queue needs it. For a message that came from
// FromBlob the transaction holds the lock of an owner that has a link.
func (s *Store) Link(tx kv.Tx, m *Message, o blob.Owner) {
	if m.w != nil {
		m.w.Link(tx, o)
		return
	}
	s.o.Blobs.Link(tx, m.id, o)
}

// Discard frees memory once no transaction will link the message any more. Calling it again does nothing.
func (m *Message) Discard() {
	if m.w != nil {
		m.w.Discard()
	}
}

// FromBlob reads a message that is stored already, as the queue does for its local deliveries. Kind NotFound.
func (s *Store) FromBlob(ctx context.Context, id mail.ID) (*Message, error) {
	p := s.parsers.get()
	defer s.parsers.put(p)
	root, size, err := s.parseBlob(ctx, id, p)
	if err != nil {
		return nil, mail.Wrap("store.fromblob", err)
	}
	m := newMessage(id, size, root, nil)
	m.content = p.Content()
	return m, nil
}

// parseBlob computes the tree of a blob, as far as the limits of p go.
func (s *Store) parseBlob(ctx context.Context, id mail.ID, p *message.Parser) (*message.Part, int64, error) {
	r, err := s.o.Blobs.Open(ctx, id, 0, -1)
	if err != nil {
		return nil, 0, err
	}
	n, err := io.Copy(p, r)
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, 0, err
	}
	root, err := p.Close()
	return root, n, err
}

// What a tree that is kept in a row has at most: a message that goes beyond costs its sender's session no more memory
// while it comes, nor that of a reader who looks at many, and is parsed anew when it is read.
const (
	maxParts    = 100
	maxTreeText = 128 << 10
)

// keptLimits are those of message with the room of a row.
func keptLimits(l message.Limits) message.Limits {
	if l.Parts <= 0 || l.Parts > maxParts {
		l.Parts = maxParts
	}
	if l.Text <= 0 || l.Text > maxTreeText {
		l.Text = maxTreeText
	}
	return l
}

// parsers keeps parsers of what comes in for reuse.
type parsers struct {
	limits message.Limits
	pool   sync.Pool
}

func (p *parsers) get() *message.Parser {
	if v, ok := p.pool.Get().(*message.Parser); ok {
		return v
	}
	return message.NewParser(p.limits)
}

func (p *parsers) put(v *message.Parser) {
	v.Reset()
	p.pool.Put(v)
}
