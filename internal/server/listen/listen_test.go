package listen

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers lines; "panic" panics, "slow" works a while, "tls" upgrades, "user X" logs in.
type echo struct{ tls *tls.Config }

func (e echo) Serve(ctx context.Context, c *Conn) {
	r := bufio.NewReader(c)
	for {
		if !c.Idle(time.Minute) {
			fmt.Fprint(c, "farewell\r\n")
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			if c.Stopping() {
				fmt.Fprint(c, "farewell\r\n")
			}
			return
		}
		c.Busy(time.Minute)
		line = strings.TrimRight(line, "\r\n")
		switch verb, arg, _ := strings.Cut(line, " "); verb {
		case "panic":
			panic("as told")
		case "slow":
			fmt.Fprint(c, "begun\r\n")
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		case "hang":
			fmt.Fprint(c, "begun\r\n")
			<-ctx.Done()
			return
		case "user":
			line = fmt.Sprint(c.Authenticated(arg))
		case "remote":
			line = c.RemoteAddr().String() + " to " + c.LocalAddr().String()
		case "cred":
			line = fmt.Sprint(c.Cred().UID)
		case "tls":
			fmt.Fprint(c, "go on\r\n")
			if c.StartTLS(ctx, e.tls) != nil {
				return
			}
			r.Reset(c)
			continue
		}
		fmt.Fprintf(c, "%s\r\n", line)
	}
}

type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, ln net.Listener) *client {
	t.Helper()
	c, err := net.Dial(ln.Addr().Network(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) say(line string) string {
	c.t.Helper()
	if _, err := fmt.Fprintf(c, "%s\r\n", line); err != nil {
		return "error"
	}
	return c.line()
}

func (c *client) line() string {
	l, err := c.r.ReadString('\n')
	if err != nil {
		return "closed"
	}
	return strings.TrimRight(l, "\r\n")
}

func (c *client) want(got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("%q, want %q", got, want)
	}
}

// start serves on loopback until the test ends.
func start(t *testing.T, o Options, address string) (*Server, net.Listener) {
	t.Helper()
	ln, err := Bind(t.Context(), address, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, ln
}

func testTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mail.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestFarewell(t *testing.T) {
	t.Parallel()
	s, ln := start(t, Options{Handler: echo{}}, "127.0.0.1:0")
	idle, slow := dial(t, ln), dial(t, ln)
	idle.want(idle.say("hello"), "hello")
	slow.want(slow.say("slow"), "begun")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	idle.want(idle.line(), "farewell")
	idle.want(idle.line(), "closed")
	slow.want(slow.line(), "slow")
	slow.want(slow.line(), "farewell")
	if st := s.Stats(); st.Open != 0 || st.Accepted != 2 {
		t.Errorf("%+v", st)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("still listens")
	}
}

func TestHardStop(t *testing.T) {
	t.Parallel()
	s, ln := start(t, Options{Handler: echo{}}, "127.0.0.1:0")
	c := dial(t, ln)
	c.want(c.say("hang"), "begun")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestPanicEndsOneConnection(t *testing.T) {
	t.Parallel()
	s, ln := start(t, Options{Handler: echo{}}, "127.0.0.1:0")
	a, b := dial(t, ln), dial(t, ln)
	a.want(a.say("panic"), "closed")
	b.want(b.say("alive"), "alive")
	if s.Stats().Panics != 1 {
		t.Error("not counted")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Limits{PerAddress: 2, PerUser: 1, Total: 3})
	s, ln := start(t, Options{Handler: echo{}, Limiter: l, Refusal: "421 later\r\n"}, "127.0.0.1:0")
	a, b := dial(t, ln), dial(t, ln)
	a.want(a.say("hi"), "hi")
	b.want(b.say("hi"), "hi")
	over := dial(t, ln)
	over.want(over.line(), "421 later")
	a.want(a.say("user alice"), "true")
	c := dial(t, ln) // a no longer counts by its address
	c.want(c.say("hi"), "hi")
	c.want(c.say("user alice"), "false")
	over = dial(t, ln)
	over.want(over.line(), "421 later") // the total
	_ = b.Close()
	for range 100 {
		if s.Stats().Open == 2 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	d := dial(t, ln)
	d.want(d.say("hi"), "hi")
	for _, x := range []*client{a, c, d} {
		_ = x.Close()
	}
	for i := 0; i < 200 && s.Stats().Open > 0; i++ {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(10 * time.Millisecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total != 0 || len(l.count) != 0 {
		t.Errorf("%d, %v left", l.total, l.count)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	cfg := TLSConfig(testTLS(t), "imap")
	_, implicit := start(t, Options{Handler: echo{}, TLS: cfg}, "127.0.0.1:0")
	_, upgraded := start(t, Options{Handler: echo{cfg}}, "127.0.0.1:0")
	for _, c := range []struct {
		name string
		cfg  *tls.Config
		ok   bool
	}{
		{"no ALPN", &tls.Config{}, true},
		{"ours", &tls.Config{NextProtos: []string{"x", "imap"}}, true},
		{"another", &tls.Config{NextProtos: []string{"http/1.1"}}, false},
		{"old", &tls.Config{MaxVersion: tls.VersionTLS11}, false},
	} {
		c.cfg.InsecureSkipVerify = true
		plain := dial(t, upgraded)
		plain.want(plain.say("tls"), "go on")
		for _, raw := range []net.Conn{dial(t, implicit), plain} {
			tc := tls.Client(raw, c.cfg.Clone())
			sec := &client{t, tc, bufio.NewReader(tc)}
			if got := sec.say("hi") == "hi"; got != c.ok {
				t.Errorf("%s: %v, want %v", c.name, got, c.ok)
			}
		}
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	if _, err := Bind(t.Context(), "unix:"+path, 0o600); !mail.Is(err, mail.Exists) {
		t.Errorf("a living socket: %v", err)
	}
	_ = old.Close() // as if it had died
	_, ln := start(t, Options{Handler: echo{}}, "unix:"+path)
	c := dial(t, ln)
	c.want(c.say("cred"), fmt.Sprint(os.Getuid()))
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", st, err)
	}
}

func TestBindErrors(t *testing.T) {
	t.Parallel()
	ln, err := Bind(t.Context(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	if _, err := Bind(t.Context(), ln.Addr().String(), 0); !mail.Is(err, mail.Exists) {
		t.Error(err)
	}
	if _, err := Bind(t.Context(), "nonsense", 0); !mail.Is(err, mail.Invalid) {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Bind(t.Context(), "unix:"+file, 0); !mail.Is(err, mail.Exists) {
		t.Error(err)
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::/64"} {
		if got := network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
	if a := addrPort(&net.TCPAddr{IP: net.ParseIP("192.0.2.1"), Port: 25}); !a.Addr().Is4() {
		t.Error("IPv4-mapped")
	}
}

// lastWords answers one line and closes while the client still sends.
type lastWords struct{}

func (lastWords) Serve(_ context.Context, c *Conn) {
	c.Busy(time.Minute)
	_, _ = io.ReadFull(c, make([]byte, 1))
	c.Linger()
	fmt.Fprint(c, "554 go away\r\n")
}

func TestLingerDeliversLastWords(t *testing.T) {
	t.Parallel()
	_, ln := start(t, Options{Handler: lastWords{}}, "127.0.0.1:0")
	c := dial(t, ln)
	_, _ = c.Write(make([]byte, 200_000))
	c.want(c.line(), "554 go away")
}
