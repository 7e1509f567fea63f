package certs_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/tlspolicy/certs"
	"postel/internal/vfs"
)

func openCA(t *testing.T, f vfs.FS, now func() time.Time) *certs.CA {
	t.Helper()
	ca, err := certs.OpenCA(certs.CAOptions{FS: f, Dir: "/data", Names: []string{"mx.postel.test", "127.0.0.5"}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func memory(t *testing.T) vfs.FS {
	t.Helper()
	f := vfs.NewMem()
	if err := vfs.MkdirAllSync(f, "/data"); err != nil {
		t.Fatal(err)
	}
	return f
}

// handshake runs a client against a server and gives both ends' errors and the client's view.
func handshake(t *testing.T, server, client *tls.Config) (tls.ConnectionState, error, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer raw.Close()
		c := tls.Server(raw, server)
		err = c.Handshake()
		if err == nil {
			_, _ = io.WriteString(c, "hello")
		}
		done <- err
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	c := tls.Client(raw, client)
	clientErr := c.Handshake()
	if clientErr == nil {
		_, clientErr = io.ReadFull(c, make([]byte, 5))
	}
	return c.ConnectionState(), <-done, clientErr
}

func TestCAIsStable(t *testing.T) {
	t.Parallel()
	f := memory(t)
	first := openCA(t, f, nil)
	again := openCA(t, f, nil)
	if !first.Certificate().Equal(again.Certificate()) {
		t.Fatal("a restart made another authority")
	}
	// What clients were given before the restart verifies what they are shown after it.
	_, s, c := handshake(t, certs.Config(again, certs.IMAP), &tls.Config{RootCAs: first.Pool(), ServerName: "mx.postel.test"})
	if s != nil || c != nil {
		t.Errorf("server %v, client %v", s, c)
	}
	// ca.pem is what a client is to be given, and holds no key.
	text, err := vfs.ReadFile(f, "/data/ca.pem", 1<<20)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(text) || !pool.Equal(first.Pool()) || strings.Contains(string(text), "PRIVATE") {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestKeyIsPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := certs.OpenCA(certs.CAOptions{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	ca := openCA(t, memory(t), nil)
	for _, name := range []string{"mx.postel.test", "MX.postel.TEST", "localhost", "127.0.0.1", "::1", "127.0.0.5", "anything.example.org", "a_b.test"} {
		st, s, c := handshake(t, certs.Config(ca, certs.SMTP), &tls.Config{RootCAs: ca.Pool(), ServerName: name})
		if s != nil || c != nil {
			t.Errorf("%s: server %v, client %v", name, s, c)
			continue
		}
		if st.Version < tls.VersionTLS12 {
			t.Errorf("version %x", st.Version)
		}
	}
	if _, _, c := handshake(t, certs.Config(ca, certs.SMTP), &tls.Config{RootCAs: ca.Pool(), ServerName: "192.0.2.1"}); c == nil {
		t.Error("an address that is not ours verifies")
	}
	if _, _, c := handshake(t, certs.Config(ca, certs.SMTP), &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}); c == nil {
		t.Error("verifies without the authority")
	}
}

func TestALPN(t *testing.T) {
	t.Parallel()
	ca := openCA(t, memory(t), nil)
	for _, c := range []struct {
		p     certs.Protocol
		offer []string
		want  string // "-" is refused
	}{
		{certs.IMAP, nil, ""},
		{certs.IMAP, []string{"imap"}, "imap"},
		{certs.IMAP, []string{"h2", "imap"}, "imap"},
		{certs.IMAP, []string{"h2", "http/1.1"}, "-"},
		{certs.IMAP, []string{"pop3"}, "-"},
		{certs.POP3, []string{"pop3"}, "pop3"},
		{certs.POP3, []string{"imap"}, "-"},
		{certs.SMTP, nil, ""},
		{certs.SMTP, []string{"smtp"}, "smtp"},
		{certs.SMTP, []string{"esmtp"}, "esmtp"},
		{certs.SMTP, []string{"http/1.1"}, "-"},
		{certs.HTTP, []string{"http/1.1"}, "http/1.1"},
		{certs.HTTP, []string{"imap"}, "-"},
	} {
		st, s, cl := handshake(t, certs.Config(ca, c.p), &tls.Config{RootCAs: ca.Pool(), ServerName: "localhost", NextProtos: c.offer})
		got := st.NegotiatedProtocol
		if s != nil && cl != nil && strings.Contains(cl.Error(), "no application protocol") {
			got = "-"
		}
		if got != c.want || c.want != "-" && (s != nil || cl != nil) {
			t.Errorf("%s offered %q: %q, want %q (%v, %v)", c.p, c.offer, got, c.want, s, cl)
		}
	}
}

func TestOldVersionsAreRefused(t *testing.T) {
	t.Parallel()
	ca := openCA(t, memory(t), nil)
	_, s, c := handshake(t, certs.Config(ca, certs.IMAP), &tls.Config{
		RootCAs: ca.Pool(), ServerName: "localhost", MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11,
	})
	if s == nil || c == nil {
		t.Error("TLS 1.1 is served")
	}
}

// TestLeaves sees leaves kept, bounded and renewed.
func TestLeaves(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ca := openCA(t, memory(t), func() time.Time { return now })
	leaf := func(name string) *x509.Certificate {
		t.Helper()
		c, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		return c.Leaf
	}
	one := leaf("x.test")
	if !one.Equal(leaf("X.test")) {
		t.Error("made twice")
	}
	now = now.Add(61 * 24 * time.Hour)
	if one.Equal(leaf("x.test")) {
		t.Error("not renewed")
	}
	for i := range 1000 {
		leaf(fmt.Sprintf("n%d.test", i))
	}
	if own := leaf(""); !leaf("n999.test").Equal(own) || leaf("n10.test").Equal(own) {
		t.Error("names beyond the bound get our own certificate, earlier ones keep theirs")
	}
	for _, odd := range []string{strings.Repeat("a.", 200) + "test", "[127.0.0.1]", "bad name", "-"} {
		if !leaf(odd).Equal(leaf("")) {
			t.Errorf("%q got a certificate", odd)
		}
	}
	if long := leaf(strings.Repeat("a", 60) + ".long.postel.test"); long.VerifyHostname("mx.postel.test") != nil {
		t.Error("the bound is gone")
	}
}

func TestConcurrentHandshakes(t *testing.T) {
	t.Parallel()
	ca := openCA(t, memory(t), nil)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := ca.GetCertificate(&tls.ClientHelloInfo{ServerName: fmt.Sprintf("n%d.test", i%5)}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestCrash stops the power at every sync of the first start: the next start succeeds, and an authority that
// the first one came to use is the same afterwards.
func TestCrash(t *testing.T) {
	t.Parallel()
	for n := int64(1); ; n++ {
		disk := vfs.NewCrashable()
		if err := vfs.MkdirAllSync(disk, "/data"); err != nil {
			t.Fatal(err)
		}
		hook, count := vfs.FailSync("", n)
		first, err := certs.OpenCA(certs.CAOptions{FS: vfs.WithFaults(disk, hook), Dir: "/data"})
		if err != nil && !mail.Is(err, mail.Unavailable) {
			t.Fatalf("sync %d: %v", n, err)
		}
		for _, keep := range []int{0, 50, 100} {
			again, errAgain := certs.OpenCA(certs.CAOptions{FS: disk.Crash(keep, uint64(n)), Dir: "/data"})
			if errAgain != nil {
				t.Fatalf("sync %d, %d %% kept: %v", n, keep, errAgain)
			}
			if err == nil && !first.Certificate().Equal(again.Certificate()) {
				t.Fatalf("sync %d, %d %% kept: another authority", n, keep)
			}
		}
		if count() < n {
			break
		}
	}
}

func TestBadCA(t *testing.T) {
	t.Parallel()
	good := memory(t)
	openCA(t, good, nil)
	cert, _ := vfs.ReadFile(good, "/data/ca.pem", 1<<20)
	other := memory(t)
	openCA(t, other, nil)
	key, _ := vfs.ReadFile(other, "/data/ca-key.pem", 1<<20)
	for name, files := range map[string]map[string][]byte{
		"certificate alone": {"ca.pem": cert},
		"key of another":    {"ca.pem": cert, "ca-key.pem": key},
		"no PEM":            {"ca.pem": cert, "ca-key.pem": []byte("x")},
		"empty key":         {"ca-key.pem": {}},
		"not a CA":          {"ca.pem": key, "ca-key.pem": key},
	} {
		f := memory(t)
		for n, data := range files {
			if err := vfs.WriteFileSync(f, "/data/"+n, data); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := certs.OpenCA(certs.CAOptions{FS: f, Dir: "/data"}); !mail.Is(err, mail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	late := func() time.Time { return time.Now().AddDate(10, 0, 0) }
	if _, err := certs.OpenCA(certs.CAOptions{FS: good, Dir: "/data", Now: late}); !mail.Is(err, mail.Invalid) {
		t.Errorf("an expired authority is used: %v", err)
	}
}

// pair gives a certificate for localhost and its key in PEM.
func pair(t *testing.T) (cert, key []byte) {
	t.Helper()
	f := memory(t)
	openCA(t, f, nil) // an authority's own pair does as well as any
	cert, err := vfs.ReadFile(f, "/data/ca.pem", 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if key, err = vfs.ReadFile(f, "/data/ca-key.pem", 1<<20); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestFilesReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	put := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name+".new", data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	cert1, key1 := pair(t)
	cert2, key2 := pair(t)
	put(certFile, cert1)
	put(keyFile, key1)
	now := time.Now()
	var reports []error
	f, err := certs.OpenFiles(certs.FilesOptions{
		Cert: certFile, Key: keyFile, Now: func() time.Time { return now },
		Report: func(err error) { reports = append(reports, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	shows := func(want []byte, step string, told int) {
		t.Helper()
		c, err := f.GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})
		if !bytes.Equal(got, want) || len(reports) != told {
			t.Errorf("%s: as wanted %t, %d reports, want %d: %v", step, bytes.Equal(got, want), len(reports), told, reports)
		}
	}
	// Files written within one tick of the clock look the same when their size is the same too; set the time.
	age := func(name string, d time.Duration) {
		t.Helper()
		if err := os.Chtimes(name, time.Time{}, now.Add(d)); err != nil {
			t.Fatal(err)
		}
	}
	shows(cert1, "at first", 0)
	put(certFile, cert2)
	age(certFile, time.Minute)
	shows(cert1, "within three seconds", 0)
	now = now.Add(4 * time.Second)
	shows(cert1, "only the certificate is new", 1)
	now = now.Add(4 * time.Second)
	shows(cert1, "said once", 1)
	put(keyFile, key2)
	age(keyFile, time.Minute)
	now = now.Add(4 * time.Second)
	shows(cert2, "both are new", 1)
	if err := os.Remove(keyFile); err != nil {
		t.Fatal(err)
	}
	now = now.Add(4 * time.Second)
	shows(cert2, "the key is gone", 2)
}

func TestBadFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := pair(t)
	_, other := pair(t)
	for name, data := range map[string][]byte{"cert": cert, "key": key, "other": other, "empty": {}} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][2]string{{"cert", "other"}, {"cert", "empty"}, {"empty", "key"}, {"cert", "none"}, {"none", "key"}, {".", "key"}} {
		_, err := certs.OpenFiles(certs.FilesOptions{Cert: filepath.Join(dir, c[0]), Key: filepath.Join(dir, c[1])})
		if !mail.Is(err, mail.Invalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, err := certs.OpenFiles(certs.FilesOptions{}); !mail.Is(err, mail.Invalid) {
		t.Errorf("%v", err)
	}
	if f, err := certs.OpenFiles(certs.FilesOptions{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}); err != nil || f.Leaf() == nil {
		t.Errorf("%v", err)
	}
}
