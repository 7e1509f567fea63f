// Package transfer is the story of mail that comes from other systems and goes to them: maildir, mbox and single
// files, by the real commands, and a real Dovecot in between.
package transfer

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const alice, bob = "alice@postel.test", "bob@postel.test"

// maildir makes a maildir of the real and broken mails, n times each, with flags and a folder.
func maildir(t *testing.T, dir string, n int) (messages int) {
	t.Helper()
	files, err := filepath.Glob("../../internal/message/testdata/mails/*.eml")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	for _, sub := range []string{"cur", "new", "tmp", ".Sent.2024/cur", ".Ent&APw-rfe/cur"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for round := range n {
		for i, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			name := []string{"cur/%d.M%d.h:2,S", "new/%d.M%d.h", ".Sent.2024/cur/%d.M%d.h:2,RFa", ".Ent&APw-rfe/cur/%d.M%d.h:2,"}[i%4]
			name = filepath.Join(dir, fmt.Sprintf(name, 1700000000+messages, round))
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
			date := time.Unix(1600000000+int64(messages), 0)
			if err := os.Chtimes(name, date, date); err != nil {
				t.Fatal(err)
			}
			messages++
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".Sent.2024", "dovecot-keywords"), []byte("0 $Work\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return messages
}

// counts adds up what an import printed with --json.
func counts(t *testing.T, out string) (found, imported, present, refused int) {
	t.Helper()
	for _, l := range strings.Split(strings.TrimSpace(out), "\n") {
		var c struct{ Found, Imported, Present, Refused int }
		if err := json.Unmarshal([]byte(l), &c); err != nil {
			continue // a refusal has text there
		}
		found, imported, present, refused = found+c.Found, imported+c.Imported, present+c.Present, refused+c.Refused
	}
	return
}

// digests exports an account as single files and gives what is in them, by mailbox.
func digests(t *testing.T, s *harness.Server, account string) []string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "eml")
	if out, code := s.Postel("export", "eml", dir, "--account", account); code != 0 {
		t.Fatal(code, out)
	}
	var all []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, filepath.Dir(name))
		_, flags, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".eml"), ",")
		all = append(all, fmt.Sprintf("%s %s %d %x", rel, flags, info.ModTime().Unix(), sha256.Sum256(b)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(all)
	return all
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d messages, not %d", what, len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %s, not %s", what, got[i], want[i])
		}
	}
}

// TestThereAndBack: a maildir comes in, goes out as each kind, comes in again, and is the same octet for octet, with its
// flags, dates and mailboxes; so it is when a Dovecot serves the maildir that went out, and it is fetched by IMAP.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t, "--account", alice+":postel", "--account", bob+":postel", "--account", "carol@postel.test:postel",
		"--account", "dave@postel.test:postel", "--account", "eve@postel.test:postel")
	src := filepath.Join(t.TempDir(), "Maildir")
	n := maildir(t, src, 1)
	out, code := s.Postel("import", "maildir", src, "--account", alice, "--json")
	if found, imported, _, refused := counts(t, out); code != 0 || found != n || imported != n || refused != 0 {
		t.Fatal(code, out)
	}
	want := digests(t, s, alice)
	if len(want) != n {
		t.Fatalf("%d messages, not %d", len(want), n)
	}
	base := t.TempDir()
	for kind, account := range map[string]string{"maildir": bob, "eml": "carol@postel.test", "mbox": "dave@postel.test"} {
		dir := filepath.Join(base, kind)
		if out, code := s.Postel("export", kind, dir, "--account", alice); code != 0 {
			t.Fatal(kind, code, out)
		}
		if out, code := s.Postel("export", kind, dir, "--account", alice); code == 0 || !strings.Contains(out, "not empty") {
			t.Errorf("%s: written over: %d %s", kind, code, out)
		}
		if out, code := s.Postel("import", kind, dir, "--account", account); code != 0 {
			t.Fatal(kind, code, out)
		}
		if kind != "mbox" { // which gives a last line its end
			same(t, kind, digests(t, s, account), want)
		} else if got := digests(t, s, account); len(got) != n {
			t.Errorf("mbox: %d messages, not %d", len(got), n)
		}
	}
	addr := dovecot(t, filepath.Join(base, "maildir"))
	cmd := []string{"import", "imap", "imap://someone@" + addr, "--account", "eve@postel.test", "--password-stdin", "--data", s.Data}
	for i := range 2 {
		out, code := harness.Run(t, "pass\n", harness.Binary(t), append(cmd, "--json")...)
		found, imported, present, refused := counts(t, out)
		if code != 0 || found != n || refused != 0 || imported != n*(1-i) || present != n*i {
			t.Fatal(code, out)
		}
	}
	got := digests(t, s, "eve@postel.test")
	if len(got) != n {
		t.Errorf("from Dovecot: %d messages, not %d", len(got), n)
	}
	missing := 0
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			missing++
		}
	}
	if missing > 12 { // Dovecot makes CRLF of the bare LF and CR of broken mails
		t.Errorf("from Dovecot: %d of %d differ", missing, n)
	}
	if out, code := harness.Run(t, "wrong\n", harness.Binary(t), append(cmd[:5:5], "--password-stdin", "--data", s.Data)...); code != 1 || !strings.Contains(out, "login") {
		t.Error(code, out)
	}
}

