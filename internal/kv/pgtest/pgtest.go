// Package pgtest runs a private PostgreSQL server for tests: its files in a temporary directory, on a Unix socket in
// it and a free port of loopback, as an unprivileged user where the test is root (PostgreSQL refuses to run as root).
// The server ends with the process that started it, however that ends, and its files with it.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Cluster is a server that can be stopped and started again.
type Cluster struct {
	bin, dir string
	port     int
	durable  bool
	cred     *syscall.SysProcAttr
	schemas  atomic.Int64

	mu   sync.Mutex
	life io.Closer // closing it kills the server
	end  chan struct{}
}

// Start makes a server and runs it until the test ends; durable as a real one, else fast. The test is skipped where
// PostgreSQL is not installed.
func Start(t testing.TB, durable bool) *Cluster {
	t.Helper()
	c, err := newCluster(durable)
	if errors.Is(err, errNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.remove)
	return c
}

var errNone = errors.New("no PostgreSQL server (initdb) here: Debian's package postgresql has it")

// Shared gives one fast server to all tests of a process; Main ends it.
type Shared struct {
	once sync.Once
	c    *Cluster
	err  error
}

// URL gives the URL of an empty schema. The test is skipped where PostgreSQL is not installed.
func (s *Shared) URL(t testing.TB) string {
	t.Helper()
	s.once.Do(func() { s.c, s.err = newCluster(false) })
	if errors.Is(s.err, errNone) {
		t.Skip(s.err)
	}
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.c.URL(t)
}

// Main is TestMain's work: it runs the tests, ends the server, and gives the exit code.
func (s *Shared) Main(m *testing.M) int {
	code := m.Run()
	if s.c != nil {
		s.c.remove()
	}
	return code
}

// find gives the directory of the newest server's programs.
func find() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errNone
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

func newCluster(durable bool) (_ *Cluster, err error) {
	c := &Cluster{durable: durable}
	if c.bin, err = find(); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "postel-pg-"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.remove()
		}
	}()
	if err = c.unprivileged(); err != nil {
		return nil, err
	}
	init := exec.Command(filepath.Join(c.bin, "initdb"), "-D", c.data(), "-U", "postel", "-A", "trust", "-N", "-E", "UTF8",
		"--locale=C", "--no-instructions")
	init.Dir, init.SysProcAttr = c.dir, c.cred
	if out, err := init.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if c.port, err = freePort(); err != nil {
		return nil, err
	}
	return c, c.Run()
}

// unprivileged gives the directory to a user that the server may run as.
func (c *Cluster) unprivileged() error {
	c.cred = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return err
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return err
	}
	c.cred.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return os.Chown(c.dir, int(uid), int(gid))
}

func freePort() (int, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

func (c *Cluster) data() string { return filepath.Join(c.dir, "data") }

// Run starts the server and waits until it answers. Its guard, a shell, kills it as soon as this process is gone.
func (c *Cluster) Run() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	sync := "off"
	if c.durable {
		sync = "on"
	}
	args := []string{
		filepath.Join(c.bin, "postgres"), "-D", c.data(), "-k", c.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(c.port),
		"-c", "fsync=" + sync, "-c", "full_page_writes=" + sync, "-c", "max_connections=300", "-c", "shared_buffers=64MB",
		"-c", "max_wal_size=2GB", "-c", "log_min_messages=fatal",
	}
	guard := exec.Command("/bin/sh", append([]string{"-c", `"$@" & p=$!
trap '' INT TERM
cat >/dev/null
kill -QUIT $p 2>/dev/null
wait $p`, "sh"}, args...)...)
	guard.Dir, guard.SysProcAttr = c.dir, c.cred
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	guard.Stderr = log
	life, err := guard.StdinPipe()
	if err != nil {
		return err
	}
	if err := guard.Start(); err != nil {
		return err
	}
	end := make(chan struct{})
	go func() { _ = guard.Wait(); close(end) }()
	c.life, c.end = life, end
	return c.await()
}

// await waits until the server answers.
func (c *Cluster) await() error {
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		var conn *pgx.Conn
		if conn, err = pgx.Connect(ctx, c.url("")); err == nil {
			err = conn.Close(ctx)
			cancel()
			return err
		}
		cancel()
	}
	log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	return fmt.Errorf("the server does not start: %w\n%s", err, log)
}

// Stop ends the server at once, as a crash does: sessions break off, nothing is written any more.
func (c *Cluster) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.life != nil {
		_ = c.life.Close()
		<-c.end
		c.life = nil
	}
}

func (c *Cluster) remove() {
	c.Stop()
	_ = os.RemoveAll(c.dir)
}

func (c *Cluster) url(schema string) string {
	u := fmt.Sprintf("postgres://postel@127.0.0.1:%d/postgres?sslmode=disable", c.port)
	if schema != "" {
		u += "&search_path=" + schema
	}
	return u
}

// Admin is the URL of the whole database.
func (c *Cluster) Admin() string { return c.url("") }

// URL gives the URL of a new, empty schema.
func (c *Cluster) URL(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d", c.schemas.Add(1))
	c.Exec(t, "CREATE SCHEMA "+name)
	return c.url(name)
}

// Exec runs a statement as the owner of the database.
func (c *Cluster) Exec(t testing.TB, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.url(""))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, strings.TrimSpace(sql)); err != nil {
		t.Fatal(err)
	}
}
