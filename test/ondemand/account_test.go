package ondemand

import (
	"strings"
	"testing"

	"postel/test/harness"
)

// TestFlushByAccount: in serve a domain's ETRN may be an account's, which logs in at the smtp listener under TLS; there
// is AUTH only because of that, and it lets nobody relay. `postel domain add` says the same as the file.
func TestFlushByAccount(t *testing.T) {
	t.Parallel()
	config := harness.WriteConfig(t, `
[[domain]]
name = "postel.test"

[[domain]]
name = "customer.test"
kind = "relay"
etrn = ["192.0.2.0/24", "bob@postel.test"]
`)
	s := harness.ServeFile(t, config)
	if _, code := harness.Run(t, password, harness.Binary(t), "--config", config, "account", "add", bob, "--password-stdin"); code != 0 {
		t.Fatal(code)
	}
	c := harness.SMTP(t, s.Addr("smtp"))
	if r := c.Say("EHLO c.test"); strings.Contains(r, "AUTH") || !strings.Contains(r, "ETRN") {
		t.Error(r)
	}
	c.Want("459 ", "ETRN customer.test")
	c.Want("220", "STARTTLS")
	if err := c.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	c.Want("250", "EHLO c.test")
	c.Want("459 ", "ETRN customer.test")
	c.Want("235", "AUTH PLAIN %s", harness.Plain(bob, password))
	c.Want("251 ", "ETRN customer.test")
	c.Want("251 ", "ETRN @customer.test")
	c.Want("459 ", "ETRN postel.test")
	c.Want("250", "MAIL FROM:<%s>", bob)
	c.Want("550 5.7.1 ", "RCPT TO:<x@elsewhere.test>")
	if out, code := s.Postel("domain", "add", "more.test", "--kind", "relay", "--etrn", "127.0.0.0/8,alice@postel.test"); code != 0 {
		t.Error(code, out)
	}
	if out, code := s.Postel("domain", "list", "--json"); code != 0 || !strings.Contains(out, `"etrn":["127.0.0.0/8","alice@postel.test"]`) {
		t.Error(code, out)
	}
	d := harness.SMTP(t, s.Addr("smtp"))
	d.Want("251 ", "ETRN more.test")
	if out, code := s.Postel("domain", "add", "bad.test", "--kind", "relay", "--etrn", "nobody"); code == 0 {
		t.Error(out)
	}
}
