package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/blobtest"
	"postel/internal/blob/s3"
	"postel/internal/blob/s3test"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/vfs"
)

func location(t testing.TB, url string) s3.Location {
	t.Helper()
	l, err := s3.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func open(t testing.TB, srv *s3test.Server, change func(*s3.Options)) *s3.Store {
	t.Helper()
	o := s3.Options{Location: location(t, srv.URL("mail", "a/b")), FS: vfs.NewMem(), Dir: "/spool", PartSize: 5 << 20, Timeout: 5 * time.Second}
	if change != nil {
		change(&o)
	}
	s, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Large {
		srv := s3test.New(t, "mail")
		srv.Page = 7
		return open(t, srv, nil)
	})
}

// TestVersity is TestConformance against a real server, and what a blob store does on it.
func TestVersity(t *testing.T) {
	t.Parallel()
	url := s3test.Versity(t)
	var n atomic.Int32
	fresh := func(t *testing.T) *s3.Store {
		s, err := s3.New(s3.Options{
			Location: location(t, fmt.Sprintf("%s/run%d", url, n.Add(1))), FS: vfs.NewMem(), Dir: "/spool", PartSize: 5 << 20,
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := fresh(t).Check(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	blobtest.Run(t, func(t *testing.T) blob.Large { return fresh(t) })
	t.Run("Sweep", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, fresh(t))
		for _, size := range []int{300_000, 12 << 20} {
			body := noise(size)
			id, err := w.put(t.Context(), body)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.read(t.Context(), id, 0, -1)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("%d octets: %d, %v", size, len(got), err)
			}
			if n, err := w.blobs.Sweep(t.Context(), -time.Hour); n != 0 || err != nil {
				t.Errorf("%d removed of what is linked, %v", n, err)
			}
			b := w.blobs.New(t.Context()) // sealed, and then its server died
			if _, err := b.Write(body); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Seal(); err != nil {
				t.Fatal(err)
			}
			if n, err := w.blobs.Sweep(t.Context(), time.Hour); n != 0 || err != nil {
				t.Errorf("%d removed that are young, %v", n, err)
			}
			if n, err := w.blobs.Sweep(t.Context(), -time.Hour); n != 1 || err != nil {
				t.Errorf("%d removed, %v", n, err)
			}
			b.Discard()
		}
	})
}

// noise gives octets that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// world is a blob store whose large bodies lie in the bucket.
type world struct {
	kv    kv.Store
	blobs *blob.Store
}

func newWorld(t *testing.T, large blob.Large) *world {
	t.Helper()
	rows, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rows.Close() })
	return &world{rows, blob.New(blob.Options{KV: rows, Large: large})}
}

// put stores a body; its error is that of whichever step fails.
func (w *world) put(ctx context.Context, body []byte) (id mail.ID, err error) {
	b := w.blobs.New(ctx)
	defer b.Discard()
	if _, err := b.Write(body); err != nil {
		return id, err
	}
	if id, err = b.Seal(); err != nil {
		return id, err
	}
	return id, w.kv.Update(ctx, kv.Txn{}, func(tx kv.Tx) error {
		b.Link(tx, blob.Owner{Kind: blob.Email, A: 1, ID: 1})
		return nil
	})
}

