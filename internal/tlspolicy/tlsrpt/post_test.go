package tlsrpt

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"postel/internal/dns"
	"postel/internal/dns/dnstest"
	"postel/internal/mail"
)

// TestPost: a report goes to the host that the record names, as RFC 8460 §5.4 has it, when its certificate verifies; an
// answer of 2xx says that it is there, and nothing else does.
func TestPost(t *testing.T) {
	t.Parallel()
	resolver := dnstest.Start(t, "example.com A 127.0.0.1\nother.test A 127.0.0.1\nprivate.test A 10.1.2.3\n")
	r, err := dns.New(dns.Options{Servers: []string{resolver.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	took := make(chan *Report, 1)
	takes := func(w http.ResponseWriter, req *http.Request) {
		rep, err := Read(req.Body)
		if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/tlsrpt+gzip" || req.URL.Path != "/v1" {
			t.Errorf("%s %s %v: %v", req.Method, req.URL, req.Header, err)
		}
		took <- rep
		w.WriteHeader(http.StatusCreated)
	}
	for _, c := range []struct {
		name    string
		host    string
		handler http.HandlerFunc
		edit    func(*Options)
		why     string // "" is success
	}{
		{"taken", "example.com", takes, nil, ""},
		{"refused", "example.com", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }, nil, "example.com answered 418"},
		{"elsewhere", "example.com", func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "https://example.com/other", http.StatusPermanentRedirect)
		}, nil, "answered 308"},
		{"headers without end", "example.com", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 64<<10))
		}, nil, "cannot be reached"},
		{"another name", "other.test", takes, nil, "for another name"},
		{"an unknown authority", "example.com", takes, func(o *Options) { o.Roots = x509.NewCertPool() }, "does not verify"},
		{"on this machine", "example.com", takes, func(o *Options) { o.AllowLoopback = false }, "example.com has no address that can be used"},
		{"in a private network", "private.test", takes, func(o *Options) { o.AllowLoopback = false }, "private.test has no address that can be used"},
		{"no such host", "none.test", takes, nil, "none.test"},
		{"down", "example.com", takes, func(o *Options) {
			o.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }
		}, "cannot be reached"},
	} {
		s := httptest.NewUnstartedServer(c.handler)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		o := Options{Resolver: r, Roots: x509.NewCertPool(), AllowLoopback: true}
		o.Roots.AddCert(s.Certificate())
		if c.edit != nil {
			c.edit(&o)
		}
		err := New(o).post(t.Context(), fmt.Sprintf("https://%s:%d/v1", c.host, s.Listener.Addr().(*net.TCPAddr).Port), sample())
		switch {
		case c.why != "":
			if !mail.Is(err, mail.Unavailable) || !strings.Contains(publicText(err), c.why) {
				t.Errorf("%s: %v", c.name, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		default:
			if rep := <-took; !reflect.DeepEqual(rep, sample()) {
				t.Errorf("%+v", rep)
			}
		}
		s.Close()
	}
}

// TestPostEnds: who does not answer holds nothing up for longer than a minute.
func TestPostEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent := func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		return ours, ctx.Err()
	}
	resolver := dnstest.Start(t, "example.com A 192.0.2.1\n")
	r, err := dns.New(dns.Options{Servers: []string{resolver.Addr}})
	if err != nil {
		t.Fatal(err)
	}
	err = New(Options{Resolver: r, Dial: silent}).post(ctx, "https://example.com/", sample())
	if publicText(err) != "the host does not answer in time" {
		t.Error(err)
	}
}
