package blob

import (
	"context"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Writer takes one body. Not safe for concurrent use. Its owner calls Discard at the end, whatever happened.
type Writer struct {
	s      *Store
	ctx    context.Context
	id     mail.ID
	size   int64
	buf    []byte // the body, as long as it is small
	out    LargeWriter
	frames *frameWriter // of a large one
	row    []byte       // the bl row, once sealed
	known  bool         // rows may have the body: it was linked, or came back from a backup
	linked bool
	key    [40]byte // see set
	err    error    // the first, or that the writer is closed
}

var errClosed = errors.New("the writer is closed")

// New begins a body and gives it its id. The ctx ends writing, not what was written.
func (s *Store) New(ctx context.Context) *Writer {
	return &Writer{s: s, ctx: ctx, id: s.ids.New(s.clock()), buf: s.buffers.get(false)}
}

// NewAs begins a body that has an id already: one that comes back from a backup.
func (s *Store) NewAs(ctx context.Context, id mail.ID) *Writer {
	return &Writer{s: s, ctx: ctx, id: id, known: true, buf: s.buffers.get(false)}
}

// ID is the body's id, known from the beginning.
func (w *Writer) ID() mail.ID { return w.id }

// Size is the number of octets written so far.
func (w *Writer) Size() int64 { return w.size }

// Write takes more of the body. Kind Unavailable: the object could not be written; Canceled: ctx has ended.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err == nil && w.row != nil {
		w.err = errClosed
	}
	if w.err == nil {
		w.err = w.write(p)
	}
	if w.err != nil {
		return 0, w.fail("blob.write")
	}
	w.size += int64(len(p))
	return len(p), nil
}

func (w *Writer) write(p []byte) error {
	if w.frames == nil && len(w.buf)+len(p) <= w.s.inlineMax {
		w.buf = append(w.buf, p...)
		return nil
	}
	if err := w.ctx.Err(); err != nil {
		return &mail.Error{Op: "blob.write", Kind: mail.Canceled, Err: err}
	}
	if w.frames == nil {
		if err := w.grow(); err != nil {
			return err
		}
	}
	_, err := w.frames.Write(p)
	return err
}

// grow turns a small body into an object.
func (w *Writer) grow() error {
	if w.s.large == nil {
		return mail.E("blob.write", mail.TooLarge, "body larger than %d octets", w.s.inlineMax)
	}
	out, err := w.s.large.Create(w.ctx, w.id)
	if err != nil {
		return err
	}
	w.out, w.frames = out, newFrameWriter(w.s, out)
	_, err = w.frames.Write(w.buf)
	w.s.buffers.put(w.buf)
	w.buf = nil
	return err
}

// fail gives w.err a Kind: Unavailable unless it has one.
func (w *Writer) fail(op string) error {
	var e *mail.Error
	switch {
	case errors.As(w.err, &e):
		return mail.Wrap(op, w.err)
	case errors.Is(w.err, errClosed):
		return &mail.Error{Op: op, Kind: mail.Internal, Err: w.err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Err: w.err}
}

// Seal ends the body and makes durable what is not part of the linking transaction: nothing of a small one, the
// object of a large one. Sealing again gives the same.
func (w *Writer) Seal() (mail.ID, error) {
	if w.err == nil && w.row == nil {
		if w.frames == nil {
			w.sealInline()
		} else {
			w.err = w.sealObject()
		}
	}
	if w.err != nil {
		return mail.ID{}, w.fail("blob.seal")
	}
	return w.id, nil
}

func (w *Writer) sealInline() {
	r := row{form: inlineRaw, length: w.size, digest: xxhash.Sum64(w.buf)}
	b := r.appendHeader(w.s.buffers.get(false))
	if z, f, ok := w.s.codec.compressInline(b, w.buf); ok {
		b = z
		b[1] = byte(f)
	} else {
		b = append(b, w.buf...)
	}
	w.row = b
	w.s.buffers.put(w.buf)
	w.buf = nil
}

func (w *Writer) sealObject() error {
	digest, err := w.frames.finish()
	if err == nil {
		err = w.out.Commit()
	}
	w.frames.free()
	if err == nil {
		w.row = row{form: object, length: w.size, digest: digest}.appendHeader(nil)
	}
	return err
}

// Open reads a sealed body from its beginning, linked or not. Until Discard.
func (w *Writer) Open(ctx context.Context) (io.ReadCloser, error) {
	r, ok := parseRow(w.row)
	if !ok {
		return nil, &mail.Error{Op: "blob.open", Kind: mail.Internal, Err: errClosed}
	}
	if r.form == object {
		return w.s.openObject(ctx, w.id, r, 0, r.length)
	}
	plain, ok := w.s.plain(w.s.buffers.get(false), r)
	if !ok {
		return nil, damaged(w.id, nil)
	}
	return &inlineReader{s: w.s, buf: plain, rest: plain[:r.length]}, nil
}

// Link makes o an owner of the body, as part of tx, and writes the body's row where it is not there yet. It may be
// called again when fn is run again, for several owners, and in several transactions (see kv.LockBlob for the
// lock that a later one needs). Only a sealed body can be linked: calling it before is a bug, and panics.
func (w *Writer) Link(tx kv.Tx, o Owner) {
	if w.row == nil {
		panic("blob: Link of a body that is not sealed")
	}
	w.linked = true
	// Nobody but this writer knows a new id. Later, asking the transaction instead of remembering stays right when fn is
	// run again.
	there := w.known
	if w.known {
		_, err := tx.Get(blobKey(w.id))
		there = err == nil
	}
	if w.known = true; !there {
		w.set(tx, blobKey(w.id), w.row)
	}
	w.set(tx, linkKey(w.id, o), nil)
}

// set writes a row. The key is copied first, so that it is built on the stack.
func (w *Writer) set(tx kv.Tx, k kv.Key, v []byte) { tx.Set(append(w.key[:0], k...), v) }

// Discard drops what was never linked and frees memory. What Link was called for stays: if no transaction
// committed it, Sweep removes it. Calling it again does nothing.
func (w *Writer) Discard() {
	if w.out != nil {
		w.out.Abort()
		if w.row != nil && !w.linked {
			_ = w.s.large.Remove(context.WithoutCancel(w.ctx), w.id) // else Sweep does it
		}
		w.out = nil
	}
	if w.frames != nil {
		w.frames.free()
		w.frames = nil
	}
	w.s.buffers.put(w.buf)
	w.s.buffers.put(w.row)
	w.buf, w.row = nil, nil
	if w.err == nil {
		w.err = errClosed
	}
}
