package s3

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"postel/internal/blob"
	"postel/internal/mail"
)

const (
	tailSize   = 64 << 10 // what Open reads: the index of 5,000 frames
	firstRun   = 512 << 10
	longestRun = 64 << 20
	growth     = 3
	gapSize    = 64 << 10 // skipped in a stream rather than asked for anew
)

// reader reads one object. Its streams live as long as a run of reads that continue each other.
type reader struct {
	s    *Store
	ctx  context.Context
	end  context.CancelFunc
	id   mail.ID
	size int64
	once sync.Once

	mu   sync.Mutex
	tail []byte // the last octets
	body io.ReadCloser
	at   int64 // where body stands
	upto int64 // where body ends
	run  int64 // how long the next stream will be when it continues this one
}

// Open implements blob.Large. ctx bounds all reading.
func (s *Store) Open(ctx context.Context, id mail.ID) (blob.LargeObject, error) {
	if !s.hold(id) {
		return nil, mail.E("s3.open", mail.NotFound, "the object is removed")
	}
	r := &reader{s: s, id: id, run: firstRun}
	r.ctx, r.end = context.WithCancel(ctx)
	if err := r.readTail(); err != nil {
		_ = r.Close()
		return nil, failure("s3.open", err)
	}
	return r, nil
}

// readTail reads the object's end and its size.
func (r *reader) readTail() error {
	var o minio.GetObjectOptions
	if err := o.SetRange(0, -tailSize); err != nil {
		return err
	}
	body, total, err := r.get(o)
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode == 416 { // an empty object has no range
		body, total, err = r.get(minio.GetObjectOptions{})
	}
	if err != nil {
		return err
	}
	r.size = total.size
	if total.from != max(0, total.size-tailSize) { // a server without such ranges began at the beginning
		r.body, r.at, r.upto = body, total.from, total.size
		return nil
	}
	defer body.Close()
	r.tail = make([]byte, total.size-total.from)
	_, err = io.ReadFull(body, r.tail)
	return unavailableRead(err)
}

// extent is what a response holds.
type extent struct{ from, size int64 }

// get begins a stream, which ends when it makes no progress for Timeout.
func (r *reader) get(o minio.GetObjectOptions) (io.ReadCloser, extent, error) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	watch := time.AfterFunc(attempts*r.s.o.Timeout, func() { cancel(errStalled) })
	body, info, header, err := r.s.core.GetObject(ctx, r.s.o.Location.Bucket, r.s.name(r.id), o)
	if err != nil {
		watch.Stop()
		stalled := context.Cause(ctx) == errStalled
		cancel(nil)
		if stalled {
			err = errStalled
		}
		return nil, extent{}, err
	}
	e := extent{0, info.Size}
	if v := header.Get("Content-Range"); v != "" {
		var ok bool
		if e, ok = parseRange(v); !ok {
			watch.Stop()
			cancel(nil)
			return nil, extent{}, errors.Join(mail.E("s3.read", mail.Unavailable, "the bucket answers with a broken range"), body.Close())
		}
	}
	watch.Reset(r.s.o.Timeout)
	return &stream{body, cancel, watch, r.s.o.Timeout}, e, nil
}

var errStalled = errors.New("no answer in time")

// parseRange reads "bytes from-to/size" (RFC 9110 §14.4).
func parseRange(v string) (e extent, ok bool) {
	v, ok = strings.CutPrefix(v, "bytes ")
	span, total, ok2 := strings.Cut(v, "/")
	from, to, ok3 := strings.Cut(span, "-")
	a, err := strconv.ParseInt(from, 10, 64)
	b, err2 := strconv.ParseInt(to, 10, 64)
	n, err3 := strconv.ParseInt(total, 10, 64)
	ok = ok && ok2 && ok3 && errors.Join(err, err2, err3) == nil && a >= 0 && a <= b && b < n
	return extent{a, n}, ok
}

// stream is a response's body under a watch.
type stream struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
	watch  *time.Timer
	limit  time.Duration
}

func (s *stream) Read(p []byte) (int, error) {
	s.watch.Reset(s.limit)
	n, err := s.ReadCloser.Read(p)
	s.watch.Stop() // who reads may take any time in between
	return n, err
}

func (s *stream) Close() error {
	s.watch.Stop()
	s.cancel(nil)
	return s.ReadCloser.Close()
}

// Size implements blob.LargeObject.
func (r *reader) Size() int64 { return r.size }

// ReadAt implements io.ReaderAt. Readers take turns.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, mail.E("s3.read", mail.Invalid, "negative offset")
	}
	if off >= r.size {
		return 0, io.EOF
	}
	var short error
	if int64(len(p)) > r.size-off {
		p, short = p[:r.size-off], io.EOF
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if from := r.size - int64(len(r.tail)); off >= from {
		return copy(p, r.tail[off-from:]), short
	}
	n, err := r.fill(p, off)
	if err != nil {
		return n, failure("s3.read", err)
	}
	return n, short
}

// fill reads p from off. What a stream that broke did not bring is asked for again, twice in a row.
func (r *reader) fill(p []byte, off int64) (n int, err error) {
	for broken := 0; n < len(p); {
		if err := r.seek(off+int64(n), int64(len(p)-n)); err != nil {
			r.drop()
			return n, err
		}
		k, err := io.ReadFull(r.body, p[n:min(len(p), n+int(r.upto-r.at))])
		n += k
		r.at += int64(k)
		if k > 0 {
			broken = 0
		}
		if err == nil {
			continue
		}
		r.drop()
		if broken++; broken == attempts || r.ctx.Err() != nil {
			return n, errors.Join(r.ctx.Err(), unavailableRead(err))
		}
	}
	return n, nil
}

// unavailableRead hides an io.EOF that came too early from those who read io.EOF as the end.
func unavailableRead(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &mail.Error{Op: "s3.read", Kind: mail.Unavailable, Err: err}
	}
	return err
}

// seek makes body stand at off, with something left in it: n octets and more are wanted.
func (r *reader) seek(off, n int64) error {
	if gap := off - r.at; r.body != nil && off < r.upto && gap >= 0 && gap <= gapSize {
		k, err := io.CopyN(io.Discard, r.body, gap)
		r.at += k
		if err == nil {
			return nil
		}
	}
	if follows := r.upto > 0 && off == r.upto; follows {
		r.run = min(r.run*growth, longestRun)
	} else {
		r.run = firstRun
	}
	r.drop()
	to := min(r.size, off+max(n, r.run))
	var o minio.GetObjectOptions
	if err := o.SetRange(off, to-1); err != nil {
		return err
	}
	body, e, err := r.get(o)
	if err != nil {
		return err
	}
	if e.size != r.size || e.from != off {
		return errors.Join(mail.E("s3.read", mail.Unavailable, "the bucket answers with another range than was asked for"), body.Close())
	}
	r.body, r.at, r.upto = body, off, to
	return nil
}

// drop ends the stream.
func (r *reader) drop() {
	if r.body != nil {
		_ = r.body.Close() // only read
		r.body = nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.once.Do(func() {
		r.end() // who is reading leaves
		r.mu.Lock()
		r.drop()
		r.mu.Unlock()
		r.s.release(r.id)
	})
	return nil
}
