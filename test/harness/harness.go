// Package harness starts the real binary for end-to-end stories: `postel dev` or `serve` on free ports of loopback,
// with whatever data directory the story gives, and stops or kills it.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

var binary = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("POSTEL_BINARY"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "postel-test-")
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "postel")
	cmd := exec.Command("go", "build", "-o", out, "postel/cmd/postel")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building postel: %w\n%s", err, b)
	}
	return out, nil
})

// Binary gives the path of the program, built once a test process. Main removes it.
func Binary(t testing.TB) string {
	t.Helper()
	b, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Main runs a package's tests and removes the binary.
func Main(m *testing.M) {
	_ = os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin") // servers are there, and not everyone's PATH names it
	code := m.Run()
	if os.Getenv("POSTEL_BINARY") == "" {
		if b, err := binary(); err == nil {
			_ = os.RemoveAll(filepath.Dir(b))
		}
	}
	os.Exit(code)
}

// Need skips the story when a program of a real client is not installed.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// Server is a running `postel`.
type Server struct {
	t       testing.TB
	cmd     *exec.Cmd
	log     *lockedBuffer
	done    chan struct{}
	err     error
	Data    string
	Config  string // of `postel serve`
	Runtime string // its XDG_RUNTIME_DIR
	Host    string
	Ports   map[string]int
	Web     string
	Ready   time.Duration // from launch to the ready line
	silent  atomic.Bool
	args    []string
}

// Dev starts `postel dev --json` with all listeners on free ports; args come behind and win. It is stopped at the
// end of the test, and its log is shown when the test failed.
func Dev(t testing.TB, args ...string) *Server {
	t.Helper()
	return DevWith(t, nil, args...)
}

// DevWith is Dev with more in its environment, each as "NAME=value".
func DevWith(t testing.TB, env []string, args ...string) *Server {
	t.Helper()
	all := []string{"dev", "--json"}
	for _, p := range []string{"smtp", "submission", "submissions", "lmtp", "odmr", "imap", "imaps", "pop3", "pop3s", "web"} {
		all = append(all, "--port", p+"=0")
	}
	return start(t, env, append(all, args...))
}

func start(t testing.TB, env, args []string) *Server {
	t.Helper()
	s := &Server{t: t, log: &lockedBuffer{}, done: make(chan struct{}), Runtime: t.TempDir(), args: args}
	s.cmd = exec.Command(Binary(t), args...)
	s.cmd.Env = append(append(os.Environ(), "XDG_RUNTIME_DIR="+s.Runtime), env...)
	s.cmd.Stderr = s.log
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	launched := time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.cleanup)
	ready := make(chan error, 1)
	go func() {
		ready <- json.NewDecoder(out).Decode(s)
		var rest bytes.Buffer
		_, _ = rest.ReadFrom(out)
		s.err = s.cmd.Wait()
		close(s.done)
	}()
	select {
	case err = <-ready:
	case <-time.After(30 * time.Second):
		err = errors.New("not ready within 30 s")
	}
	if err != nil {
		t.Fatalf("postel %s: %v\n%s", strings.Join(args, " "), err, s.log)
	}
	s.Ready = time.Since(launched)
	return s
}

// UnmarshalJSON reads the ready line.
func (s *Server) UnmarshalJSON(b []byte) error {
	var r struct {
		Ready     bool
		Host, Web string
		Data      string
		Ports     map[string]int
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return err
	}
	if !r.Ready {
		return errors.New("not ready")
	}
	s.Host, s.Web, s.Data, s.Ports = r.Host, r.Web, r.Data, r.Ports
	return nil
}

// Addr gives "127.0.0.1:port" of a listener.
func (s *Server) Addr(name string) string {
	s.t.Helper()
	p, ok := s.Ports[name]
	if !ok {
		s.t.Fatalf("no listener %s in %v", name, s.Ports)
	}
	return fmt.Sprintf("%s:%d", s.Host, p)
}

// PID gives the process id.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Log gives what the server wrote to stderr so far.
func (s *Server) Log() string { return s.log.String() }

// Kill ends the process as a power cut would, without a word.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Stop asks for a graceful stop and waits for it; it gives the exit error.
func (s *Server) Stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
		return s.err
	case <-time.After(15 * time.Second):
		s.Kill()
		return errors.New("did not stop within 15 s")
	}
}

// Forget says that the server's log is not wanted, even when the test fails: for those that start servers by the
// hundred.
func (s *Server) Forget() { s.silent.Store(true) }

// Dump makes the server end with a trace of all that it is doing, and shows it.
func (s *Server) Dump() {
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.done
	s.t.Logf("%s", s.log)
}

// Ended waits for the process to end by itself and gives its exit code, -1 when it does not within limit.
func (s *Server) Ended(limit time.Duration) int {
	select {
	case <-s.done:
		return s.cmd.ProcessState.ExitCode()
	case <-time.After(limit):
		return -1
	}
}

func (s *Server) cleanup() {
	s.check()
	select {
	case <-s.done:
	default:
		if err := s.Stop(); err != nil {
			s.t.Errorf("stop: %v", err)
		}
	}
	if s.t.Failed() && !s.silent.Load() {
		log := s.log.String()
		s.t.Logf("server log:\n%s", log[max(0, len(log)-8000):])
	}
}

// check recounts at the end of every story what the server keeps: through the server while it runs, else on its data
// where these are its own files.
func (s *Server) check() {
	s.t.Helper()
	if s.silent.Load() || s.t.Skipped() || s.t.Failed() || s.Data == "" {
		return
	}
	select {
	case <-s.done:
		manifests, _ := filepath.Glob(filepath.Join(s.Data, "kv", "MANIFEST-*"))
		elsewhere := slices.ContainsFunc(s.args, func(a string) bool { return strings.HasPrefix(a, "--storage") || strings.HasPrefix(a, "--blobs") })
		if len(manifests) == 0 || elsewhere {
			return
		}
	default:
	}
	args := []string{"check", "--bodies", "--data", s.Data}
	if s.Config != "" {
		args = []string{"check", "--bodies", "--config", s.Config}
	}
	if out, code := Run(s.t, "", Binary(s.t), args...); code != 0 {
		s.t.Errorf("postel check ended with %d:\n%s", code, out)
	}
}

// Postel runs the program with arguments against this server's data directory and gives what it printed.
func (s *Server) Postel(args ...string) (stdout string, code int) {
	s.t.Helper()
	return Run(s.t, "", Binary(s.t), append(args, "--data", s.Data)...)
}

// Run runs a program with input and gives its output, stderr behind stdout, and its exit code; 60 s at most.
func Run(t testing.TB, input, program string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(input)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", program, err)
	}
	return out.String() + errOut.String(), cmd.ProcessState.ExitCode()
}

// Eventually waits until check gives nil, 20 s at most.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
