package mtasts

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	domain = mail.Domain("example.test")
	zone   = "mta-sts.example.test A 127.0.0.1\n"
	record = "_mta-sts.example.test 0 TXT \"v=STSv1; id=%s\"\n"
	strict = "version: STSv1\nmode: enforce\nmx: mx.example.test\nmax_age: 864000\n"
)

// memory is a Cache.
type memory struct {
	mu sync.Mutex
	m  map[mail.Domain]Entry
}

func (c *memory) Policy(_ context.Context, d mail.Domain) (Entry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[d], nil
}

func (c *memory) KeepPolicy(_ context.Context, d mail.Domain, e Entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m[d] = e
	return nil
}

// world is a policy host, DNS, and a client with its own clock.
type world struct {
	*Client
	t     *testing.T
	dns   *dnstest.Server
	cache *memory

	mu      sync.Mutex
	now     time.Time
	handler http.HandlerFunc
	fetched int
}

func (w *world) serve(h http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.handler = h
}

func (w *world) later(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) announce(id string) {
	w.dns.SetZone(w.t, zone+fmt.Sprintf(record, id))
}

func (w *world) fetches() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fetched
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte(body))
	}
}

// certificate is for the names, its own authority.
func certificate(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func start(t *testing.T, edit func(*Options), names ...string) *world {
	t.Helper()
	w := &world{t: t, now: time.Now(), handler: text(strict), cache: &memory{m: map[mail.Domain]Entry{}}}
	w.dns = dnstest.Start(t, zone)
	if len(names) == 0 {
		names = []string{"mta-sts.example.test"}
	}
	cert, roots := certificate(t, names...)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.fetched++
		h := w.handler
		w.mu.Unlock()
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.example.test" {
			t.Errorf("asked for %s of %s", r.URL, r.Host)
		}
		h(rw, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	resolver, err := dns.New(dns.Options{Servers: []string{w.dns.Addr}, CacheBytes: -1, Rounds: 1})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Resolver: resolver, Cache: w.cache, Roots: roots, AllowLoopback: true,
		Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if addr != "127.0.0.1:443" {
				t.Errorf("dialled %s", addr)
			}
			return new(net.Dialer).DialContext(ctx, network, netip.MustParseAddrPort(s.Listener.Addr().String()).String())
		},
		Clock: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.now
		},
	}
	if edit != nil {
		edit(&o)
	}
	w.Client = New(o)
	t.Cleanup(w.Client.Close)
	return w
}

// TestFetch: what counts as a policy that was fetched (RFC 8461 §3.2, §3.3).
func TestFetch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		edit    func(*Options)
		names   []string
		why     string
	}{
		{name: "as it should be", handler: text(strict), why: "fetched"},
		{name: "another name", handler: text(strict), names: []string{"example.test", "www.example.test"}, why: "for another name"},
		{name: "a wildcard", handler: text(strict), names: []string{"*.example.test"}, why: "fetched"},
		{name: "an unknown authority", handler: text(strict), edit: func(o *Options) { o.Roots = x509.NewCertPool() }, why: "does not verify"},
		{name: "a redirect", handler: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://mta-sts.example.test/other", http.StatusFound)
		}, why: "answered 302"},
		{name: "not found", handler: http.NotFound, why: "answered 404"},
		{name: "HTML", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(strict))
		}, why: "not text/plain"},
		{name: "without end", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			for range 1000 {
				if _, err := w.Write([]byte(strings.Repeat("x: y\n", 1000))); err != nil {
					return
				}
			}
		}, why: "larger than 64 KiB"},
		{name: "cut off", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte(strict))
		}, why: "cannot be reached"},
		{name: "broken", handler: text("version: STSv1\n"), why: "no mode"},
		{name: "on this machine", handler: text(strict), edit: func(o *Options) { o.AllowLoopback = false }, why: "no address that can be used"},
		{name: "down", edit: func(o *Options) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
		}, why: "cannot be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, c.edit, c.names...)
			w.announce("1")
			w.serve(c.handler)
			f := w.Policy(t.Context(), domain)
			good := c.why == "fetched"
			if f.Valid != good || f.Fault == good || !strings.Contains(f.Why, c.why) {
				t.Errorf("%+v", f)
			}
			cause := map[string]Cause{"fetched": "", "for another name": Untrusted, "does not verify": Untrusted, "larger than 64 KiB": Unreadable, "no mode": Unreadable}
			if want, ok := cause[c.why]; f.Cause != want && (ok || f.Cause != Unfetched) {
				t.Errorf("cause %q", f.Cause)
			}
			if again := w.Policy(t.Context(), domain); again.Cause != f.Cause {
				t.Errorf("within five minutes: cause %q, %+v", again.Cause, again)
			}
			if good && (f.Policy.Mode != Enforce || f.ID != "1") {
				t.Errorf("%+v", f)
			}
		})
	}
}

