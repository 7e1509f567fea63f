package imapd

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/search"
	"postel/internal/server/listen"
	"postel/internal/store"
	"postel/internal/vfs"
)

const alice mail.AccountID = 1

// users is a directory of two: alice and bob, password "secret".
type users struct{}

func (users) account(login string) mail.AccountID {
	name, _, _ := strings.Cut(strings.ToLower(login), "@")
	return map[string]mail.AccountID{"alice": alice, "bob": 2}[name]
}

func (u users) Password(_ context.Context, authzid, login, password string) (sasl.Identity, error) {
	a := u.account(login)
	if login == "broken" {
		return sasl.Identity{}, &mail.Error{Op: "users", Kind: mail.Unavailable}
	}
	if login == "bug" {
		return sasl.Identity{}, io.ErrNoProgress
	}
	if a == 0 || password != "secret" || authzid != "" && u.account(authzid) != a {
		return sasl.Identity{}, sasl.Failed()
	}
	return sasl.Identity{Account: a, Login: login}, nil
}

func (u users) SCRAM(_ context.Context, h crypto.Hash, login string) (sasl.SCRAMKeys, sasl.Identity, error) {
	keys, err := sasl.NewSCRAMKeys(h, "secret", []byte("saltsaltsalt"), 4096)
	return keys, sasl.Identity{Account: u.account(login), Login: login}, err
}

func (users) Every(_ context.Context, mech string, _ sasl.Use) bool { return mech == sasl.ScramSHA256 }

func (u users) Vouched(_ context.Context, login string) (sasl.Identity, error) {
	if u.account(login) == 0 {
		return sasl.Identity{}, sasl.Failed()
	}
	return sasl.Identity{Account: u.account(login), Login: login}, nil
}

func (users) Shared(context.Context, sasl.Use, string) (string, sasl.Identity, error) {
	return "", sasl.Identity{}, sasl.Failed()
}

// world is a server in this process over a store in memory.
type world struct {
	t      testing.TB
	store  *store.Store
	server *Server
	addr   string
	glass  *observe.Glass
	listen *listen.Server
	rows   kv.Store
	index  *search.Index
	now    time.Time
}

type setup struct {
	clearAuth bool
	quota     int64
	limits    Limits
	noTLS     bool
	implicit  bool // TLS from the first octet
	noGlass   bool
	index     bool
	dir       string // on disk; "": in memory
}

func start(t testing.TB, o setup) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)}
	clock := func() time.Time { return w.now }
	openRows := pebble.OpenMemory
	if o.dir != "" {
		openRows = func() (*pebble.Store, error) { return pebble.Open(pebble.Options{Dir: o.dir}) }
	}
	rows, err := openRows()
	must(t, err)
	large, err := file.New(file.Options{FS: vfs.NewMem(), Dir: "blobs"})
	must(t, err)
	blobs := blob.New(blob.Options{KV: rows, Large: large, Clock: clock})
	w.store = store.New(store.Options{
		KV: rows, Blobs: blobs, Clock: clock,
		Quota: func(context.Context, mail.AccountID, int64) (int64, error) { return o.quota, nil },
	})
	for a := alice; a <= 2; a++ {
		must(t, rows.Update(t.Context(), kv.Txn{Lock: []kv.Key{kv.LockAccount(a)}}, func(tx kv.Tx) error {
			return w.store.InitAccount(tx, a)
		}))
	}
	if !o.noGlass {
		w.glass = observe.NewGlass(new(mail.IDs), time.Now, nil)
	}
	if o.limits.Progress == 0 {
		o.limits.Progress = time.Minute // a slow machine says nothing else
	}
	cfg := listen.TLSConfig(&tls.Config{Certificates: []tls.Certificate{certificate(t)}}, "imap")
	opts := Options{
		Store: w.store, SASL: &sasl.Server{Auth: users{}}, ClearAuth: o.clearAuth, Hostname: "mail.example.org", Version: "1",
		Glass: w.glass, Limits: o.limits, Clock: clock,
	}
	if o.index {
		w.index = search.New(search.Options{KV: rows, Source: textSource{w.store}, Clock: clock})
		opts.Index = w.index
	}
	lo := listen.Options{Name: "imap"}
	if !o.noTLS {
		opts.TLS = cfg
	}
	if o.implicit {
		lo.TLS = cfg
	}
	w.server = New(opts)
	lo.Handler = w.server
	l := listen.New(lo)
	w.listen, w.rows = l, rows
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w.addr = ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- l.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = l.Shutdown(ctx)
		<-done
		_ = w.store.Close()
		_ = rows.Close()
	})
	return w
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"mail.example.org"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// deliver puts a message, given with bare LF, into a mailbox of alice.
func (w *world) deliver(mailbox, text string, flags store.Flags, keywords ...string) store.Appended {
	w.t.Helper()
	m, err := w.store.Mailbox(w.t.Context(), alice, mailbox)
	must(w.t, err)
	in := w.store.Incoming(w.t.Context())
	defer in.Discard()
	_, err = io.WriteString(in, strings.ReplaceAll(text, "\n", "\r\n"))
	must(w.t, err)
	sealed, err := in.Seal()
	must(w.t, err)
	defer sealed.Discard()
	ap, err := w.store.AppendOne(w.t.Context(), sealed, store.Delivery{
		Account: alice, Mailbox: m.ID, Flags: flags, Keywords: keywords, InternalDate: w.now,
	})
	must(w.t, err)
	return ap
}

// client is one end of a connection, by lines.
type client struct {
	t testing.TB
	net.Conn
	r   *bufio.Reader
	raw net.Conn
}

func (w *world) dial() *client {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	must(w.t, err)
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	return &client{t: w.t, Conn: c, r: bufio.NewReader(c), raw: c}
}

func (c *client) startTLS() {
	c.t.Helper()
	t := tls.Client(c.raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"imap"}})
	must(c.t, t.Handshake())
	c.Conn, c.r = t, bufio.NewReader(t)
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		c.t.Logf("send: %v", err)
	}
}

// line reads a line without its end; "<closed>" at the end of the connection.
func (c *client) line() string {
	l, err := c.r.ReadString('\n')
	if err != nil {
		return "<closed>"
	}
	return strings.TrimSuffix(strings.TrimSuffix(l, "\n"), "\r")
}

// until reads lines up to one that begins with the tag or a continuation.
func (c *client) until(tag string) []string {
	var lines []string
	for {
		l := c.line()
		lines = append(lines, l)
		if l == "<closed>" || strings.HasPrefix(l, tag+" ") || strings.HasPrefix(l, "* BAD ") ||
			l == "+" || strings.HasPrefix(l, "+ ") {
			return lines
		}
	}
}

// do sends a command and gives its answer; the command must be answered OK.
func (c *client) do(format string, args ...any) []string {
	c.t.Helper()
	cmd := fmt.Sprintf(format, args...)
	c.send("t " + cmd)
	lines := c.until("t")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t OK") && !strings.HasPrefix(last, "+") {
		c.t.Fatalf("%s: %s", cmd, strings.Join(lines, "\n"))
	}
	return lines
}

// login opens a session of alice.
func (w *world) login() *client {
	w.t.Helper()
	c := w.dial()
	c.line()
	c.do("LOGIN alice secret")
	return c
}
