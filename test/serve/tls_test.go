package serve

import (
	"crypto/tls"
	"strings"
	"testing"

	"postel/test/harness"
)

// starts is how TLS begins in clear, by listener.
func starts() map[string]string {
	return map[string]string{"smtp": "STARTTLS", "submission": "STARTTLS", "imap": "t STARTTLS", "pop3": "STLS"}
}

// clear connects to a listener and greets.
func clear(t *testing.T, s *harness.Server, name string) *harness.Conn {
	t.Helper()
	c := harness.Dial(t, s.Addr(name))
	c.Line()
	if name == "smtp" || name == "submission" {
		c.Want("250", "EHLO x.test")
	}
	return c
}

// TestTLSVersions: TLS 1.2 and 1.3, and a client that offers ALPN must offer our protocol's name.
func TestTLSVersions(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	alpn := map[string]string{"imaps": "imap", "imap": "imap", "pop3s": "pop3", "pop3": "pop3"}
	for _, name := range []string{"smtp", "submission", "imap", "pop3", "submissions", "imaps", "pop3s"} {
		for what, one := range map[string]struct {
			change func(*tls.Config)
			ok     bool
		}{
			"1.3":   {func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, true},
			"1.2":   {func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, true},
			"1.1":   {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }, false},
			"1.0":   {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, false},
			"web":   {func(c *tls.Config) { c.NextProtos = []string{"h2", "http/1.1"} }, false},
			"right": {func(c *tls.Config) { c.NextProtos = []string{"h2", alpn[name]} }, alpn[name] != ""},
		} {
			cfg := s.TLS()
			one.change(cfg)
			var c *harness.Conn
			if start, ok := starts()[name]; ok {
				c = clear(t, s, name)
				c.Put(start + "\r\n")
				c.Line()
			} else {
				c = harness.Dial(t, s.Addr(name))
			}
			err := c.Upgrade(cfg)
			if what == "right" && alpn[name] == "" {
				_ = c.Close()
				continue
			}
			if (err == nil) != one.ok {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if what == "web" && err != nil && !strings.Contains(err.Error(), "no application protocol") {
				t.Errorf("%s: the alert is %v", name, err)
			}
			_ = c.Close()
		}
	}
}

// TestNothingBehindSTARTTLS: what was sent in clear behind STARTTLS is never a command.
func TestNothingBehindSTARTTLS(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	behind := map[string]string{"smtp": "MAIL FROM:<evil@far.test>\r\nNOOP\r\n", "submission": "NOOP\r\n", "imap": "x NOOP\r\n", "pop3": "CAPA\r\n"}
	for name, start := range starts() {
		c := clear(t, s, name)
		c.Put(start + "\r\n" + behind[name])
		l := c.Line()
		if strings.HasPrefix(l, "220") || strings.HasPrefix(l, "t OK") || strings.HasPrefix(l, "+OK") {
			if err := c.Upgrade(s.TLS()); err != nil {
				t.Logf("%s: taken, then %v", name, err)
				continue
			}
			c.Put(map[string]string{"smtp": "VRFY x\r\n", "submission": "VRFY x\r\n", "imap": "y CAPABILITY\r\n", "pop3": "LANG\r\n"}[name])
			l = c.Line()
			if strings.HasPrefix(l, "250") || strings.HasPrefix(l, "x ") || strings.HasPrefix(l, "+OK") {
				t.Errorf("%s: the injected command was run: %s", name, l)
			}
			continue
		}
		if !strings.HasPrefix(l, "503 5.5.1 ") && !strings.HasPrefix(l, "t BAD ") && !strings.HasPrefix(l, "-ERR ") && !strings.HasPrefix(l, "* BYE ") {
			t.Errorf("%s: %s", name, l)
		}
	}
}

// TestNoPasswordInClear: passwords are not taken before TLS, and not offered.
func TestNoPasswordInClear(t *testing.T) {
	t.Parallel()
	s := open(t, "")
	i := harness.Dial(t, s.Addr("imap"))
	if l := i.Line(); !strings.Contains(l, "LOGINDISABLED") || strings.Contains(l, "AUTH=") {
		t.Errorf("%s", l)
	}
	if r := i.Command("LOGIN %s \"%s\"", ann, password); !strings.HasPrefix(r, "NO [PRIVACYREQUIRED]") {
		t.Errorf("%s", r)
	}
	if r := i.Command("AUTHENTICATE PLAIN %s", harness.Plain(ann, password)); !strings.HasPrefix(r, "NO [PRIVACYREQUIRED]") {
		t.Errorf("%s", r)
	}
	p := harness.Dial(t, s.Addr("pop3"))
	if l := p.Line(); strings.Contains(l, "<") {
		t.Errorf("APOP is offered: %s", l)
	}
	if r := p.Say("USER %s", ann); !strings.HasPrefix(r, "-ERR ") {
		t.Errorf("%s", r)
	}
	for _, out := range []string{s.Log(), want(t, 0, s.Config, "", "glass", "list", "--json")} {
		if strings.Contains(out, password) {
			t.Error("the password is in the log")
		}
	}
}
