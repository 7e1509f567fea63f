package s3test

import (
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Versity starts versitygw, a real S3 server on files, with one bucket called mail, and gives the URL of that as the
// configuration takes it; it ends with the test. The test skips where the program is missing.
func Versity(t testing.TB) string {
	t.Helper()
	program := versitygw(t)
	dir := t.TempDir()
	for _, sub := range []string{"data/mail", "sidecar"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close() // free for the program now
	c := exec.Command(program, "--port", addr, "--access", "postel", "--secret", "not/so+secret", "--quiet", "--keep-alive",
		"posix", "--sidecar", filepath.Join(dir, "sidecar"), filepath.Join(dir, "data"))
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	for range 200 {
		r, err := http.Get("http://" + addr + "/")
		if err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
			return "s3://postel:not%2Fso+secret@" + addr + "/mail"
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("versitygw does not answer: %s", said.String())
	return ""
}

// versitygw finds the program where `go install` or a package puts it.
func versitygw(t testing.TB) string {
	t.Helper()
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p
	}
	out, err := exec.Command("go", "env", "GOBIN", "GOPATH").Output()
	if err != nil {
		t.Skip("versitygw is missing, and so is go to ask where it would be")
	}
	bin, gopath, _ := strings.Cut(string(out), "\n")
	if bin == "" {
		bin = filepath.Join(filepath.SplitList(strings.TrimSpace(gopath))[0], "bin")
	}
	p := filepath.Join(bin, "versitygw")
	if _, err := os.Stat(p); err != nil {
		t.Skip("versitygw is missing: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	return p
}