// dovecot serves a maildir for any user with the password "pass".
func dovecot(t *testing.T, dir string) string {
	t.Helper()
	harness.Need(t, "dovecot", "doveadm")
	if os.Getuid() != 0 {
		t.Skip("a Dovecot of our own needs root")
	}
	base, err := os.MkdirTemp("", "dc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	home := filepath.Join(base, "mail")
	if out, err := exec.Command("cp", "-rp", dir, home).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	port := harness.FreePort(t)
	conf := fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = %[1]s/log
protocols = imap
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
first_valid_uid = 0
first_valid_gid = 0
mail_location = maildir:%[2]s
passdb {
  driver = static
  args = password=pass
}
userdb {
  driver = static
  args = uid=mail gid=mail home=%[2]s
}
service imap-login {
  inet_listener imap {
    port = %[3]d
  }
  inet_listener imaps {
    port = 0
  }
}
`, base, home, port)
	file := filepath.Join(base, "dovecot.conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil { //nolint:gosec // read by its processes
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("chmod 755 %s && chown -R mail:mail %s", base, home)).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	cmd := exec.Command("dovecot", "-F", "-c", file)
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
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	harness.Eventually(t, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			_ = c.Close()
		}
		return err
	})
	return addr
}

// TestCutOffAndGoOn kills the import, and then the server, in the middle; what is run again in the end has each message
// once.
func TestCutOffAndGoOn(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	src := filepath.Join(t.TempDir(), "Maildir")
	n := maildir(t, src, 40)
	s := harness.Dev(t, "--data", data)
	for i := range 4 {
		cmd := exec.Command(harness.Binary(t), "import", "maildir", src, "--account", alice, "--data", data)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(60+40*i) * time.Millisecond)
		if i%2 == 1 {
			s.Kill()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if i%2 == 1 {
			s = harness.Dev(t, "--data", data)
		}
	}
	out, code := s.Postel("import", "maildir", src, "--account", alice, "--json")
	found, imported, present, refused := counts(t, out)
	t.Logf("%d were there, %d came now", present, imported)
	if code != 0 || found != n || imported+present != n || refused != 0 || present == 0 {
		t.Fatal(code, out)
	}
	if got := digests(t, s, alice); len(got) != n {
		t.Errorf("%d messages, not %d", len(got), n)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	out, code = s.Postel("import", "maildir", src, "--account", alice, "--json") // and with no server
	if _, imported, present, _ := counts(t, out); code != 0 || imported != 0 || present != n {
		t.Error(code, out)
	}
}

// TestRefusals: archives that lead elsewhere, sources that are none, accounts that do not exist, a full account.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	dir := t.TempDir()
	if out, err := exec.Command("sh", "-c", fmt.Sprintf("cd %s && mkdir -p M/cur && ln -s /etc/passwd M/cur/1.x && tar cf x.tar M", dir)).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	for _, c := range []struct {
		args, want string
		code       int
	}{
		{"maildir " + dir + "/x.tar --account " + alice, `entry "M/cur/1.x" is a link`, 1},
		{"maildir " + dir + "/nothing --account " + alice, "no such file", 1},
		{"maildir " + dir + "/x.tar", "--account", 2},
		{"maildir " + dir + "/M --account nobody@postel.test", "there is no user", 1},
		{"mbox " + dir + "/x.tar --account nobody@else.test", "there is no user", 1},
		{"imap http://x --account " + alice, "imap://user@host", 2},
		{"imap imap://u@127.0.0.1:1 --account " + alice, "refused", 1},
		{"frob x", "unknown command", 2},
	} {
		out, code := s.Postel(append([]string{"import"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("import %s: %d %s", c.args, code, out)
		}
	}
	if out, code := harness.Run(t, "pw", harness.Binary(t), "account", "add", "small@postel.test", "--password-stdin", "--quota", "20000", "--data", s.Data); code != 0 {
		t.Fatal(out)
	}
	src := filepath.Join(t.TempDir(), "Maildir")
	maildir(t, src, 1)
	if out, code := s.Postel("import", "maildir", src, "--account", "small@postel.test"); code != 1 || !strings.Contains(out, "run it again") {
		t.Error(code, out)
	}
}
