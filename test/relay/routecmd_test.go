package relay

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// TestRouteCommand: routes are added and removed while the server runs, and hold for the next message; without a server
// they are kept until there is one; those of the configuration stay.
func TestRouteCommand(t *testing.T) {
	t.Parallel()
	first, second := harness.StartSink(t, "127.0.0.1:0"), harness.StartSink(t, "127.0.0.1:0")
	port := func(s *harness.Sink) string { return s.Addr[strings.LastIndexByte(s.Addr, ':')+1:] }
	d := dnstest.Start(t, "far.test MX 0 .\n")
	config := harness.WriteConfig(t, fmt.Sprintf("dns.resolver = %q\n[[domain]]\nname = \"example.test\"\n[[route]]\ndomain = \"fixed.test\"\nhost = \"127.0.0.1\"\nport = %s\n", d.Addr, port(first)))
	postel := func(code int, args ...string) string {
		t.Helper()
		out, got := harness.Run(t, password+"\n", harness.Binary(t), append(args, "--config", config)...)
		if got != code {
			t.Fatalf("postel %v: exit %d\n%s", args, got, out)
		}
		return out
	}
	for _, a := range []string{"ann@example.test", "ben@example.test"} {
		postel(0, "account", "add", a, "--password-stdin")
	}
	postel(0, "route", "add", "Far.Test", "--host", "127.0.0.1", "--port", port(first)) // no server runs
	postel(1, "route", "add", "far.test", "--host", "127.0.0.1")
	w := &world{Server: harness.ServeFile(t, config)}
	submit := func(from, to string) {
		t.Helper()
		if r := w.Submission(from, password).Send(from, to, strings.ReplaceAll(letter(to), alice, from)); !strings.HasPrefix(r, "250 ") {
			t.Fatal(r)
		}
	}
	came := func(s *harness.Sink, from string) {
		t.Helper()
		if m := taken(t, s, 1)[0]; !strings.Contains(m.From, from) {
			t.Errorf("%+v", m)
		}
		s.Drain()
	}
	submit("ann@example.test", "x@far.test")
	came(first, "ann")
	postel(0, "route", "add", "far.test", "--sender", "BEN@example.test", "--host", "127.0.0.1", "--port", port(second), "--rate", "600", "--retry-first", "2d")
	submit("ben@example.test", "x@far.test")
	came(second, "ben")
	submit("ann@example.test", "x@far.test")
	came(first, "ann")
	list := postel(0, "route", "list")
	for _, want := range []string{"fixed.test ", "(configuration file)", "far.test from ben@example.test", "600 a minute", "retry 48h0m0s"} {
		if !strings.Contains(list, want) {
			t.Errorf("no %q in\n%s", want, list)
		}
	}
	if out, code := w.Postel("queue", "route", "x@far.test", "--from", "ben@example.test"); code != 0 || !strings.Contains(out, port(second)) {
		t.Error(out)
	}
	for from, want := range map[string]string{"": "takes no mail (null MX)", "x@news.test": "127.0.0.1:2525\n     from 127.0.0.9\n     as me\n     TLS: may, as the route says"} {
		senders := harness.WriteConfig(t, fmt.Sprintf("dns.resolver = %q\n[[route]]\nsender = \"news.test\"\nhost = \"127.0.0.1\"\nport = 2525\nsource = \"127.0.0.9\"\nuser = \"me\"\npassword = \"file:%s\"\n[[route]]\nsender = \"other.test\"\nhost = \"127.0.0.2\"\n", d.Addr, config))
		if out, _ := harness.Run(t, "", harness.Binary(t), "mx", "far.test", "--from", from, "--config", senders); !strings.Contains(out, want) {
			t.Errorf("mx from %q:\n%s", from, out)
		}
	}
	postel(0, "route", "add", "far.test", "--host", "127.0.0.1", "--port", port(second), "--replace")
	submit("ann@example.test", "y@far.test")
	came(second, "ann")
	postel(0, "route", "rm", "far.test")
	postel(0, "route", "rm", "far.test", "--sender", "ben@example.test")
	submit("ann@example.test", "z@far.test") // null MX
	harness.Eventually(t, func() error {
		if in := w.Inbox("ann@example.test", password); len(in) != 1 || !strings.Contains(in[0], "5.1.10") {
			return fmt.Errorf("%q", in)
		}
		return nil
	})
	secret := filepath.Join(filepath.Dir(config), "secret")
	if err := os.WriteFile(secret, []byte("hush-hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := postel(1, "route", "add", "fixed.test", "--host", "127.0.0.1"); !strings.Contains(out, "the configuration file has a route for that") {
		t.Error(out)
	}
	for _, c := range []struct{ flags, why string }{
		{"x.test --host a..b", "neither a name nor an address"},
		{"*", "a route by DNS has a domain or a sender"},
		{"x.test --host smart.test --user me", "a login has a user and a password"},
		{"x.test --host smart.test --user me --password hush-hush", "secrets stand elsewhere"},
		{"x.test --host smart.test --user me --password file:" + secret + " --tls may", "a password needs tls must"},
		{"x.test --host smart.test --rate 1000001", "out of range"},
		{"x.test --host smart.test --sessions 10001", "out of range"},
		{"x.test --host smart.test --user a\x01auth= --password file:" + secret, "control character"},
		{"x.test --source 192.0.2.1 --source 192.0.2.2", "one address a family"},
	} {
		if out := postel(2, append([]string{"route", "add"}, strings.Fields(c.flags)...)...); !strings.Contains(out, c.why) {
			t.Errorf("%s: %s", c.flags, out)
		}
	}
	postel(1, "route", "rm", "fixed.test")
	postel(0, "route", "add", "x.test", "--host", "smart.test", "--user", "me", "--password", "file:"+secret)
	if all := postel(0, "route", "list", "--json") + w.Log(); strings.Contains(all, "hush") || !strings.Contains(all, `"tls":"must"`) {
		t.Error(all)
	}
}
