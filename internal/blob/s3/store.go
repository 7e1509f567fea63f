package s3

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"postel/internal/blob"
	"postel/internal/mail"
	"postel/internal/vfs"
)

// Options say where objects go and how.
type Options struct {
	Location Location
	FS       vfs.FS // of the spool; nil is the operating system's
	Dir      string // of the spool: this process's own, emptied by New, created (0700) where missing
	// PartSize is the largest object sent in one request, and the size of the parts of larger ones, in octets; 0 is
	// 16 MiB. S3 takes no smaller parts than 5 MiB.
	PartSize int64
	Timeout  time.Duration // of a request without progress; 0 is 15 s
}

// Defaults and bounds.
const (
	partSize    = 16 << 20
	maxParts    = 10_000 // of S3's multipart uploads
	partsAtOnce = 3      // of one upload
	timeout     = 15 * time.Second
	attempts    = 3
	listPage    = 1000
)

// Store is a blob.Large. Safe for concurrent use.
type Store struct {
	o     Options
	core  *minio.Core
	lines *http.Transport

	mu     sync.Mutex
	open   map[mail.ID]int  // objects that readers of this process have open
	doomed map[mail.ID]bool // those of them to be removed with their last reader
}

var _ blob.Large = (*Store)(nil)

// New gives a store and empties its spool. It does not speak to the bucket: see Check.
func New(o Options) (*Store, error) {
	if o.FS == nil {
		o.FS = vfs.Default()
	}
	if o.PartSize <= 0 {
		o.PartSize = partSize
	}
	if o.Timeout <= 0 {
		o.Timeout = timeout
	}
	if err := emptySpool(o.FS, o.Dir); err != nil {
		return nil, &mail.Error{Op: "s3.open", Kind: mail.Unavailable, Err: err}
	}
	l := o.Location
	if l.Region == "" && !strings.HasSuffix(l.Endpoint, ".amazonaws.com") {
		l.Region = "us-east-1"
	}
	lines := transport(o.Timeout)
	core, err := minio.NewCore(l.Endpoint, &minio.Options{
		Creds: creds(l), Secure: l.TLS, Region: l.Region, Transport: lines, MaxRetries: attempts,
	})
	if err != nil {
		return nil, &mail.Error{Op: "s3.open", Kind: mail.Invalid, Text: "the S3 client cannot be made: " + err.Error(), Err: err}
	}
	return &Store{o: o, core: core, lines: lines, open: map[mail.ID]int{}, doomed: map[mail.ID]bool{}}, nil
}

