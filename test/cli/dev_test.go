package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postel/test/harness"
)

// TestDevFlags goes through the table of flags: what is wrong is said in a line, what is not built is unknown.
func TestDevFlags(t *testing.T) {
	t.Parallel()
	for line, says := range map[string]string{
		"--host 192.0.2.1":                           "--expose",
		"--host mail.test":                           "--host",
		"--domain exa_mple..test":                    "--domain",
		"--account nobody":                           "--account",
		"--account nobody:":                          "--account",
		"--account alice@postel.test":                "ADDRESS:PASSWORD",
		"--account a@elsewhere.test@x:y":             "--account",
		"--deliver sometimes":                        "catch or relay",
		"--dns resolver":                             "--dns",
		"--mx-port 70000":                            "mx-port",
		"--port smtp":                                "--port",
		"--port smtp=x":                              "--port",
		"--port smtp=70000":                          "--port",
		"--port gopher=0":                            "gopher",
		"--storage floppy":                           "embedded, memory or",
		"--storage postgres://x":                     "embedded, memory or",
		"--odmr x.test":                              "DOMAIN=ACCOUNT",
		"--odmr x..test=alice":                       "DOMAIN=ACCOUNT",
		"--odmr x.test=a..b@c":                       "not an account",
		"--odmr postel.test=alice":                   "twice",
		"--odmr x.test=nobody --port smtp=0":         "no such account",
		"--relay-domain x..test":                     "--relay-domain",
		"--relay-domain postel.test":                 "twice",
		"--relay-domain x.test --account a@x.test:b": "--account",
		"--blobs floppy":                             "--blobs",
		"extra":                                      "extra",
		"--account x@postel.test:y --host x":         "--host",
	} {
		r := run(t, 2, append([]string{"dev"}, strings.Fields(line)...)...)
		if n := strings.Count(r.err, "\n"); n < 1 || n > 3 || !strings.Contains(r.err, says) || r.out != "" {
			t.Errorf("dev %s: want %q in a line: %s%s", line, says, r.err, r.out)
		}
	}
	if strings.Contains(run(t, 2, "dev", "--account", "a@b.test:", "--json").err, "secret") {
		t.Error("a password is shown")
	}
}

// TestDevReady: ready within a second of launch. On a machine that is busy with other work the time on its
// processors counts.
func TestDevReady(t *testing.T) {
	t.Parallel()
	best := time.Hour
	for range 6 {
		s := harness.Dev(t)
		if best = min(best, s.Ready, max(cpuTime(t, s.PID()), s.Ready/4)); best < time.Second {
			return
		}
	}
	t.Errorf("the fastest of six starts took %v", best)
}

// cpuTime gives what a process has used of the processors.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Hour // not on this system: the clock decides
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var sum time.Duration
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum
}

func TestDevListeners(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t, "--port", "odmr=0", "--port", "managesieve=0", "--port", "pop2=0", "--port", "pop3=off", "--port", "lmtp=off")
	want := []string{"smtp", "submission", "submissions", "odmr", "imap", "imaps", "pop3s", "web"}
	if len(s.Ports) != len(want) {
		t.Errorf("%v", s.Ports)
	}
	for _, name := range want {
		harness.Dial(t, s.Addr(name))
	}
	for _, path := range []string{"/livez", "/readyz", "/metrics"} {
		resp, err := http.Get(s.Web + path)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != 200 || path == "/metrics" && !bytes.Contains(b, []byte("postel_connections_open{listener=\"imap\"} 1")) {
			t.Errorf("%s: %s\n%.300s", path, resp.Status, b)
		}
	}
	taken := command{args: []string{"dev", "--port", fmt.Sprintf("smtp=%d", s.Ports["smtp"])}}.run(t)
	if taken.code != 1 || !strings.Contains(taken.err, "smtp") || !strings.Contains(taken.err, "in use") || strings.Count(taken.err, "\n") != 1 {
		t.Errorf("a taken port: %+v", taken)
	}
}

