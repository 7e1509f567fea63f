// Package proxy tells of mail that comes by a load balancer or a filter, which say whose it is.
package proxy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const proxyLine = "PROXY TCP4 203.0.113.9 192.0.2.1 4000 25\r\n"

// received gives the Received field of the newest message of alice.
func received(t *testing.T, s *harness.Server) string {
	t.Helper()
	mails := s.Inbox("alice@postel.test", "postel")
	if len(mails) == 0 {
		t.Fatal("no mail")
	}
	_, field, _ := strings.Cut(mails[len(mails)-1], "Received: ")
	field, _, _ = strings.Cut(field, "\r\n\tby ")
	return field
}

// TestDev plays other clients: by a PROXY header, by XCLIENT, and by neither.
func TestDev(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t, "--xclient")
	const text = "Subject: x\r\n\r\nText.\r\n"

	c := harness.Dial(t, s.Addr("smtp"))
	c.Put(proxyLine)
	c.Reply()
	c.Want("250", "EHLO client.example.org")
	c.Send("a@example.org", "alice@postel.test", text)
	if got := received(t, s); got != "from client.example.org ([203.0.113.9])" {
		t.Errorf("by PROXY: %s", got)
	}

	c = harness.SMTP(t, s.Addr("smtp"))
	c.Want("220", "XCLIENT NAME=spike.example.org ADDR=IPV6:2001:db8::5 PROTO=ESMTP")
	c.Want("250", "EHLO spike")
	c.Send("a@example.org", "alice@postel.test", text)
	if got := received(t, s); got != "from spike (spike.example.org [IPv6:2001:db8::5])" {
		t.Errorf("by XCLIENT: %s", got)
	}

	c = harness.SMTP(t, s.Addr("smtp"))
	c.Send("a@example.org", "alice@postel.test", text)
	if got := received(t, s); !strings.Contains(got, "([127.0.0.1])") {
		t.Errorf("by neither: %s", got)
	}

	c = harness.Dial(t, s.Addr("imap"))
	c.Put(proxyLine)
	if got := c.Line(); !strings.HasPrefix(got, "* OK") {
		t.Errorf("IMAP: %s", got)
	}
	c.Put("a LOGIN alice@postel.test postel\r\n")
	if got := c.Line(); !strings.HasPrefix(got, "a OK") {
		t.Errorf("IMAP: %s", got)
	}
}

// TestServe believes only whom the configuration names.
func TestServe(t *testing.T) {
	t.Parallel()
	c := harness.SMTP(t, harness.Serve(t, "").Addr("smtp"))
	c.Want("500", "XCLIENT ADDR=192.0.2.1")

	s := harness.Serve(t, "[proxy]\ntrusted = [\"127.0.0.0/8\"]\n[smtp]\nxclient = [\"203.0.113.0/24\"]\n")
	for client, want := range map[string]string{"203.0.113.9": "220", "198.51.100.1": "550"} {
		c = harness.Dial(t, s.Addr("smtp"))
		c.Put(fmt.Sprintf("PROXY TCP4 %s 192.0.2.1 4000 25\r\n", client))
		c.Reply()
		c.Want("250", "EHLO filter")
		c.Want(want, "XCLIENT ADDR=192.0.2.77")
	}
	c = harness.Dial(t, s.Addr("smtp"))
	c.Put("EHLO no.header.example.org\r\n")
	if got := c.Line(); got != harness.EOF {
		t.Errorf("without a header: %q", got)
	}
}

// TestName: the name that DNS has for a client, and that leads back to it, stands in Received; glass has the verdicts.
func TestName(t *testing.T) {
	t.Parallel()
	d := dnstest.Start(t, `
9.113.0.203.in-addr.arpa PTR client.far.test
8.113.0.203.in-addr.arpa PTR client.far.test
client.far.test A 203.0.113.9
`)
	s := harness.Dev(t, "--xclient", "--dns", d.Addr)
	for client, want := range map[string]string{
		"203.0.113.9": "from client.far.test (client.far.test [203.0.113.9])", "203.0.113.8": "from client.far.test ([203.0.113.8])",
		"203.0.113.7": "from client.far.test ([203.0.113.7])",
	} {
		c := harness.Dial(t, s.Addr("smtp"))
		c.Put(strings.Replace(proxyLine, "203.0.113.9", client, 1))
		c.Reply()
		c.Want("250", "EHLO client.far.test")
		c.Send("a@example.org", "alice@postel.test", "Subject: x\r\n\r\nText.\r\n")
		if got := received(t, s); got != want {
			t.Errorf("%s: %s", client, got)
		}
	}
	list, _ := s.Postel("glass", "list")
	out := ""
	for _, id := range regexp.MustCompile(`s-[0-9a-v]{16}`).FindAllString(list, -1) {
		session, _ := s.Postel("glass", "show", id)
		out += session
	}
	for _, want := range []string{"iprev=pass, helo=pass", "unknown, iprev=fail, helo=fail", "unknown, iprev=none, helo=fail"} {
		if !strings.Contains(out, "DNS: client ") || !strings.Contains(out, want) {
			t.Errorf("glass does not have %s", want)
		}
	}
}
