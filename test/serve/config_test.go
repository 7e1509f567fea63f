package serve

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/test/harness"
)

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	dir := harness.Dir(t)
	good := harness.WriteConfig(t, company)
	if out := want(t, 0, good, "", "config", "check"); !strings.Contains(out, "valid") {
		t.Errorf("%q", out)
	}
	if out := want(t, 0, good, "", "config", "check", "--json"); strings.TrimSpace(out) != `{"ok":true}` {
		t.Errorf("%q", out)
	}
	bad := write(t, dir, "bad.toml", `hostname = "mail.example.org"
dta = "/x"
admin = 5

[listen]
smtp = "nonsense"
immap = ":143"

[limits]
message = "50 parsecs"
recipients = 5

[[domain]]
nam = "example.org"

[[domain]]
name = "exa mple.org"
kind = "odd"

[[route]]
host = "relay.example.org"
password = "in clear"

[[route]]
host = "relay.example.org"
user = "me"
tls = "may"
`)
	for _, args := range [][]string{{"config", "check"}, {"config", "check", "--json"}} {
		out := want(t, 1, bad, "", args...)
		for _, line := range []string{
			":2: unknown key dta; did you mean data?", ":3: admin", ":6: listen.smtp", ":7: unknown key listen.immap; did you mean listen.imap?",
			":10: limits.message", ":11: limits.recipients", ":13: [[domain]] needs name", ":14: unknown key [[domain]] nam; did you mean name?",
			":17: [[domain]] name", ":18: [[domain]] kind", ":22: [[route]] password", ":27: [[route]] tls: a password",
		} {
			if !strings.Contains(out, bad+line) {
				t.Errorf("%v: not among the problems: %s\n%s", args, line, out)
			}
		}
		if n := strings.Count(strings.TrimSpace(out), "\n") + 1; n != 12 {
			t.Errorf("%d lines, want one a problem:\n%s", n, out)
		}
		if strings.Contains(out, "in clear") {
			t.Error("the secret is printed")
		}
	}
	for _, verb := range [][]string{{"config", "show"}, {"serve"}, {"account", "list"}} {
		if out := want(t, 2, bad, "", verb...); !strings.Contains(out, ":2: unknown key dta") {
			t.Errorf("%v: %s", verb, out)
		}
	}
	if out := want(t, 1, write(t, dir, "no.toml", "hostname = \n"), "", "config", "check"); !strings.Contains(out, "no.toml:1: ") {
		t.Errorf("%s", out)
	}
	if out := want(t, 1, dir+"/absent.toml", "", "config", "check"); !strings.Contains(out, "absent.toml: does not exist") {
		t.Errorf("%s", out)
	}
}

func TestConfigShow(t *testing.T) {
	t.Parallel()
	secret := write(t, harness.Dir(t), "secret", "tOpSeCrEt\n")
	file := harness.WriteConfig(t, "limits.message = \"1MiB\"\n"+company+fmt.Sprintf("\n[[route]]\nhost = \"127.0.0.1\"\nuser = \"u\"\npassword = \"file:%[1]s\"\n\n[[route]]\nhost = \"relay.example.org\"\nuser = \"u\"\npassword = \"file:%[1]s\"\n", secret))
	values := map[string]string{}
	for line := range strings.Lines(want(t, 0, file, "", "config", "show", "--json")) {
		var v struct{ Key, Value, Default, Doc string }
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Doc == "" {
			t.Fatalf("%q: %v", line, err)
		}
		values[v.Key] = v.Value
	}
	for key, value := range map[string]string{
		"hostname": harness.Hostname, "data": filepath.Dir(file) + "/data", "limits.message": "1MiB",
		"limits.recipients": "1000", "queue.lifetime": "5d", "queue.first": "5m", "domain.0.name": "example.test", "listen.smtp": "127.0.0.1:0",
		"route.0.password": "(set)", "route.0.tls": "may", "route.1.tls": "must",
	} {
		if values[key] != value {
			t.Errorf("%s = %q, want %q", key, values[key], value)
		}
	}
	text := want(t, 0, file, "", "config", "show")
	if strings.Contains(text, "tOpSeCrEt") || !strings.Contains(text, "limits.message") {
		t.Errorf("%s", text)
	}
}

func TestSecondServer(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	out, code := harness.Run(t, "", harness.Binary(t), "serve", "--config", s.Config)
	if code == 0 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "postel: ") || !strings.Contains(out, s.Data) {
		t.Errorf("exit %d: %q", code, out)
	}
	t.Log(out)
	if _, err := os.Stat(s.Data + "/control.sock"); err != nil {
		t.Error("the second server took the first one's socket away")
	}
	want(t, 0, s.Config, "", "account", "list")
	if st, err := os.Stat(s.Data); err != nil || st.Mode().Perm() != 0o711 {
		t.Errorf("%v %v", st.Mode(), err)
	}
	entries, _ := os.ReadDir(s.Data)
	for _, e := range entries {
		info, err := e.Info()
		mode := info.Mode().Perm()
		if err != nil || mode&0o077 != 0 && e.Name() != "submit.sock" || e.Name() == "submit.sock" && mode != 0o666 {
			t.Errorf("%s has mode %v", e.Name(), mode)
		}
	}
}