// TestDevData: a temporary directory goes, a given one stays with its mail; --account sets the password and keeps it.
func TestDevData(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.Data); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", s.Data, err)
	}
	data := harness.Dir(t) + "/data"
	s = harness.Dev(t, "--data", data, "--domain", "one.test", "--domain", "two.test", "--account", "ann@one.test:first", "--account", "ben@two.test:p:q")
	send(t, s, "x@far.test", "ann@one.test", "Subject: kept\r\n\r\nx\r\n")
	send(t, s, "x@far.test", "someone@two.test", "Subject: caught\r\n\r\nx\r\n")
	if n := len(s.Inbox("ben@two.test", "p:q")); n != 0 {
		t.Errorf("%d", n)
	}
	for _, catcher := range []string{"catch@one.test", "catch@two.test"} {
		if n := len(s.Inbox(catcher, "whatever")); n != 1 {
			t.Errorf("%s has %d messages", catcher, n)
		}
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if out := run(t, 0, "inbox", "list", "--data", data).out; !strings.Contains(out, "caught") {
		t.Errorf("without a server: %q", out)
	}
	s = harness.Dev(t, "--data", data, "--domain", "one.test", "--account", "ann@one.test:second", "--storage", "embedded")
	if in := s.Inbox("ann@one.test", "second"); len(in) != 1 || !strings.Contains(in[0], "Subject: kept") {
		t.Errorf("%q", in)
	}
	if r := harness.Dial(t, s.Addr("imap")); !strings.HasPrefix(r.Line(), "* OK") || !strings.HasPrefix(r.Command("LOGIN ann@one.test first"), "NO ") {
		t.Error("the old password is taken")
	}
	s.Kill()
	s = harness.Dev(t, "--data", data, "--domain", "one.test", "--account", "ann@one.test:third")
	if in := s.Inbox("ann@one.test", "third"); len(in) != 1 {
		t.Errorf("after kill -9: %q", in)
	}
}

func TestDevMemory(t *testing.T) {
	t.Parallel()
	data := harness.Dir(t) + "/data"
	s := harness.Dev(t, "--storage", "memory", "--data", data)
	send(t, s, "x@far.test", alice, "Subject: fleeting\r\n\r\n"+strings.Repeat("0123456789\r\n", 50_000))
	if in := s.Inbox(alice, password); len(in) != 1 {
		t.Errorf("%d messages", len(in))
	}
	if err := filepath.WalkDir(data, func(p string, d os.DirEntry, err error) error {
		if info, ierr := d.Info(); ierr == nil && info.Mode().IsRegular() && info.Size() > 100_000 {
			t.Errorf("%s has %d octets on disk", p, info.Size())
		}
		return err
	}); err != nil {
		t.Error(err)
	}
	if got := objects(t, command{args: []string{"account", "list", "--json", "--data", data}}.want(t, 0).out); len(got) < 2 {
		t.Errorf("%v", got)
	}
}

// TestDevFound: commands find a running dev by its link, say so, and lose it with the server.
func TestDevFound(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	found := []string{"XDG_RUNTIME_DIR=" + s.Runtime}
	link := filepath.Join(s.Runtime, "postel", "dev.sock")
	if to, err := os.Readlink(link); err != nil || to != s.Data+"/control.sock" {
		t.Errorf("%s -> %s, %v", link, to, err)
	}
	if st, err := os.Stat(filepath.Dir(link)); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	r := command{env: found, args: []string{"account", "list"}}.want(t, 0)
	if !strings.Contains(r.out, alice) || !strings.Contains(r.err, "postel dev") {
		t.Errorf("%+v", r)
	}
	for _, quiet := range []string{"-q", "--json"} {
		if r := (command{env: found, args: []string{"account", "list", quiet}}).want(t, 0); r.err != "" || !strings.Contains(r.out, alice) {
			t.Errorf("%+v", r)
		}
	}
	r = command{env: found, args: []string{"send", "--to", bob}}.want(t, 0)
	if !strings.Contains(r.out, " -> RCPT TO:<"+bob+">") && !strings.Contains(r.out, " ~> RCPT TO:<"+bob+">") {
		t.Errorf("%s", r.out)
	}
	if in := s.Inbox(bob, password); len(in) != 1 {
		t.Errorf("%q", in)
	}
	second := harness.Dev(t) // has a directory of its own here
	if err := second.Stop(); err != nil {
		t.Error(err)
	}
	command{env: found, args: []string{"account", "list"}}.want(t, 0)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("the link is left: %v", err)
	}
	command{env: found, args: []string{"account", "list"}}.want(t, 3)
}

