package ondemand

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/test/harness"
)

// home starts a customer's own server, with an account for its domain.
func home(t *testing.T, text string) *harness.Server {
	t.Helper()
	dir := harness.Dir(t)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := harness.WriteConfig(t, strings.ReplaceAll(text, "SECRET", "file:"+secret))
	if out, code := harness.Run(t, password, harness.Binary(t), "--config", config, "account", "add", "x@customer.test", "--password-stdin"); code != 0 {
		t.Fatal(out)
	}
	return harness.ServeFile(t, config)
}

// comes waits for n messages in the customer's INBOX.
func comes(t *testing.T, s *harness.Server, n int) {
	t.Helper()
	harness.Eventually(t, func() error {
		if got := s.Inbox("x@customer.test", password); len(got) != n {
			return fmt.Errorf("%d messages, want %d\n%s", len(got), n, s.Log())
		}
		return nil
	})
}

const customerDomain = "\n[[domain]]\nname = \"customer.test\"\n"

// TestFetchByATRN: Postel fetches from Postel on a schedule, over a session that is turned round, with one mail for a
// domain that was not asked for, and goes on when the provider was away.
func TestFetchByATRN(t *testing.T) {
	t.Parallel()
	w := open(t, "--odmr", "customer.test="+bob, "--odmr", "more.test="+bob)
	for i := range 3 {
		deliver(t, w.Server, "x@customer.test", fmt.Sprint(i))
	}
	deliver(t, w.Server, "nobody@customer.test", "unknown")
	deliver(t, w.Server, "x@more.test", "more")
	s := home(t, customerDomain+fmt.Sprintf(`
[[fetch]]
host = "127.0.0.1"
port = %d
method = "atrn"
domains = ["customer.test"]
user = %q
password = "SECRET"
every = "2s"

[[fetch]]
host = "127.0.0.1"
port = %d
method = "atrn"
user = "nobody@postel.test"
password = "SECRET"
every = "2s"
`, w.Ports["odmr"], bob, w.Ports["odmr"]))
	comes(t, s, 3)
	if m := s.Inbox("x@customer.test", password)[0]; !strings.Contains(m, "\r\n. a dot\r\nthe end of 0\r\n") || !strings.Contains(m, "with ESMTPS") {
		t.Errorf("%q", m)
	}
	deliver(t, w.Server, "x@customer.test", "4")
	comes(t, s, 4)
	harness.Eventually(t, func() error {
		if items := list(t, w.Server); len(items) != 1 || items[0].Destination != "more.test" {
			return fmt.Errorf("%+v", items)
		}
		if log := s.Log(); !strings.Contains(log, "authentication failed") {
			return fmt.Errorf("the other provider's refusal is not told: %s", log)
		}
		return nil
	})
	if out, _ := s.Postel("glass", "list"); !strings.Contains(out, "odmr") || !strings.Contains(out, "fetch") {
		t.Error(out)
	}
}

// TestFetchByETRN: Postel has Postel's queue sent to it, by its schedule and by hand.
func TestFetchByETRN(t *testing.T) {
	t.Parallel()
	w := open(t, "--relay-domain", "customer.test")
	deliver(t, w.Server, "x@customer.test", "1")
	queued(t, w.Server, 1)
	provider := fmt.Sprintf("127.0.0.1:%d", w.port)
	if out, code := w.Postel("queue", "etrn", provider, "customer.test", "elsewhere.test", "--json"); code != 1 ||
		!strings.Contains(out, `{"domain":"customer.test","ok":true,"reply":"253 2.0.0 OK, 1 pending messages for node customer.test started"}`) ||
		!strings.Contains(out, `"domain":"elsewhere.test","ok":false,"reply":"459 4.7.1 `) {
		t.Errorf("exit %d: %s", code, out)
	}
	if out, code := w.Postel("queue", "etrn", "127.0.0.9:1", "customer.test"); code != 3 {
		t.Errorf("exit %d: %s", code, out)
	}
	s := home(t, fmt.Sprintf("listen.smtp = \"127.0.0.2:%d\"\n", w.port)+customerDomain+fmt.Sprintf(`
[[fetch]]
host = "127.0.0.1"
port = %d
method = "etrn"
domains = ["customer.test"]
every = "2s"
`, w.port))
	comes(t, s, 1)
	if log := s.Log(); !strings.Contains(log, "a queue run was asked for") {
		t.Error(log)
	}
}

// TestFetchIsChecked: mistakes are told with their line.
func TestFetchIsChecked(t *testing.T) {
	t.Parallel()
	for text, says := range map[string]string{
		"[[fetch]]\nmethod = \"atrn\"":                                                                          "needs host",
		"[[fetch]]\nhost = \"p.test\"":                                                                          "needs method",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"pop\"":                                                        "atrn, etrn",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"atrn\"":                                                       "user and password",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"etrn\"":                                                       "needs domains",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"atrn\"\nuser = \"a\"\npassword = \"x\"":                       "env:NAME",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"atrn\"\nuser = \"a\"\npassword = \"env:PATH\"\ntls = \"may\"": "needs tls",
		"[[domain]]\nname = \"a.test\"\nkind = \"local\"\nodmr = [\"a@b.test\"]":                                "no mailboxes",
		"[[domain]]\nname = \"a.test\"\nodmr = [\"a\"]":                                                         "not an account",
		"[[domain]]\nname = \"a.test\"\netrn = [\"a\"]":                                                         "neither a network",
		"[[domain]]\nname = \"a.test\"\netrn = 1":                                                               "list of texts",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"etrn\"\ndomains = [\"a..b\"]":                                 "not a domain",
		"[[fetch]]\nhost = \"p.test\"\nmethod = \"etrn\"\ndomains = [\"a.test\"]\nport = 70000":                 "65535",
	} {
		config := harness.WriteConfig(t, text+"\n")
		out, code := harness.Run(t, "", harness.Binary(t), "--config", config, "config", "check")
		if code != 1 || !strings.Contains(out, says) {
			t.Errorf("%s\nexit %d: %s", text, code, out)
		}
	}
}
