package s3test

import (
	"crypto/md5" //nolint: S3's ETag is one
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Server is one S3 endpoint. Safe for concurrent use.
type Server struct {
	// Page is the longest page of a list; 0 is 1000.
	Page int
	// LeastPart is the smallest part of an upload but the last, in octets; 0 is S3's 5 MiB.
	LeastPart int
	// Fault is asked before every request; what it gives happens instead. nil is no fault.
	Fault func(*http.Request) Fault

	web *httptest.Server

	mu       sync.Mutex
	buckets  map[string]map[string]object
	uploads  map[string]*upload
	next     int
	requests []string
}

// Fault is what goes wrong with a request. The zero value is nothing.
type Fault struct {
	Status int    // answer this at once, with Code as S3's error code
	Code   string // "" is InternalError
	Drop   bool   // cut the connection without an answer
	Cut    int    // cut it after so many octets of the answer's body; 0 does not
	Stall  bool   // give the headers and then nothing until the client leaves
	Lose   bool   // answer as if it had been done
}

type object struct {
	body    []byte
	tag     string
	changed time.Time
}

type upload struct {
	bucket, key string
	began       time.Time
	parts       map[int]object
}

// New starts a server with these buckets; it ends with the test.
func New(t testing.TB, buckets ...string) *Server {
	s := &Server{buckets: map[string]map[string]object{}, uploads: map[string]*upload{}}
	for _, b := range buckets {
		s.buckets[b] = map[string]object{}
	}
	s.web = httptest.NewServer(s)
	t.Cleanup(func() {
		s.web.CloseClientConnections()
		s.web.Close()
	})
	return s
}

// Host is where it listens: address and port.
func (s *Server) Host() string { return strings.TrimPrefix(s.web.URL, "http://") }

// URL gives a location as the configuration takes it.
func (s *Server) URL(bucket, prefix string) string {
	return strings.TrimSuffix("s3://key:secret@"+s.Host()+"/"+bucket+"/"+prefix, "/")
}

// Requests gives those since the last call, as "GET key" with what their query names, and forgets them.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.requests
	s.requests = nil
	return r
}

// Keys counts the objects of a bucket, and the uploads that are under way.
func (s *Server) Keys(bucket string) (objects, uploads int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.buckets[bucket]), len(s.uploads)
}

// Put sets an object as somebody else might.
func (s *Server) Put(bucket, key string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buckets[bucket][key] = newObject(body)
}

// Age makes everything older.
func (s *Server) Age(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.buckets {
		for k, o := range b {
			o.changed = o.changed.Add(-by)
			b[k] = o
		}
	}
	for _, u := range s.uploads {
		u.began = u.began.Add(-by)
	}
}

func newObject(body []byte) object {
	sum := md5.Sum(body)
	return object{body, hex.EncodeToString(sum[:]), time.Now()}
}

// refusal is an error of S3.
type refusal struct {
	status int
	code   string
}

func (r refusal) Error() string { return r.code }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s.mu.Lock()
	s.requests = append(s.requests, strings.TrimSpace(r.Method+" "+key))
	fault := s.Fault
	s.mu.Unlock()
	var f Fault
	if fault != nil {
		f = fault(r)
	}
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler) // how a handler cuts its connection
	case f.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		refuse(w, r, refusal{f.Status, f.Code})
		return
	case f.Cut > 0:
		w = &cutter{w, f.Cut}
	case f.Stall:
		w = &cutter{w, -1}
		defer func() { <-r.Context().Done() }()
	}
	if err := s.serve(w, r, bucket, key, f); err != nil {
		refuse(w, r, err)
	}
}

// cutter ends a response early, or swallows it.
type cutter struct {
	http.ResponseWriter
	left int
}