// TestLife of a policy: fetched once, again when the id changes, and held on to whatever fails until its time is over
// (RFC 8461 §3.3, §5.1).
func TestLife(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	want := func(step string, valid bool, id string, fetches int) {
		t.Helper()
		f := w.Policy(t.Context(), domain)
		w.running.Wait() // refreshes beside the call
		if f.Valid != valid || valid && f.ID != id || w.fetches() != fetches {
			t.Fatalf("%s: %+v, %d fetches", step, f, w.fetches())
		}
	}
	want("no record", false, "", 0)
	w.announce("1")
	want("new", true, "1", 1)
	want("kept", true, "1", 1)
	w.announce("2")
	want("another id", true, "2", 2)
	w.serve(http.NotFound)
	w.announce("3")
	want("another id, and no policy", true, "2", 3)
	want("not again at once", true, "2", 3)
	w.later(6 * time.Minute)
	want("again", true, "2", 4)
	w.dns.SetZone(t, zone)
	want("no record any more", true, "2", 4)
	w.dns.Fail("_mta-sts.example.test", "TXT", dnstest.Fault{Rcode: 2})
	want("no answer", true, "2", 4)
	w.dns.Fail("_mta-sts.example.test", "TXT", dnstest.Fault{})
	w.announce("2")
	w.later(25 * time.Hour)
	want("old, refreshed beside, in vain", true, "2", 5)
	w.later(6 * time.Minute)
	w.serve(text(strings.Replace(strict, "864000", "86400", 1)))
	want("refreshed beside", true, "2", 6)
	want("with what it says now", true, "2", 6)
	w.serve(http.NotFound)
	w.later(25 * time.Hour)
	want("over", false, "", 7)
}

// TestNone: a policy is taken back by mode none, which counts like any other (RFC 8461 §8.3).
func TestNone(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.announce("1")
	w.Policy(t.Context(), domain)
	w.serve(text("version: STSv1\nmode: none\nmax_age: 60\n"))
	w.announce("2")
	if f := w.Policy(t.Context(), domain); !f.Valid || f.Policy.Mode != None {
		t.Errorf("%+v", f)
	}
	if f := w.Policy(t.Context(), "[192.0.2.1]"); f.Valid || f.Fault {
		t.Errorf("%+v", f)
	}
}

// TestTogether: calls at one time are one fetch, and a caller that goes does not end it.
func TestTogether(t *testing.T) {
	t.Parallel()
	w := start(t, nil)
	w.announce("1")
	asked, answer := make(chan struct{}, 1), make(chan struct{})
	w.serve(func(rw http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-answer
		text(strict)(rw, r)
	})
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan Found)
	go func() { gone <- w.Policy(ctx, domain) }()
	<-asked
	cancel()
	if f := <-gone; f.Valid || !f.Fault {
		t.Errorf("%+v", f)
	}
	close(answer)
	w.running.Wait()
	if f := w.Policy(t.Context(), domain); !f.Valid || w.fetches() != 1 {
		t.Errorf("%+v, %d fetches", f, w.fetches())
	}
}