// creds gives those of the URL, else those of the environment, a file or the machine.
func creds(l Location) *credentials.Credentials {
	if l.Key != "" {
		return credentials.NewStaticV4(l.Key, l.Secret, "")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

// transport bounds each step of a request.
func transport(limit time.Duration) *http.Transport {
	d := net.Dialer{Timeout: min(limit, 5*time.Second), KeepAlive: 15 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: d.DialContext,
		TLSHandshakeTimeout: limit, ResponseHeaderTimeout: limit, ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost: 32, MaxIdleConns: 64, IdleConnTimeout: time.Minute,
		DisableCompression: true, // ranges are of what is stored
	}
}

// Check asks for the bucket; with create it is made where it is missing. Kinds: Unavailable when nobody answers, Invalid
// when it is missing or key and secret are not those of the server.
func (s *Store) Check(ctx context.Context, create bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	ok, err := s.core.BucketExists(ctx, s.o.Location.Bucket)
	if err == nil && !ok && create {
		err = s.core.MakeBucket(ctx, s.o.Location.Bucket, minio.MakeBucketOptions{Region: s.o.Location.Region})
		ok = err == nil
	}
	var answer minio.ErrorResponse
	switch {
	case errors.As(err, &answer) && answer.StatusCode >= 400 && answer.StatusCode < 500:
		return &mail.Error{
			Op: "s3.check", Kind: mail.Invalid, Err: err,
			Text: s.o.Location.String() + " refuses us: look at key, secret, region and the rights on the bucket",
		}
	case err != nil:
		return failure("s3.check", err)
	case !ok:
		return mail.E("s3.check", mail.Invalid, "%s: there is no such bucket", s.o.Location)
	}
	return nil
}

// claim is the object that says whose the prefix is.
const claim = "postel-owner"

// Claim makes the prefix that of owner, one line of text: whoever shares the rows. It fails with Kind Invalid when it is
// somebody else's, whose objects a sweep of ours would remove, since no row of ours names them.
func (s *Store) Claim(ctx context.Context, owner string) error {
	const op = "s3.claim"
	ctx, cancel := context.WithTimeout(ctx, attempts*s.o.Timeout)
	defer cancel()
	bucket, key := s.o.Location.Bucket, s.under()+claim
	for range 2 { // ask, write where there is none, and ask again: two may begin at the same time
		body, _, _, err := s.core.GetObject(ctx, bucket, key, minio.GetObjectOptions{})
		if err = failure(op, err); err == nil {
			have, err := io.ReadAll(io.LimitReader(body, 1024))
			if err = errors.Join(err, body.Close()); err != nil {
				return failure(op, err)
			}
			if string(have) != owner {
				return mail.E(op, mail.Invalid, "%s holds the bodies of another postel: use another bucket or prefix", s.o.Location)
			}
			return nil
		}
		if !mail.Is(err, mail.NotFound) {
			return err
		}
		sum := sha256.Sum256([]byte(owner))
		o := minio.PutObjectOptions{ContentType: "text/plain", DisableContentSha256: true}
		_, err = s.core.PutObject(ctx, bucket, key, strings.NewReader(owner), int64(len(owner)), "", hex.EncodeToString(sum[:]), o)
		if err != nil {
			return failure(op, err)
		}
	}
	return nil
}

// Close lets connections go that nobody uses.
func (s *Store) Close() error {
	s.lines.CloseIdleConnections()
	return nil
}

// failure gives an error of the client its Kind.
func failure(op string, err error) error {
	var known *mail.Error
	var answer minio.ErrorResponse
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return mail.Wrap(op, err)
	case errors.Is(err, context.Canceled):
		return &mail.Error{Op: op, Kind: mail.Canceled, Err: err}
	case errors.As(err, &answer) && answer.Code == minio.NoSuchKey:
		return &mail.Error{Op: op, Kind: mail.NotFound, Err: err}
	}
	return &mail.Error{Op: op, Kind: mail.Unavailable, Err: err}
}

// name gives an object's key in the bucket.
func (s *Store) name(id mail.ID) string { return s.under() + id.String() }

func (s *Store) under() string {
	if s.o.Location.Prefix == "" {
		return ""
	}
	return s.o.Location.Prefix + "/"
}

// Remove implements blob.Large. Whoever of this process has the object open keeps it: it goes with the last of them. A
// reader on another node gets Kind NotFound from there on.
func (s *Store) Remove(ctx context.Context, id mail.ID) error {
	s.mu.Lock()
	if s.open[id] > 0 {
		s.doomed[id] = true
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.remove(ctx, id)
}

func (s *Store) remove(ctx context.Context, id mail.ID) error {
	ctx, cancel := context.WithTimeout(ctx, attempts*s.o.Timeout)
	defer cancel()
	err := failure("s3.remove", s.core.RemoveObject(ctx, s.o.Location.Bucket, s.name(id), minio.RemoveObjectOptions{}))
	if mail.Is(err, mail.NotFound) {
		return nil
	}
	return err
}

// hold notes a reader; false when the object is to go.
func (s *Store) hold(id mail.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doomed[id] {
		return false
	}
	s.open[id]++
	return true
}

// release lets a reader go, and with the last one an object that was removed meanwhile.
func (s *Store) release(id mail.ID) {
	s.mu.Lock()
	s.open[id]--
	last := s.open[id] == 0
	if last {
		delete(s.open, id)
	}
	doomed := last && s.doomed[id]
	if doomed {
		delete(s.doomed, id)
	}
	s.mu.Unlock()
	if doomed {
		_ = s.remove(context.Background(), id) // else the next sweep finds it
	}
}

// List implements blob.Large. What is not ours below the prefix is passed over.
func (s *Store) List(ctx context.Context) iter.Seq2[blob.LargeInfo, error] {
	return func(yield func(blob.LargeInfo, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the client's side when we leave early
		o := minio.ListObjectsOptions{Prefix: s.under(), Recursive: true, MaxKeys: listPage}
		for info := range s.core.ListObjectsIter(ctx, s.o.Location.Bucket, o) {
			if info.Err != nil {
				yield(blob.LargeInfo{}, failure("s3.list", info.Err))
				return
			}
			id, ok := mail.ParseID(strings.TrimPrefix(info.Key, s.under()))
			if !ok || info.Key != s.name(id) {
				continue
			}
			if !yield(blob.LargeInfo{ID: id, Size: info.Size, Changed: info.LastModified}, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(blob.LargeInfo{}, failure("s3.list", err))
		}
	}
}

// SweepUnfinished aborts the multipart uploads below the prefix that began before a time: those a crash left. Servers
// that do not list them (MinIO, for a prefix) need a rule of the bucket's life cycle instead.
func (s *Store) SweepUnfinished(ctx context.Context, before time.Time) (removed int, err error) {
	key, upload := "", ""
	for {
		page, err := s.core.ListMultipartUploads(ctx, s.o.Location.Bucket, s.under(), key, upload, "", listPage)
		var answer minio.ErrorResponse
		if errors.As(err, &answer) && answer.Code == minio.NotImplemented {
			return removed, nil
		}
		if err != nil {
			return removed, failure("s3.uploads", err)
		}
		for _, u := range page.Uploads {
			id, ok := mail.ParseID(strings.TrimPrefix(u.Key, s.under()))
			if !ok || u.Key != s.name(id) || !u.Initiated.Before(before) {
				continue
			}
			if err := s.core.AbortMultipartUpload(ctx, s.o.Location.Bucket, u.Key, u.UploadID); err != nil {
				return removed, failure("s3.abort", err)
			}
			removed++
		}
		if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == upload {
			return removed, nil
		}
		key, upload = page.NextKeyMarker, page.NextUploadIDMarker
	}
}