func (c *cutter) Write(p []byte) (int, error) {
	if c.left < 0 {
		http.NewResponseController(c.ResponseWriter).Flush()
		return len(p), nil
	}
	n, _ := c.ResponseWriter.Write(p[:min(len(p), c.left)])
	if c.left -= n; c.left == 0 {
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func refuse(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := err.(refusal)
	if !ok || e.code == "" {
		e = refusal{max(e.status, 500), "InternalError"}
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(e.status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, `<?xml version="1.0"?><Error><Code>%s</Code><Message>no</Message></Error>`, e.code)
	}
}

// serve does a request on a bucket or an object.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, bucket, key string, f Fault) error {
	body, err := s.body(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, exists := s.buckets[bucket]
	if key == "" && r.Method == http.MethodPut && !exists {
		s.buckets[bucket] = map[string]object{}
		return nil
	}
	if !exists {
		return refusal{404, "NoSuchBucket"}
	}
	q := r.URL.Query()
	switch {
	case key == "" && r.Method == http.MethodHead:
		return nil
	case key == "" && r.Method == http.MethodGet && q.Has("uploads"):
		return s.listUploads(w, bucket, q)
	case key == "" && r.Method == http.MethodGet:
		return s.list(w, bucket, q)
	case q.Has("uploads") || q.Has("uploadId"):
		return s.multipart(w, r, bucket, key, body)
	case r.Method == http.MethodPut:
		o := newObject(body)
		if !f.Lose {
			objects[key] = o
		}
		w.Header().Set("ETag", `"`+o.tag+`"`)
	case r.Method == http.MethodDelete:
		delete(objects, key)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet || r.Method == http.MethodHead:
		o, ok := objects[key]
		if !ok {
			return refusal{404, "NoSuchKey"}
		}
		return give(w, r, o)
	default:
		return refusal{405, "MethodNotAllowed"}
	}
	return nil
}

// body reads what the client sends and holds it to its own word.
func (s *Server) body(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, refusal{400, "IncompleteBody"}
	}
	if r.Method == http.MethodPut && r.ContentLength < 0 {
		return nil, refusal{411, "MissingContentLength"}
	}
	sum := sha256.Sum256(b)
	switch want := r.Header.Get("X-Amz-Content-Sha256"); {
	case want == "UNSIGNED-PAYLOAD", want == hex.EncodeToString(sum[:]):
		return b, nil
	case r.Header.Get("Authorization") == "":
		return nil, refusal{403, "AccessDenied"}
	}
	return nil, refusal{400, "XAmzContentSHA256Mismatch"}
}

// give answers GET and HEAD, with one range.
func give(w http.ResponseWriter, r *http.Request, o object) error {
	h := w.Header()
	h.Set("ETag", `"`+o.tag+`"`)
	h.Set("Last-Modified", o.changed.UTC().Format(http.TimeFormat))
	h.Set("Content-Type", "application/octet-stream")
	from, to, status := 0, len(o.body), http.StatusOK
	if v := r.Header.Get("Range"); v != "" {
		var ok bool
		if from, to, ok = span(strings.TrimPrefix(v, "bytes="), len(o.body)); !ok {
			return refusal{416, "InvalidRange"}
		}
		status = http.StatusPartialContent
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(o.body)))
	}
	h.Set("Content-Length", strconv.Itoa(to-from))
	w.WriteHeader(status)
	if r.Method == http.MethodGet {
		_, _ = w.Write(o.body[from:to])
	}
	return nil
}

// span reads "from-", "from-to" or "-last" of n octets.
func span(v string, n int) (from, to int, ok bool) {
	a, b, _ := strings.Cut(v, "-")
	x, err := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	switch {
	case a == "" && err2 == nil:
		return max(0, n-y), n, y > 0 && n > 0
	case b == "" && err == nil:
		return x, n, x < n
	}
	return x, min(n, y+1), err == nil && err2 == nil && x <= y && x < n
}

func writeXML(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/xml")
	_, _ = io.WriteString(w, xml.Header)
	return xml.NewEncoder(w).Encode(v)
}