func (w *world) read(ctx context.Context, id mail.ID, off, n int64) ([]byte, error) {
	r, err := w.blobs.Open(ctx, id, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestFewRequests has 20 MB of a body written and read: by parts, and by long runs, and a header by two requests.
func TestFewRequests(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	w := newWorld(t, open(t, srv, nil))
	body := noise(20 << 20)
	id, err := w.put(t.Context(), body)
	if err != nil {
		t.Fatal(err)
	}
	srv.Requests()
	for _, c := range []struct{ off, n, most int64 }{
		{0, -1, 6},           // BODY[]
		{0, 2000, 2},         // its header
		{10 << 20, 8192, 2},  // BODY[]<from.octets>
		{20<<20 - 10, 10, 2}, // its end
		{0, 4 << 20, 4},
	} {
		got, err := w.read(t.Context(), id, c.off, c.n)
		want := body[c.off:]
		if c.n >= 0 {
			want = want[:c.n]
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d from %d: %d octets, %v", c.n, c.off, len(got), err)
		}
		if r := srv.Requests(); int64(len(r)) > c.most {
			t.Errorf("%d from %d took %d requests: %v", c.n, c.off, len(r), r)
		}
	}
}

// TestPartsEverywhere has sizes around those of parts and of what Open reads.
func TestPartsEverywhere(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	large := open(t, srv, nil)
	body := noise(10<<20 + 1)
	var ids mail.IDs
	for _, n := range []int{1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 5<<20 - 1, 5 << 20, 5<<20 + 1, 10<<20 + 1} {
		id := ids.New(time.Now())
		out, err := large.Create(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = out.Write(bytes.Clone(body[:n]))
		if err == nil {
			err = out.Commit()
		}
		out.Abort()
		if err != nil {
			t.Errorf("%d octets: %v", n, err)
			continue
		}
		o, err := large.Open(t.Context(), id)
		if err != nil || o.Size() != int64(n) {
			t.Fatalf("%d octets: %v", n, err)
		}
		r := rand.New(rand.NewPCG(1, uint64(n)))
		for range 30 {
			off := r.IntN(n)
			got := make([]byte, 1+r.IntN(300_000))
			k, err := o.ReadAt(got, int64(off))
			want := body[off:min(n, off+len(got))]
			if !bytes.Equal(got[:k], want) || (err == nil) != (k == len(got)) || err != nil && err != io.EOF {
				t.Fatalf("%d octets: at %d: %d, %v; want %d", n, off, k, err, len(want))
			}
		}
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, uploads := srv.Keys("mail"); uploads != 0 {
		t.Errorf("%d uploads left", uploads)
	}
}

// TestFaultsOfWriting has each request of a write fail in turn, in several ways: either the body is there afterwards, or
// the error says try later, and nothing but what a sweep finds is left.
func TestFaultsOfWriting(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]s3test.Fault{
		"500":  {Status: 500},
		"403":  {Status: 403, Code: "AccessDenied"},
		"slow": {Status: 503, Code: "SlowDown"},
		"cut":  {Drop: true},
		"lost": {Lose: true},
		"404":  {Status: 404, Code: "NoSuchBucket"},
	} {
		for _, times := range []int32{1, 1000} {
			for _, size := range []int{200_000, 700_000} { // one request, four parts
				t.Run(fmt.Sprintf("%s %d %d", name, times, size), func(t *testing.T) {
					t.Parallel()
					faultyWrite(t, f, times, size)
				})
			}
		}
	}
}

func faultyWrite(t *testing.T, f s3test.Fault, times int32, size int) {
	places := []int32{0, 1, 2, 3, 4, 5, 6, 7}
	if times > 1 { // each costs seconds of trying again
		places = []int32{0, 5}
	}
	for _, at := range places {
		srv := s3test.New(t, "mail")
		srv.LeastPart = 200 << 10
		var n atomic.Int32
		srv.Fault = func(*http.Request) s3test.Fault {
			if i := n.Add(1) - 1; i >= at && i < at+times {
				return f
			}
			return s3test.Fault{}
		}
		w := newWorld(t, open(t, srv, func(o *s3.Options) { o.PartSize = 200 << 10 }))
		body := noise(size)
		id, err := w.put(t.Context(), body)
		reached := n.Load() > at
		srv.Fault = nil
		if err != nil && !mail.Is(err, mail.Unavailable) {
			t.Errorf("request %d: %v", at, err)
		}
		if err == nil {
			if got, err := w.read(t.Context(), id, 0, -1); err != nil || !bytes.Equal(got, body) {
				t.Errorf("request %d: acknowledged, but %v", at, err)
			}
		} else {
			srv.Age(2 * time.Hour)
			if _, err := w.blobs.Sweep(t.Context(), time.Hour); err != nil {
				t.Error(err)
			}
			if objects, uploads := srv.Keys("mail"); objects != 0 || uploads != 0 {
				t.Errorf("request %d: %d objects, %d uploads left after the sweep", at, objects, uploads)
			}
		}
		if !reached {
			return
		}
	}
}

// TestFaultsOfReading breaks streams again and again: what is read is right, or the error says try later, and never that
// a body is damaged.
func TestFaultsOfReading(t *testing.T) {
	t.Parallel()
	body := noise(3 << 20)
	for name, c := range map[string]struct {
		fault s3test.Fault
		every int32
		want  mail.Kind // 255: it is read
	}{
		"cut now and then": {s3test.Fault{Cut: 100_000}, 2, 255},
		"dropped":          {s3test.Fault{Drop: true}, 2, 255},
		"busy":             {s3test.Fault{Status: 503, Code: "SlowDown"}, 2, 255},
		"away":             {s3test.Fault{Drop: true}, 1, mail.Unavailable},
		"denied":           {s3test.Fault{Status: 403, Code: "AccessDenied"}, 1, mail.Unavailable},
		"no bucket":        {s3test.Fault{Status: 404, Code: "NoSuchBucket"}, 1, mail.Unavailable},
		"stalled":          {s3test.Fault{Stall: true}, 1, mail.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := s3test.New(t, "mail")
			w := newWorld(t, open(t, srv, func(o *s3.Options) {
				if c.fault.Stall {
					o.Timeout = 2 * time.Second // which is waited for
				}
			}))
			id, err := w.put(t.Context(), body)
			if err != nil {
				t.Fatal(err)
			}
			var n atomic.Int32
			srv.Fault = func(*http.Request) s3test.Fault {
				if n.Add(1)%c.every == 0 {
					return c.fault
				}
				return s3test.Fault{}
			}
			got, err := w.read(t.Context(), id, 0, -1)
			if c.want == 255 && (err != nil || !bytes.Equal(got, body)) || c.want != 255 && !mail.Is(err, c.want) {
				t.Errorf("%d octets, %v", len(got), err)
			}
		})
	}
}

// TestCheckAway has a check of all bodies while the bucket is away: nothing is called damaged or lost.
func TestCheckAway(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	w := newWorld(t, open(t, srv, nil))
	if _, err := w.put(t.Context(), noise(300_000)); err != nil {
		t.Fatal(err)
	}
	o := blob.CheckOptions{Bodies: true, Damaged: func(id mail.ID, _ []blob.Owner, why string) { t.Errorf("%s is called damaged: %s", id, why) }}
	for _, away := range []bool{false, true} {
		srv.Fault = func(*http.Request) s3test.Fault { return s3test.Fault{Drop: away} }
		found, err := w.blobs.Check(t.Context(), o)
		if err != nil || len(found) > 0 != away || away && found[0].State != mail.Away {
			t.Errorf("away %v: %v, %v", away, found, err)
		}
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	w := newWorld(t, open(t, srv, nil))
	id, err := w.put(t.Context(), noise(3<<20))
	if err != nil {
		t.Fatal(err)
	}
	srv.Fault = func(*http.Request) s3test.Fault { return s3test.Fault{Stall: true} }
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := w.read(ctx, id, 0, -1); err == nil || time.Since(start) > 3*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
}

// TestForeign has objects below the prefix, and beside it, that are not ours.
func TestForeign(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	s := open(t, srv, nil)
	var ids mail.IDs
	id := ids.New(time.Now())
	for _, key := range []string{"x", "a/b/x", "a/b/" + id.String() + "/x", "a/" + id.String(), "a/b" + id.String(), "a/b/" + strings.ToUpper(id.String()) + "!"} {
		srv.Put("mail", key, []byte("x"))
	}
	for info, err := range s.List(t.Context()) {
		t.Errorf("listed %v, %v", info, err)
	}
}

// TestSpool sees that the spool is empty after each end, and after the next start.
func TestSpool(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	fs := vfs.NewMem()
	with := func(o *s3.Options) { o.FS = fs }
	s := open(t, srv, with)
	var ids mail.IDs
	left := func(want int) {
		t.Helper()
		if names, err := fs.List("/spool"); err != nil || len(names) != want {
			t.Errorf("the spool has %v, %v", names, err)
		}
	}
	for _, end := range []string{"commit", "abort", "crash"} {
		out, err := s.Create(t.Context(), ids.New(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte("body")); err != nil {
			t.Fatal(err)
		}
		switch end {
		case "commit":
			if err := out.Commit(); err != nil {
				t.Fatal(err)
			}
		case "abort":
			out.Abort()
		case "crash":
			left(1)
			open(t, srv, with)
		}
		left(0)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	s := open(t, srv, func(o *s3.Options) { o.Location.Bucket = "other" })
	if err := s.Check(t.Context(), false); !mail.Is(err, mail.Invalid) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a bucket that is missing: %v", err)
	}
	if err := s.Check(t.Context(), true); err != nil {
		t.Errorf("one that is made: %v", err)
	}
	if err := s.Check(t.Context(), false); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	srv.Fault = func(*http.Request) s3test.Fault { return s3test.Fault{Status: 403, Code: "InvalidAccessKeyId"} }
	if err := s.Check(t.Context(), false); !mail.Is(err, mail.Invalid) {
		t.Errorf("a wrong key: %v", err)
	}
	srv.Fault = func(*http.Request) s3test.Fault { return s3test.Fault{Drop: true} }
	if err := s.Check(t.Context(), false); !mail.Is(err, mail.Unavailable) {
		t.Errorf("nobody there: %v", err)
	}
}

func TestClaim(t *testing.T) {
	t.Parallel()
	srv := s3test.New(t, "mail")
	s, other := open(t, srv, nil), open(t, srv, func(o *s3.Options) { o.Location.Prefix = "" })
	for _, c := range []struct {
		s     *s3.Store
		owner string
		want  bool
	}{{s, "one", true}, {s, "one", true}, {s, "two", false}, {other, "two", true}} {
		if err := c.s.Claim(t.Context(), c.owner); (err == nil) != c.want || err != nil && !mail.Is(err, mail.Invalid) {
			t.Errorf("%s: %v", c.owner, err)
		}
	}
	for info, err := range s.List(t.Context()) {
		t.Errorf("listed %v, %v", info, err)
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]s3.Location{
		"s3://k:s@127.0.0.1:7070/mail":                           {Endpoint: "127.0.0.1:7070", Bucket: "mail", Key: "k", Secret: "s"},
		"s3://k:s%2F%3A@s3.example.org/mail/x/y/":                {Endpoint: "s3.example.org", TLS: true, Bucket: "mail", Prefix: "x/y", Key: "k", Secret: "s/:"},
		"s3://s3.eu-west-1.amazonaws.com/mail?region=eu-west-1":  {Endpoint: "s3.eu-west-1.amazonaws.com", TLS: true, Bucket: "mail", Region: "eu-west-1"},
		"s3://k:s@[::1]:9000/mail?tls=true":                      {Endpoint: "[::1]:9000", TLS: true, Bucket: "mail", Key: "k", Secret: "s"},
		"s3://k:s@minio:9000/mail/in?tls=false&region=us-east-1": {Endpoint: "minio:9000", Bucket: "mail", Prefix: "in", Region: "us-east-1", Key: "k", Secret: "s"},
		"s3:///mail":                 {},
		"s3://host":                  {},
		"s3://host/":                 {},
		"s3://host/BUCKET":           {},
		"s3://k@host/mail":           {},
		"http://host/mail":           {},
		"s3://host/mail?nope=1":      {},
		"s3://host/mail?tls=perhaps": {},
		"s3://host/mail/a//b":        {},
		"s3://host/mail/a b":         {},
		"s3://host/mail#x":           {},
		"s3://host/mail/" + strings.Repeat("a", 600): {},
		"file": {},
	} {
		got, err := s3.ParseURL(in)
		if want == (s3.Location{}) {
			if !mail.Is(err, mail.Invalid) || got != want || strings.Contains(in, "k:s") && strings.Contains(err.Error(), in) {
				t.Errorf("%s: %+v, %v", in, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
		if strings.Contains(got.String(), ":s") && want.Key != "" && strings.Contains(got.String(), "k:") {
			t.Errorf("%s shows its secret", got)
		}
	}
}
