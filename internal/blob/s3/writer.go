package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"postel/internal/blob"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// emptySpool makes the spool's directory and removes what a process before left there.
func emptySpool(fs vfs.FS, dir string) error {
	if err := vfs.MkdirAllSync(fs, dir); err != nil {
		return err
	}
	names, err := fs.List(dir)
	for _, name := range names {
		if _, ours := mail.ParseID(name); ours {
			err = errors.Join(err, fs.Remove(fs.PathJoin(dir, name)))
		}
	}
	return err
}

// writer spools one object and sends it.
type writer struct {
	s    *Store
	ctx  context.Context
	id   mail.ID
	temp string
	file vfs.File // nil once closed
	size int64
	hash hash.Hash // of the part that is being written
	sums []string  // SHA-256 of each part that is whole, in hex
	done bool
}

// Create implements blob.Large. Of ctx Commit uses what is left.
func (s *Store) Create(ctx context.Context, id mail.ID) (blob.LargeWriter, error) {
	temp := s.o.FS.PathJoin(s.o.Dir, id.String())
	f, err := vfs.Create(s.o.FS, temp)
	if err != nil {
		return nil, &mail.Error{Op: "s3.create", Kind: mail.Unavailable, Err: err}
	}
	return &writer{s: s, ctx: ctx, id: id, temp: temp, file: f, hash: sha256.New()}, nil
}

// Write implements io.Writer. The parts' digests are made here, while the octets are in the processor's caches.
func (w *writer) Write(p []byte) (int, error) {
	if w.file == nil {
		return 0, mail.E("s3.write", mail.Internal, "written after the end")
	}
	n := len(p)
	for rest := p; len(rest) > 0; {
		k := int(min(int64(len(rest)), w.s.o.PartSize-w.size%w.s.o.PartSize))
		w.hash.Write(rest[:k])
		w.size += int64(k)
		rest = rest[k:]
		if w.size%w.s.o.PartSize == 0 {
			w.endPart()
		}
	}
	if _, err := w.file.Write(p); err != nil { // may change p
		return 0, &mail.Error{Op: "s3.write", Kind: mail.Unavailable, Err: err}
	}
	return n, nil
}

func (w *writer) endPart() {
	w.sums = append(w.sums, hex.EncodeToString(w.hash.Sum(nil)))
	w.hash.Reset()
}

// Commit implements blob.LargeWriter.
func (w *writer) Commit() error {
	const op = "s3.commit"
	if w.size%w.s.o.PartSize != 0 || w.size == 0 {
		w.endPart()
	}
	if len(w.sums) > maxParts {
		return mail.E(op, mail.TooLarge, "larger than %d parts", maxParts)
	}
	var tag string
	var err error
	if len(w.sums) == 1 {
		tag, err = w.put()
	} else {
		tag, err = w.multipart()
	}
	if err == nil {
		err = w.verify(tag)
	}
	if err != nil {
		return failure(op, err)
	}
	w.done = true
	w.close()
	return nil
}

// part gives the octets of part i, from 0 on.
func (w *writer) part(i int) *io.SectionReader {
	from := int64(i) * w.s.o.PartSize
	return io.NewSectionReader(w.file, from, min(w.s.o.PartSize, w.size-from))
}

// limit bounds a request that sends n octets: a slow line is given 64 KiB a second.
func (w *writer) limit(ctx context.Context, n int64) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, attempts*(w.s.o.Timeout+time.Duration(n>>16)*time.Second))
}

// put sends all in one request and gives the ETag.
func (w *writer) put() (string, error) {
	ctx, cancel := w.limit(w.ctx, w.size)
	defer cancel()
	o := minio.PutObjectOptions{ContentType: "application/octet-stream", DisableContentSha256: true}
	info, err := w.s.core.PutObject(ctx, w.s.o.Location.Bucket, w.s.name(w.id), w.part(0), w.size, "", w.sums[0], o)
	return info.ETag, err
}

// multipart sends the parts, a few at a time, and gives the ETag of the whole.
func (w *writer) multipart() (tag string, err error) {
	core, bucket, name := w.s.core, w.s.o.Location.Bucket, w.s.name(w.id)
	begin, cancel := w.limit(w.ctx, 0)
	defer cancel()
	upload, err := core.NewMultipartUpload(begin, bucket, name, minio.PutObjectOptions{ContentType: "application/octet-stream"})
	if err != nil {
		return "", err
	}
	defer func() {
		if err == nil {
			return
		}
		ctx, cancel := w.limit(context.WithoutCancel(w.ctx), 0)
		defer cancel()
		_ = core.AbortMultipartUpload(ctx, bucket, name, upload) // else SweepUnfinished does it
	}()
	parts := make([]minio.CompletePart, len(w.sums))
	g, ctx := errgroup.WithContext(w.ctx)
	g.SetLimit(partsAtOnce)
	for i, sum := range w.sums {
		g.Go(func() error {
			body := w.part(i)
			ctx, cancel := w.limit(ctx, body.Size())
			defer cancel()
			o := minio.PutObjectPartOptions{Sha256Hex: sum, DisableContentSha256: true}
			p, err := core.PutObjectPart(ctx, bucket, name, upload, i+1, body, body.Size(), o)
			parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: p.ETag}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	end, cancel := w.limit(w.ctx, w.size) // servers that copy the parts together take their time
	defer cancel()
	info, err := core.CompleteMultipartUpload(end, bucket, name, upload, parts, minio.PutObjectOptions{})
	return info.ETag, err
}

// verify asks the server what it has.
func (w *writer) verify(tag string) error {
	ctx, cancel := w.limit(w.ctx, 0)
	defer cancel()
	info, err := w.s.core.StatObject(ctx, w.s.o.Location.Bucket, w.s.name(w.id), minio.StatObjectOptions{})
	if err != nil {
		return unavailable(err) // NotFound is no answer to somebody who has just written
	}
	if info.Size != w.size || tag != "" && info.ETag != tag {
		return mail.E("s3.verify", mail.Unavailable, "the bucket keeps something else than it was given")
	}
	return nil
}

func unavailable(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &mail.Error{Op: "s3", Kind: mail.Unavailable, Err: err}
}

// Abort implements blob.LargeWriter. An object whose sending failed may be there or not: it is for the sweep.
func (w *writer) Abort() {
	if !w.done {
		w.done = true
		w.close()
	}
}

// close drops the spooled file.
func (w *writer) close() {
	if w.file != nil {
		_ = w.file.Close() // the file goes anyway
		w.file = nil
	}
	_ = w.s.o.FS.Remove(w.temp) // else the next start does it
}
