package relay

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"postel/test/harness"
)

// TestDovecot: a route leads by LMTP into the Unix socket of a Dovecot: each recipient has a verdict of its own (RFC 2033
// §4.2), and the socket appears only later, as after a restart.
func TestDovecot(t *testing.T) {
	t.Parallel()
	harness.Need(t, "dovecot")
	if os.Getuid() != 0 {
		t.Skip("a Dovecot of our own needs root")
	}
	dir := harness.Dir(t)
	socket := filepath.Join(dir, "lmtp")
	config := harness.WriteConfig(t, fmt.Sprintf("queue.first = \"1s\"\n[[domain]]\nname = \"example.test\"\n[[route]]\ndomain = \"box.test\"\nhost = \"unix:%s\"\nproto = \"lmtp\"\n", socket))
	if out, code := harness.Run(t, password, harness.Binary(t), "account", "add", "ann@example.test", "--password-stdin", "--config", config); code != 0 {
		t.Fatal(out)
	}
	w := &world{Server: harness.ServeFile(t, config)}
	if out, code := w.Postel("queue", "route", "good@box.test"); code != 0 || !strings.Contains(out, socket) {
		t.Error(out)
	}
	s := w.Submission("ann@example.test", password)
	s.Want("250", "MAIL FROM:<ann@example.test>")
	for _, to := range []string{"good", "nobody", "locked"} {
		s.Want("250", "RCPT TO:<%s@box.test>", to)
	}
	s.Want("354", "DATA")
	s.Want("250", "%s", "From: ann@example.test\r\nSubject: to the box\r\n\r\nx\r\n.")
	it := w.queued(t, 1, 1)[0]
	if last := fmt.Sprint(first(it)["last"]); !strings.Contains(last, "4.4.1 the socket of the route: there is no such socket") {
		t.Errorf("%v", last)
	}
	dovecotLMTP(t, dir)
	home := filepath.Join(dir, "good", "Maildir", "new")
	harness.Eventually(t, func() error {
		in, err := os.ReadDir(home)
		if err == nil && len(in) != 1 {
			err = fmt.Errorf("%d messages", len(in))
		}
		return err
	})
	harness.Eventually(t, func() error {
		in := w.Inbox("ann@example.test", password)
		if len(in) != 1 {
			return fmt.Errorf("%d reports", len(in))
		}
		if r := parse(t, in[0]); len(r.rcpts) != 1 || r.rcpts[0].Get("Final-Recipient") != "rfc822; nobody@box.test" || r.rcpts[0].Get("Status") != "5.1.1" {
			t.Errorf("%v", r.rcpts)
		}
		return nil
	})
	harness.Eventually(t, func() error {
		for _, it := range w.queued(t, 1, 1) {
			for _, r := range it["recipients"].([]any) { //nolint:forcetypeassert // as the API has it
				r := r.(map[string]any) //nolint:forcetypeassert // likewise
				if r["address"] == "locked@box.test" && r["state"] == "waiting" && strings.Contains(fmt.Sprint(r["last"]), "451 4.2.0") {
					return nil
				}
			}
		}
		return fmt.Errorf("%v", w.queued(t, 1, 1))
	})
}

// dovecotLMTP serves two mailboxes at the socket lmtp in a directory; one of them cannot be written to.
func dovecotLMTP(t *testing.T, dir string) {
	t.Helper()
	base := harness.Dir(t)
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = lmtp
ssl = no
auth_username_format = %%n
mail_location = maildir:~/Maildir
first_valid_uid = 0
first_valid_gid = 0
passdb {
  driver = passwd-file
  args = %[1]s/users
}
userdb {
  driver = passwd-file
  args = %[1]s/users
}
service lmtp {
  unix_listener %[2]s/lmtp {
    mode = 0666
  }
}
`, base, dir)
	users := fmt.Sprintf("good:{plain}x:8:8::%[1]s/good::\nlocked:{plain}x:8:8::/proc/1/locked::\n", dir)
	for name, text := range map[string]string{"dovecot.conf": conf, "users": users} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o644); err != nil { //nolint:gosec // read by its processes
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("mkdir %[1]s/good && chown 8:8 %[1]s/good", dir)).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	cmd := exec.Command("dovecot", "-F", "-c", filepath.Join(base, "dovecot.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(base, "log"))
			t.Logf("dovecot: %s", log)
		}
	})
	harness.Eventually(t, func() error {
		c, err := net.Dial("unix", filepath.Join(dir, "lmtp"))
		if err == nil {
			_ = c.Close()
		}
		return err
	})
}
