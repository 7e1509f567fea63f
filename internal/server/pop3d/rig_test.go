package pop3d

import (
	"bufio"
	"context"
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

	"go.uber.org/goleak"

	"postel/internal/blob"
	"postel/internal/blob/file"
	"postel/internal/directory"
	"postel/internal/directory/local"
	"postel/internal/kv"
	"postel/internal/kv/pebble"
	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/proto/sasl"
	"postel/internal/server/listen"
	"postel/internal/store"
	"postel/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server on loopback with a real store and directory in memory.
type rig struct {
	kv     kv.Store
	store  *store.Store
	dir    *local.Directory
	alice  mail.AccountID
	glass  *observe.Glass
	pop    *Server
	server *listen.Server
	ln     net.Listener
}

// start is when all mail of the tests arrives.
func start() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func newRig(t testing.TB, o Options) *rig {
	t.Helper()
	k, err := pebble.OpenMemory()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{kv: k, glass: observe.NewGlass(&mail.IDs{}, time.Now, nil)}
	large, err := file.New(file.Options{FS: vfs.NewMem(), Dir: "blobs"})
	if err != nil {
		t.Fatal(err)
	}
	r.store = store.New(store.Options{KV: k, Blobs: blob.New(blob.Options{KV: k, Large: large}), Clock: start})
	r.dir, err = local.New(t.Context(), local.Options{
		KV: k, Recoverable: true,
		Hash: local.HashCost{MemoryKiB: 8, Passes: 1, Lanes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.dir.AddDomain(t.Context(), directory.Domain{Name: "postel.test", Kind: directory.Local}); err != nil {
		t.Fatal(err)
	}
	r.alice = r.account(t, local.NewAccount{Address: mail.Address{Local: "alice", Domain: "postel.test"}, Password: "postel"})
	r.account(t, local.NewAccount{Address: mail.Address{Local: "bob", Domain: "postel.test"}, Password: "pass word "})
	r.account(t, local.NewAccount{Address: mail.Address{Local: "catch", Domain: "postel.test"}, Catcher: true})
	if o.SASL == nil {
		o.SASL = &sasl.Server{}
	}
	o.SASL.Auth = r.dir
	o.Store, o.Hostname, o.Glass = r.store, "pop.test", r.glass
	if o.FailDelay == 0 {
		o.FailDelay = -1
	}
	r.pop = New(o)
	r.server = listen.New(listen.Options{
		Handler: r.pop, Refusal: r.pop.Refusal(),
		Limiter: listen.NewLimiter(listen.Limits{PerUser: 3}),
	})
	if r.ln, err = listen.Bind(t.Context(), "127.0.0.1:0", 0); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(r.ln) }()
	t.Cleanup(func() {
		r.stop(100 * time.Millisecond)
		if err := <-served; err != nil {
			t.Error(err)
		}
		_ = r.store.Close()
		_ = k.Close()
	})
	return r
}

func (r *rig) stop(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_ = r.server.Shutdown(ctx)
}

func (r *rig) account(t testing.TB, n local.NewAccount) mail.AccountID {
	t.Helper()
	p, err := r.dir.PrepareAccount(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	err = r.kv.Update(t.Context(), kv.Txn{Lock: p.Locks()}, func(tx kv.Tx) error {
		if err := r.dir.AddAccount(tx, p); err != nil {
			return err
		}
		return r.store.InitAccount(tx, p.ID())
	})
	if err != nil {
		t.Fatal(err)
	}
	return p.ID()
}

// deliver puts a message into alice's INBOX.
func (r *rig) deliver(t testing.TB, prefix, text string) store.Appended {
	t.Helper()
	in := r.store.Incoming(t.Context())
	defer in.Discard()
	if _, err := io.WriteString(in, text); err != nil {
		t.Fatal(err)
	}
	m, err := in.Seal()
	if err != nil {
		t.Fatal(err)
	}
	a, err := r.store.AppendOne(t.Context(), m, store.Delivery{Account: r.alice, Prefix: []byte(prefix)})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// samples are what alice finds.
func (r *rig) samples(t testing.TB) {
	t.Helper()
	r.deliver(t, "Return-Path: <bob@postel.test>\r\n", "Subject: one\r\nFrom: bob@postel.test\r\n\r\nHello.\r\n")
	r.deliver(t, "", "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n b.\r\nend\r\n")
	r.deliver(t, "", "Subject: no end\r\n\r\nlast line")
	r.deliver(t, "", "Subject: header only\r\n")
}

// left gives how many messages alice has.
func (r *rig) left(t testing.TB) uint32 {
	t.Helper()
	st, err := r.store.Status(t.Context(), r.alice, store.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	return st.Messages
}

func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"pop.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return listen.TLSConfig(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, ALPN()...)
}

// talker is a client.
type talker struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

// dial connects and takes the greeting.
func (r *rig) dial(t testing.TB) *talker {
	t.Helper()
	c, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	k := &talker{c, t, bufio.NewReader(c)}
	k.line()
	return k
}

func (c *talker) line() string {
	l, err := c.r.ReadString('\n')
	if err != nil {
		return "closed"
	}
	return strings.TrimSuffix(l, "\r\n")
}

// say sends a line and gives the first line of the reply.
func (c *talker) say(format string, args ...any) string {
	_, _ = fmt.Fprintf(c, format+"\r\n", args...)
	return c.line()
}

// must says what has to work.
func (c *talker) must(format string, args ...any) string {
	c.t.Helper()
	got := c.say(format, args...)
	if !strings.HasPrefix(got, "+OK") {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), got)
	}
	return got
}

func (c *talker) login() *talker {
	c.t.Helper()
	c.must("USER alice@postel.test")
	c.must("PASS postel")
	return c
}

// body reads a multi-line response as it stands on the wire and takes its dots out.
func (c *talker) body() string {
	var b strings.Builder
	for {
		l, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if l == ".\r\n" {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(l, "."))
	}
}
