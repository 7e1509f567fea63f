package blob

import (
	"context"
	"errors"
	"io"

	"github.com/cespare/xxhash/v2"

	"postel/internal/kv"
	"postel/internal/mail"
)

// Open reads a body from off on, n octets at most; a negative n is to the end. A range beyond the end is cut off.
// What comes is verified; a damaged body is an error of Kind Internal that names the id, here or from Read. Kind
// NotFound: there is no such body; Invalid: off is negative. The result also is an io.WriterTo.
func (s *Store) Open(ctx context.Context, id mail.ID, off, n int64) (io.ReadCloser, error) {
	if off < 0 {
		return nil, mail.E("blob.open", mail.Invalid, "negative offset")
	}
	var r row
	var plain []byte
	err := s.kv.View(ctx, nil, func(v kv.Reader) error {
		b, err := v.Get(blobKey(id))
		if err != nil {
			return err
		}
		var ok bool
		if r, ok = parseRow(b); !ok {
			return damaged(id, nil)
		}
		if r.form != object {
			if plain, ok = s.plain(s.buffers.get(false), r); !ok {
				return damaged(id, nil)
			}
		}
		return nil
	})
	if err != nil {
		return nil, mail.Wrap("blob.open", err)
	}
	off = min(off, r.length)
	if n < 0 || n > r.length-off {
		n = r.length - off
	}
	if r.form != object {
		return &inlineReader{s: s, buf: plain, rest: plain[off : off+n]}, nil
	}
	return s.openObject(ctx, id, r, off, n)
}

// Size gives a body's length in octets. Kind NotFound: there is no such body.
func (s *Store) Size(ctx context.Context, id mail.ID) (int64, error) {
	var n int64
	err := s.kv.View(ctx, nil, func(v kv.Reader) error {
		b, err := v.Get(blobKey(id))
		if err != nil {
			return err
		}
		r, ok := parseRow(b)
		if !ok {
			return damaged(id, nil)
		}
		n = r.length
		return nil
	})
	return n, mail.Wrap("blob.size", err)
}

var errReaderClosed = errors.New("blob: read after close")

// inlineReader reads a small body from memory.
type inlineReader struct {
	s         *Store
	buf, rest []byte // buf is nil once closed
}

func (r *inlineReader) Read(p []byte) (int, error) {
	switch {
	case r.buf == nil:
		return 0, errReaderClosed
	case len(p) == 0:
		return 0, nil
	case len(r.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *inlineReader) WriteTo(w io.Writer) (int64, error) {
	if r.buf == nil {
		return 0, errReaderClosed
	}
	n, err := w.Write(r.rest)
	r.rest = r.rest[n:]
	return int64(n), err
}

func (r *inlineReader) Close() error {
	r.s.buffers.put(r.buf)
	r.buf, r.rest = nil, nil
	return nil
}

// objectReader reads frames of an object.
type objectReader struct {
	s             *Store
	id            mail.ID
	obj           LargeObject // nil once closed
	index         *frameIndex
	next          int   // frame to read next
	skip, left    int64 // octets to drop from the next frame, and to give
	plain, stored []byte
	rest          []byte // of the frame that was read
	err           error
}

func (s *Store) openObject(ctx context.Context, id mail.ID, want row, off, n int64) (io.ReadCloser, error) {
	if s.large == nil {
		return nil, damaged(id, errors.New("no backend for objects"))
	}
	obj, err := s.large.Open(ctx, id)
	if mail.Is(err, mail.NotFound) { // the row is there, so it is more than not found
		return nil, damaged(id, err)
	}
	if err != nil {
		return nil, mail.Wrap("blob.open", err)
	}
	index, err := readIndex(obj, obj.Size(), want)
	if err != nil {
		return nil, errors.Join(damaged(id, err), obj.Close())
	}
	return &objectReader{
		s: s, id: id, obj: obj, index: index, left: n,
		next: int(off / frameSize), skip: off % frameSize,
	}, nil
}

// fill reads the next frame into rest.
func (r *objectReader) fill() error {
	switch {
	case r.obj == nil:
		return errReaderClosed
	case r.err != nil:
		return r.err
	case r.left == 0:
		return io.EOF
	}
	if r.plain == nil {
		r.plain, r.stored = r.s.buffers.get(true), r.s.buffers.get(true)
	}
	if r.err = r.frame(); r.err != nil {
		r.err = damaged(r.id, r.err)
		return r.err
	}
	r.next++
	r.rest = r.plain[r.skip:]
	r.skip = 0
	r.rest = r.rest[:min(int64(len(r.rest)), r.left)]
	r.left -= int64(len(r.rest))
	return nil
}

var errFrame = errors.New("frame does not match its digest")

// frame reads frame next into plain, verified.
func (r *objectReader) frame() (err error) {
	off, n, compressed, plain, digest := r.index.frame(r.next)
	if n > maxPooled || !compressed && n != int64(plain) {
		return errIndex
	}
	stored := r.stored[:n]
	if _, err := r.obj.ReadAt(stored, off); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if compressed {
		r.plain, err = r.s.codec.decompress(r.plain[:0], stored, plain)
	} else {
		r.plain = append(r.plain[:0], stored...)
	}
	if err == nil && xxhash.Sum64(r.plain) != digest {
		err = errFrame
	}
	return err
}

func (r *objectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo.
func (r *objectReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		if len(r.rest) == 0 {
			err := r.fill()
			if errors.Is(err, io.EOF) {
				return total, nil
			}
			if err != nil {
				return total, err
			}
		}
		n, err := w.Write(r.rest)
		total += int64(n)
		r.rest = r.rest[n:]
		if err != nil {
			return total, err
		}
	}
}

func (r *objectReader) Close() error {
	if r.obj == nil {
		return nil
	}
	err := r.obj.Close()
	r.s.buffers.put(r.plain)
	r.s.buffers.put(r.stored)
	r.obj, r.plain, r.stored, r.rest = nil, nil, nil, nil
	return err
}
