package migrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	"postel/internal/blob"
	"postel/internal/mail"
)

// copyBuffer is what is read of a body at a time.
const copyBuffer = 1 << 20

// bodies copies the large bodies that the target does not have yet, and reads them back.
func (r *run) bodies(ctx context.Context) error {
	r.progress = Progress{Phase: "bodies"}
	if r.From.Large == nil || r.shared() {
		return nil
	}
	for info, err := range r.From.Large.List(ctx) {
		if err != nil {
			return err
		}
		if r.To.Large == nil {
			return mail.E("migrate", mail.Invalid, "%s has large bodies: say where they are to go", r.From.Name)
		}
		if err := r.body(ctx, info); err != nil {
			return mail.Wrap("migrate.body "+info.ID.String(), err)
		}
		r.progress.Bodies++
		r.tell()
	}
	r.result.Bodies, r.result.BodyBytes = r.progress.Bodies, r.progress.Bytes
	return nil
}

func (r *run) body(ctx context.Context, info blob.LargeInfo) error {
	from, err := r.From.Large.Open(ctx, info.ID)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // only read
	r.progress.Bytes += from.Size()
	want, err := digest(ctx, from)
	if err != nil {
		return err
	}
	if same, err := r.has(ctx, info.ID, from.Size(), want); same || err != nil {
		return err
	}
	if err := r.copyBody(ctx, info.ID, from); err != nil {
		return err
	}
	same, err := r.has(ctx, info.ID, from.Size(), want)
	if err == nil && !same {
		err = errors.Join(mail.E("migrate", mail.Internal, "the copy is not what was written"), r.To.Large.Remove(ctx, info.ID))
	}
	return err
}

// has tells whether the target has the body, with the same octets. Another one of that name is removed.
func (r *run) has(ctx context.Context, id mail.ID, size int64, want [32]byte) (bool, error) {
	o, err := r.To.Large.Open(ctx, id)
	if mail.Is(err, mail.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = o.Close() }() // only read
	if o.Size() == size {
		got, err := digest(ctx, o)
		if err != nil || got == want {
			return err == nil, err
		}
	}
	return false, r.To.Large.Remove(ctx, id)
}

func (r *run) copyBody(ctx context.Context, id mail.ID, from blob.LargeObject) error {
	w, err := r.To.Large.Create(ctx, id)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := io.CopyBuffer(onlyWriter{w}, reader(ctx, from), make([]byte, copyBuffer)); err != nil {
		return err
	}
	return w.Commit()
}

// onlyWriter hides what io.CopyBuffer would use instead of the buffer.
type onlyWriter struct{ io.Writer }

func digest(ctx context.Context, o blob.LargeObject) (sum [32]byte, err error) {
	h := sha256.New()
	if _, err := io.CopyBuffer(onlyWriter{h}, reader(ctx, o), make([]byte, copyBuffer)); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// reader reads an object from its beginning, until ctx ends.
func reader(ctx context.Context, o blob.LargeObject) io.Reader {
	return &ctxReader{ctx, io.NewSectionReader(o, 0, o.Size())}
}

type ctxReader struct {
	ctx context.Context
	r   *io.SectionReader
}

// Read implements io.Reader.
func (r *ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, &mail.Error{Op: "migrate", Kind: mail.Canceled, Err: err}
	}
	return r.r.Read(p)
}
