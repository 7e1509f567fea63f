package smtpd

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server on loopback.
type rig struct {
	policy *fakePolicy
	glass  *observe.Glass
	server *listen.Server
	ln     net.Listener
}

// aCrowd is the limit of bad commands by which a transcript says that it is one.
const aCrowd = 999

// crowd gives how many connections a rig has room for; 0 is any number.
func crowd(o Options) int {
	if o.MaxBadCommands == aCrowd {
		return 1
	}
	return 0
}

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	r := &rig{policy: &fakePolicy{}, glass: observe.NewGlass(&mail.IDs{}, time.Now, nil)}
	switch o.Policy.(type) {
	case nil:
		o.Policy = r.policy
	case telling:
		o.Policy = telling{r.policy}
	}
	o.Hostname = "mx.test"
	if o.Protocol != "not in glass" {
		o.Glass = r.glass
	}
	s := New(o)
	r.server = listen.New(listen.Options{
		Handler: s, Refusal: s.Refusal(),
		Limiter: listen.NewLimiter(listen.Limits{PerUser: 2, Total: crowd(o)}),
	})
	ln, err := listen.Bind(context.Background(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.ln = ln
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ln) }()
	t.Cleanup(func() {
		r.stop(100 * time.Millisecond)
		if err := <-served; err != nil {
			t.Error(err)
		}
		if r.policy.open != 0 {
			t.Errorf("%d transactions never ended", r.policy.open)
		}
	})
	return r
}

func (r *rig) stop(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_ = r.server.Shutdown(ctx)
}

// idle waits until no session is left.
func (r *rig) idle() {
	for i := 0; i < 400 && r.server.Stats().Open > 0; i++ {
		time.Sleep(5 * time.Millisecond)
	}
}

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mx.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return listen.TLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, ALPN()...)
}

// options reads the words of a transcript's first line.
func options(t *testing.T, words string) Options {
	var o Options
	for w := range strings.FieldsSeq(words) {
		switch w {
		case "lmtp":
			o.LMTP = true
		case "tls":
			o.TLS = testTLS(t)
		case "auth":
			o.SASL = &sasl.Server{Auth: newFakeAuth(), Nonce: func() string { return "server" }}
		case "anyone":
			o.SASL = &sasl.Server{Auth: sasl.Anyone{Account: 9}}
		case "clear":
			o.AuthInClear = true
		case "required":
			o.AuthRequired = true
		case "repair":
			o.BareLF = smtp.RepairBareLF
		case "small":
			o.MaxSize, o.MaxRecipients, o.MaxBadCommands, o.MaxFailedLogins = 64, 2, 4, 2
		case "crowded":
			o.MaxBadCommands = aCrowd
		case "hasty":
			o.IdleTimeout, o.LoginTimeout = 150*time.Millisecond, 50*time.Millisecond
		case "delay":
			o.GreetDelay = 300 * time.Millisecond
		case "listed", "strangers":
			o.XClient = []netip.Prefix{netip.MustParsePrefix(map[string]string{"listed": "127.0.0.1/32", "strangers": "192.0.2.0/24"}[w])}
			o.Identify = func(_ context.Context, login string) (sasl.Identity, error) {
				if login != "alice@example.org" {
					return sasl.Identity{}, smtp.Fail(501, mail.NotFound, mail.Enhanced{5, 5, 4}, "no such login")
				}
				return sasl.Identity{Account: 1, Login: login}, nil
			}
		case "looks":
			o.Look = func(_ context.Context, a netip.Addr, _ string) smtp.Looked {
				return smtp.Looked{Name: "of-" + a.String() + ".test", Reverse: "pass"}
			}
		case "telling":
			o.Policy = telling{}
		case "tlsrequired":
			o.TLS, o.TLSRequired = testTLS(t), true
		case "all":
			o.Extensions = smtp.Extensions{
				Binary: true, UTF8: true, DSN: true, DeliverBy: true, FutureRelease: true, Priority: true, RequireTLS: true,
			}
			o.Clock = func() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC) }
		case "forgiving":
			o.Forgiving = true
		case "odmr":
			o.Turn, o.AuthRequired = fakeTurner{}, true
			o.SASL = &sasl.Server{Auth: newFakeAuth(), Nonce: func() string { return "server" }}
		case "etrn":
			o.Flush = fakeFlush
		case "early": // the client does not wait for the greeting
		default:
			t.Fatalf("option %s", w)
		}
	}
	return o
}

