package relay

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

const forwards = `a.test MX 10 mx.a.test
mx.a.test A 127.0.0.6
b.test MX 10 mx.b.test
mx.b.test A 127.0.0.7
author.test A 127.0.0.8
end.test A 127.0.0.8
`

// forwarder starts a server for a domain at an address of loopback, and leads an alias elsewhere.
func forwarder(t *testing.T, dns string, port int, host, name, to string) *harness.Server {
	t.Helper()
	s := harness.Dev(t, "--host", host, "--deliver", "relay", "--dns", dns, "--mx-port", fmt.Sprint(port), "--port", fmt.Sprintf("smtp=%d", port),
		"--domain", name, "--account", "user@"+name+":"+password)
	if out, code := s.Postel("alias", "add", "away@"+name, to); code != 0 {
		t.Fatal(out)
	}
	return s
}

// TestForwards: mail that two servers forward goes out under senders of theirs, which lead what comes back, by their own
// reports or later by others', to its author; nobody else can make such a sender.
func TestForwards(t *testing.T) {
	t.Parallel()
	dns, port := dnstest.Start(t, forwards).Addr, harness.FreePort(t)
	a := forwarder(t, dns, port, "127.0.0.6", "a.test", "away@b.test")
	b := forwarder(t, dns, port, "127.0.0.7", "b.test", "someone@end.test")
	sink := harness.StartSink(t, fmt.Sprintf("127.0.0.8:%d", port))
	write := func(s *harness.Server, from, to, text string) {
		t.Helper()
		c := harness.SMTP(t, s.Addr("smtp"))
		c.Want("250", "MAIL FROM:<%s>", from)
		c.Want("250", "RCPT TO:<%s>", to)
		c.Want("354", "DATA")
		c.Want("250", "Subject: letter\r\n\r\n%s\r\n.", text)
	}
	one := func() harness.Taken {
		t.Helper()
		got := taken(t, sink, 1)[0]
		sink.Drain()
		return got
	}
	write(a, "author@author.test", "away@a.test", "one")
	got := one()
	path := regexp.MustCompile(`^<(SRS1=[A-Za-z0-9_-]{6}=a\.test==[A-Za-z0-9_-]{6}=[A-Z2-7]{2}=author\.test=author@b\.test)>`).FindStringSubmatch(got.From)
	if path == nil || got.To[0] != "<someone@end.test>" {
		t.Fatalf("%+v", got)
	}
	// What the last server reports later.
	write(b, "", path[1], "it bounced later")
	if got := one(); !strings.HasPrefix(got.From, "<>") || got.To[0] != "<author@author.test>" || !strings.Contains(got.Text, "it bounced later") {
		t.Errorf("%+v", got)
	}
	// What is answered by a program goes under a sender of its own.
	write(b, "robot@end.test", path[1], "away until Monday")
	if got := one(); !strings.HasPrefix(got.From, "<SRS1=") || got.To[0] != "<author@author.test>" {
		t.Errorf("%+v", got)
	}
	// What the last server refuses, the second reports to the first, and the first to the author.
	sink.Set("RCPT <someone@end.test>", "550 5.1.1 no such mailbox")
	write(a, "author@author.test", "away@a.test", "two")
	if got := one(); !strings.HasPrefix(got.From, "<>") || got.To[0] != "<author@author.test>" || !strings.Contains(got.Text, "550 5.1.1 no such mailbox") || !strings.Contains(got.Text, "Check the address") {
		t.Errorf("%+v", got)
	}
	c := harness.SMTP(t, b.Addr("smtp"))
	c.Want("250", "MAIL FROM:<>")
	c.Want("250", "RCPT TO:<%s>", strings.ToLower(path[1])) // as some servers write it
	for _, forged := range []string{
		strings.Replace(path[1], "author.test=author", "author.test=victim", 1), "SRS0=abcdef=AA=victim.test=victim@b.test",
	} {
		c.Want("550 5.7.1", "RCPT TO:<%s>", forged)
	}
	c.Want("550 5.1.1", "RCPT TO:<%s>", strings.Replace(path[1], "SRS1", "SRS0", 1))
	c.Want("550 5.7.1", "RCPT TO:<%s>", strings.Replace(path[1], "@b.test", "@a.test", 1)) // relaying denied
}
