package harness

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Hostname is what the configurations of Serve call the server.
const Hostname = "mail.serve.test"

// Dir gives a directory with a short name (socket paths are 107 octets at most) that every user may enter; it is
// removed at the end of the test.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pt")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// WriteConfig writes a configuration of `postel serve` and gives its path: a host name, a data directory beside
// it, a certificate for localhost, and every listener on a free port of loopback; text follows, and may begin with
// further top-level keys.
func WriteConfig(t testing.TB, text string) string {
	t.Helper()
	dir := Dir(t)
	writeCert(t, dir)
	var b strings.Builder
	fmt.Fprintf(&b, "hostname = %q\ndata = %q\ntls.cert = %q\ntls.key = %q\n", Hostname, dir+"/data", dir+"/cert.pem", dir+"/key.pem")
	for _, name := range listeners() {
		if strings.Contains(text, "listen."+name+" ") {
			continue
		}
		fmt.Fprintf(&b, "listen.%s = \"127.0.0.1:0\"\n", name)
	}
	path := filepath.Join(dir, "postel.toml")
	if err := os.WriteFile(path, []byte(b.String()+text), 0o644); err != nil { //nolint:gosec // the file is for all to read
		t.Fatal(err)
	}
	return path
}

func listeners() []string {
	return []string{"smtp", "submission", "submissions", "lmtp", "odmr", "imap", "imaps", "pop3", "pop3s", "web"}
}

// writeCert makes a certificate for localhost that is its own CA.
func writeCert(t testing.TB, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: Hostname}, DNSNames: []string{"localhost", Hostname},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Serve starts `postel serve` with a configuration of WriteConfig.
func Serve(t testing.TB, text string) *Server {
	t.Helper()
	return ServeFile(t, WriteConfig(t, text))
}

// ServeFile starts `postel serve` with a file of WriteConfig; again after a stop or a kill gives a server on other
// ports with the same data.
func ServeFile(t testing.TB, config string) *Server {
	t.Helper()
	s := &Server{t: t, log: &lockedBuffer{}, done: make(chan struct{}), Host: "127.0.0.1", Config: config, Data: filepath.Join(filepath.Dir(config), "data")}
	s.cmd = exec.Command(Binary(t), "serve", "--config", config)
	s.cmd.Stderr = s.log
	launched := time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanup)
	go func() {
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	for deadline := launched.Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var err error
		if s.Ports, err = ports(s.Data); err == nil {
			break
		}
		select {
		case <-s.done:
			t.Fatalf("postel serve ended: %v\n%s", s.err, s.log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("postel serve is not ready within 30 s: %v\n%s", err, s.log)
		}
	}
	s.Ready = time.Since(launched)
	return s
}

// ports asks the control socket of a data directory which ports its server has.
func ports(data string) (map[string]int, error) {
	c := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(data, "control.sock"))
	}}}
	resp, err := c.Get("http://postel/v1/version")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	var r struct{ Ports map[string]int }
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.Ports == nil {
		return nil, errors.Join(err, errors.New("no ports"))
	}
	return r.Ports, nil
}

// TLS gives a client's configuration that trusts the certificate of Serve, or dev's CA.
func (s *Server) TLS() *tls.Config {
	s.t.Helper()
	path := filepath.Join(s.Data, "ca.pem")
	if s.Config != "" {
		path = filepath.Join(filepath.Dir(s.Config), "cert.pem")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}