// TestDevForPeople: what a person sees, and Ctrl-C. Without XDG_RUNTIME_DIR the link stands in the temporary directory.
func TestDevForPeople(t *testing.T) {
	t.Parallel()
	tmp := harness.Dir(t)
	args := []string{"dev"}
	for _, p := range []string{"smtp", "submission", "submissions", "lmtp", "odmr", "imap", "imaps", "pop3", "pop3s", "web"} {
		args = append(args, "--port", p+"=0")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, harness.Binary(t), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "XDG_RUNTIME_DIR=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(out)
	var text string
	for !strings.Contains(text, "data: ") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		text += line
	}
	for _, want := range []string{"Ctrl-C", "smtp ", "imaps ", "web ", alice, "password postel", "catch@postel.test"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	found := []string{"TMPDIR=" + tmp, "XDG_RUNTIME_DIR="}
	command{env: found, args: []string{"account", "list"}}.want(t, 0)
	if st, err := os.Stat(fmt.Sprintf("%s/postel-%d", tmp, os.Getuid())); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v", err)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	if left, _ := filepath.Glob(tmp + "/postel-dev-*"); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

// TestDevJSON: the ready line.
func TestDevJSON(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	args := []string{"dev", "--json", "--account", "a@x.test:one"}
	for _, p := range []string{"smtp", "submission", "submissions", "lmtp", "odmr", "imap", "imaps", "pop3", "pop3s"} {
		args = append(args, "--port", p+"=0")
	}
	cmd := exec.CommandContext(ctx, harness.Binary(t), append(args, "--port", "web=off", "--host", "127.0.0.3")...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatal(err)
	}
	if v["ready"] != true || v["host"] != "127.0.0.3" || fmt.Sprint(v["accounts"]) != "[a@x.test]" || v["web"] != nil || len(v["ports"].(map[string]any)) != 9 {
		t.Errorf("%s", line)
	}
	if _, err := os.Stat(v["data"].(string) + "/ca.pem"); err != nil {
		t.Error(err)
	}
	harness.SMTP(t, fmt.Sprintf("127.0.0.3:%v", v["ports"].(map[string]any)["smtp"]))
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestDevTakesAll: in catch mode the smtp listener takes any address, with or without a login, whatever it is.
func TestDevTakesAll(t *testing.T) {
	t.Parallel()
	data := harness.Dir(t) + "/data"
	s := harness.Dev(t, "--data", data)
	for i, auth := range []string{"", "AUTH PLAIN " + harness.Plain("who", "ever"), "AUTH PLAIN " + harness.Plain(alice, "wrong")} {
		c := harness.SMTP(t, s.Addr("smtp"))
		if auth != "" {
			c.Want("235 2.7.0", "%s", auth)
		}
		for _, to := range []string{"x@anywhere.test", "nobody@postel.test", "x@[192.0.2.1]", alice} {
			if r := c.Send("y@elsewhere.test", to, fmt.Sprintf("Subject: %d\r\n\r\nx\r\n", i)); !strings.HasPrefix(r, "250 2.0.0 m-") {
				t.Errorf("%s to %s: %s", auth, to, r)
			}
		}
	}
	if n := len(s.Inbox("catch@postel.test", "any")); n != 9 {
		t.Errorf("%d caught, want 9", n)
	}
	if n := len(s.Inbox(alice, password)); n != 3 {
		t.Errorf("alice has %d, want 3", n)
	}
	c := harness.SMTP(t, s.Addr("submission"))
	c.Want("530 ", "MAIL FROM:<%s>", alice)
	c.Want("535 5.7.8 ", "AUTH PLAIN %s", harness.Plain(alice, "wrong"))
	c.Want("235 ", "AUTH PLAIN %s", harness.Plain(alice, password)) // in clear, on loopback
	if r := (command{args: []string{"dev", "--data", data, "--port", "smtp=0"}}).want(t, 1); strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, data) {
		t.Errorf("a second on the same data: %+v", r)
	}
}
