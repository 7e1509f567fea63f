package relay

import (
	"fmt"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// TestRoutes: a real server goes where its configuration says, by SMTP with a login and by LMTP, loopback included;
// what DNS says may not lead to loopback, and nothing leads to its own listeners.
func TestRoutes(t *testing.T) {
	sink := harness.StartSink(t, "127.0.0.1:0")
	inner := harness.Dev(t)
	hub := harness.Dev(t, "--account", "ann@example.test:"+password)
	d := dnstest.Start(t, "byname.test MX 10 local.test\nlocal.test A 127.0.0.1\n")
	port := harness.FreePort(t)
	t.Setenv("HUB_PASSWORD", password)
	config := harness.WriteConfig(t, fmt.Sprintf(`listen.smtp = "127.0.0.1:%d"
dns.resolver = %q
[[domain]]
name = "example.test"
[[domain]]
name = "relayed.test"
kind = "relay"
[[route]]
domain = "relayed.test"
host = "127.0.0.1"
port = %s
[[route]]
domain = "inner.test"
host = "127.0.0.1"
port = %d
proto = "lmtp"
[[route]]
domain = "hub.test"
host = "127.0.0.1"
port = %d
user = "ann@example.test"
password = "env:HUB_PASSWORD"
[[route]]
domain = "strict.test"
host = "127.0.0.1"
port = %s
tls = "must"
[[route]]
domain = "self.test"
host = "127.0.0.1"
port = %d
`, port, d.Addr, sink.Addr[strings.LastIndexByte(sink.Addr, ':')+1:], inner.Ports["lmtp"], hub.Ports["submission"], sink.Addr[strings.LastIndexByte(sink.Addr, ':')+1:], port))
	if out, code := harness.Run(t, password, harness.Binary(t), "account", "add", "ann@example.test", "--password-stdin", "--config", config); code != 0 {
		t.Fatal(out)
	}
	w := &world{Server: harness.ServeFile(t, config)}
	// Anyone may send to a domain that is relayed, and to no other.
	c := harness.SMTP(t, w.Addr("smtp"))
	if r := c.Send("x@far.test", "whoever@relayed.test", letter("relayed")); !strings.HasPrefix(r, "250 ") {
		t.Fatal(r)
	}
	c.Want("250", "MAIL FROM:<x@far.test>")
	c.Want("550 5.7.1 ", "RCPT TO:<x@inner.test>")
	if m := taken(t, sink, 1)[0]; m.To[0] != "<whoever@relayed.test>" {
		t.Errorf("%v", m)
	}
	s := w.Submission("ann@example.test", password)
	for _, to := range []string{"x@inner.test", "x@hub.test", "x@strict.test", "x@self.test", "x@byname.test", "x@[127.0.0.1]"} {
		if r := s.Send("ann@example.test", to, strings.ReplaceAll(letter(to), alice, "ann@example.test")); !strings.HasPrefix(r, "250 ") {
			t.Fatal(to, r)
		}
	}
	for who, by := range map[*harness.Server]string{inner: "with LMTP", hub: "with ESMTPSA"} {
		harness.Eventually(t, func() error {
			if in := who.Inbox("catch@postel.test", "x"); len(in) != 1 || !strings.Contains(in[0], by) {
				return fmt.Errorf("%s: %q", by, in)
			}
			return nil
		})
	}
	var in []string
	harness.Eventually(t, func() error {
		if in = w.Inbox("ann@example.test", password); len(in) != 3 {
			return fmt.Errorf("%d reports, want 3", len(in))
		}
		return nil
	})
	for _, text := range in {
		if r := parse(t, text); len(r.rcpts) != 1 || r.rcpts[0].Get("Status") != "5.4.6" {
			t.Errorf("%v", r.rcpts)
		}
	}
	if it := w.queued(t, 1, 1)[0]; it["destination"] != "strict.test" || !strings.Contains(first(it)["last"].(string), "4.7.4") {
		t.Errorf("%v", it)
	}
}
