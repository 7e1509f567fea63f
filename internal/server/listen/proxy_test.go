package listen

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"postel/internal/proto/proxy"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

const proxyLine = "PROXY TCP4 192.0.2.7 198.51.100.2 4000 25\r\n"

func TestProxyHeader(t *testing.T) {
	t.Parallel()
	_, ln := start(t, Options{Handler: echo{}, Proxies: Proxies{Always: loopback}}, "127.0.0.1:0")
	h := proxy.Header{Source: netip.MustParseAddrPort("[2001:db8::1]:9"), Destination: netip.MustParseAddrPort("[2001:db8::2]:25")}
	for in, want := range map[string]string{
		proxyLine:             "192.0.2.7:4000 to 198.51.100.2:25",
		string(h.Append(nil)): "[2001:db8::1]:9 to [2001:db8::2]:25",
	} {
		c := dial(t, ln)
		fmt.Fprint(c, in)
		c.want(c.say("remote"), want)
	}
	c := dial(t, ln) // a health check
	fmt.Fprint(c, "PROXY UNKNOWN\r\n")
	if got := c.say("remote"); !strings.HasPrefix(got, "127.0.0.1:") {
		t.Error(got)
	}
	for _, in := range []string{"EHLO client.test", "PROXY TCP4 nonsense\r\n", strings.Repeat("x", 300)} {
		c := dial(t, ln)
		c.want(c.say(in), "closed")
	}
}

// TestProxyMaybe takes a header from who sends one, also in front of TLS, and everything else as it comes.
func TestProxyMaybe(t *testing.T) {
	t.Parallel()
	_, ln := start(t, Options{Handler: echo{}, Proxies: Proxies{Maybe: loopback}}, "127.0.0.1:0")
	c := dial(t, ln)
	c.want(c.say("PROXIMITY"), "PROXIMITY")
	c = dial(t, ln)
	fmt.Fprint(c, "\r\n")
	c.want(c.say("x"), "") // an empty line first waits for what follows: it may begin version 2
	c.want(c.line(), "x")
	c = dial(t, ln)
	fmt.Fprint(c, proxyLine)
	c.want(c.say("remote"), "192.0.2.7:4000 to 198.51.100.2:25")

	_, ln = start(t, Options{Handler: echo{}, TLS: testTLS(t), Proxies: Proxies{Maybe: loopback}}, "127.0.0.1:0")
	for _, header := range []string{"", proxyLine} {
		c := dial(t, ln)
		fmt.Fprint(c, header)
		conn := tls.Client(c.Conn, &tls.Config{InsecureSkipVerify: true})
		c.Conn = conn
		c.r.Reset(conn)
		if got := c.say("remote"); strings.HasPrefix(got, "192.0.2.7:4000") != (header != "") {
			t.Errorf("%q: %s", header, got)
		}
	}
}

// TestProxyLimits counts connections as their clients', not as the balancer's.
func TestProxyLimits(t *testing.T) {
	t.Parallel()
	l := NewLimiter(Limits{PerAddress: 1})
	_, ln := start(t, Options{Handler: echo{}, Limiter: l, Refusal: "421 too many\r\n", Proxies: Proxies{Always: loopback}}, "127.0.0.1:0")
	open := func(client string) string {
		c := dial(t, ln)
		fmt.Fprint(c, strings.Replace(proxyLine, "192.0.2.7", client, 1))
		return c.say("x")
	}
	for _, tt := range []struct{ client, want string }{
		{"192.0.2.7", "x"}, {"192.0.2.8", "x"}, {"192.0.2.7", "421 too many"}, {"192.0.2.9", "x"},
	} {
		if got := open(tt.client); got != tt.want {
			t.Errorf("%s: %q", tt.client, got)
		}
	}
}