// TestSessions plays the transcripts in testdata/sessions. Their lines:
//
//	# options             of the server, in the first line
//	C: text               the client sends the line; lines that follow one another go in one write
//	C "text\r\n"          it sends just these octets, quoted as in Go
//	PAUSE                 ends a write without waiting for a reply
//	S: text               the server sends the line, ids made alike
//	P: text               the policy was asked this since the last P
//	TLS                   the client begins TLS
//	STOP                  the server is told to stop
//	HANGUP                the client closes
//	CLOSED                the server has closed
//
// With -update the S, P and CLOSED lines are written anew.
func TestSessions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s\n--- got\n%s--- want\n%s", f, got, text)
			}
		})
	}
}

// player plays one transcript.
type player struct {
	t    *testing.T
	rig  *rig
	conn net.Conn
	r    *bufio.Reader
	out  strings.Builder
}

func play(t *testing.T, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	p := &player{t: t, rig: newRig(t, options(t, strings.TrimPrefix(lines[0], "#")))}
	conn, err := net.Dial("tcp", p.rig.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.conn.Close() }()
	p.conn, p.r = conn, bufio.NewReader(conn)
	p.out.WriteString(lines[0] + "\n")
	if !strings.Contains(lines[0], "early") {
		p.listen(want(lines[1:]))
	}
	var write strings.Builder
	for i, l := range lines[1:] {
		if strings.HasPrefix(l, "S: ") || strings.HasPrefix(l, "P: ") || l == "CLOSED" {
			continue
		}
		p.out.WriteString(l + "\n")
		if p.prepare(&write, l) && i+2 < len(lines) && strings.HasPrefix(lines[i+2], "C") {
			continue
		}
		_, _ = io.WriteString(p.conn, write.String())
		write.Reset()
		if l == "HANGUP" {
			_ = p.conn.Close()
			p.rig.idle()
		}
		p.listen(want(lines[i+2:]))
	}
	return p.out.String()
}

// prepare takes an action line, and tells whether it only adds to what is to be written.
func (p *player) prepare(write *strings.Builder, l string) bool {
	switch {
	case strings.HasPrefix(l, "C: "):
		write.WriteString(l[3:] + "\r\n")
		return true
	case strings.HasPrefix(l, "C \""):
		s, err := strconv.Unquote(l[2:])
		if err != nil {
			p.t.Fatal(l, err)
		}
		write.WriteString(s)
		return true
	case l == "TLS":
		_ = p.conn.SetDeadline(time.Now().Add(5 * time.Second))
		c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			p.t.Error(err)
		}
		_ = p.conn.SetDeadline(time.Time{})
		p.conn, p.r = c, bufio.NewReader(c)
	case l == "STOP":
		go p.rig.stop(5 * time.Second)
	case l == "PAUSE", l == "HANGUP", strings.HasPrefix(l, "#"), l == "":
	default:
		p.t.Fatalf("what is %q?", l)
	}
	return false
}

// want gives the S, P and CLOSED lines at the front.
func want(lines []string) []string {
	for i, l := range lines {
		if !strings.HasPrefix(l, "S: ") && !strings.HasPrefix(l, "P: ") && l != "CLOSED" {
			return lines[:i]
		}
	}
	return lines
}

var anID = regexp.MustCompile(`\b([sma])-[0-9a-v]{16}`)

// listen writes down what the server says: as many lines as are wanted, or all that come soon when updating.
func (p *player) listen(want []string) {
	n, closed := 0, false
	for _, w := range want {
		if strings.HasPrefix(w, "S: ") {
			n++
		}
		closed = closed || w == "CLOSED"
	}
	patience := 3 * time.Second
	if *update {
		n, closed, patience = 1<<30, true, 400*time.Millisecond
	}
	for i := 0; i < n || closed; i++ {
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		line, err := p.r.ReadString('\n')
		if err != nil {
			var ne net.Error
			if closed = closed && !(errors.As(err, &ne) && ne.Timeout()) && !errors.Is(err, net.ErrClosed); closed {
				p.out.WriteString("CLOSED\n")
			}
			if closed {
				_ = p.conn.Close() // else it lingers
				p.rig.idle()
			}
			break
		}
		p.out.WriteString("S: " + anID.ReplaceAllString(strings.TrimSuffix(line, "\r\n"), "$1-ID") + "\n")
	}
	for _, l := range p.rig.policy.take() {
		p.out.WriteString("P: " + l + "\n")
	}
}

// say sends a line and gives the reply's last line.
type talker struct {
	t testing.TB
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial(t testing.TB) *talker {
	t.Helper()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &talker{t, c, bufio.NewReader(c)}
}

func (c *talker) reply() string {
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			return "closed"
		}
		if len(l) > 3 && l[3] == ' ' {
			return strings.TrimRight(l, "\r\n")
		}
	}
}

func (c *talker) say(format string, args ...any) string {
	_, _ = fmt.Fprintf(c, format+"\r\n", args...)
	return c.reply()
}
