package mta

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/route"
	"postel/internal/vfs"
)

// ruled gives a router of rules alone.
func ruled(t *testing.T, rules ...route.Rule) *route.Router {
	t.Helper()
	r, err := route.New(route.Options{Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSenderRoutesApart: mail of two senders for one domain that goes by different hosts shares neither sessions nor
// failures: the host of one being down keeps nothing of the other's.
func TestSenderRoutesApart(t *testing.T) {
	t.Parallel()
	r := ruled(t, route.Rule{Sender: "alice@postel.test", Host: "192.0.2.1"}, route.Rule{Host: "192.0.2.2"})
	bubble(t, func(o *Options) { o.Router = r }, func(t *testing.T, f *fixture) {
		down := true
		f.world.refuse = func(host string) *mail.Result {
			if down && host == "192.0.2.1" {
				r := reply(mail.ScopeHost, 421, "down")
				r.Host = host
				return &r
			}
			return nil
		}
		for range 12 { // more than makes a destination dead
			f.mustAccept("alice@postel.test", "x@far.test")
			pass(time.Second)
		}
		start := time.Now()
		for range 3 {
			f.mustAccept("bob@postel.test", "x@far.test")
			f.mustAccept("", "x@far.test")
		}
		pass(time.Second)
		got := f.world.deliveries()
		if len(got) != 6 || time.Since(start) > 2*time.Second {
			t.Fatalf("%d were delivered: %+v", len(got), got)
		}
		for _, d := range got {
			if d.host != "192.0.2.2" || d.from == "alice@postel.test" {
				t.Errorf("%+v", d)
			}
		}
		names := map[string]bool{}
		for _, d := range f.Destinations(100) {
			names[d.Name] = true
		}
		if !names["far.test from alice@postel.test"] {
			t.Errorf("destinations: %v", names)
		}
		f.world.mu.Lock()
		down = false
		f.world.mu.Unlock()
		if _, err := f.queue.Kick(t.Context(), "far.test"); err != nil { // revives all that goes to the domain
			t.Fatal(err)
		}
		pass(time.Second)
		for _, d := range f.world.deliveries()[6:] {
			if d.host != "192.0.2.1" || d.from != "alice@postel.test" {
				t.Errorf("%+v", d)
			}
		}
		if n := len(f.world.deliveries()); n != 18 {
			t.Errorf("%d were delivered", n)
		}
	})
}

// TestSource: the connection comes from the address of the route.
func TestSource(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	came := make(chan string, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		came <- c.RemoteAddr().String()
		_ = c.Close()
	}()
	port := ln.Addr().(*net.TCPAddr).AddrPort().Port() //nolint:forcetypeassert // a TCP listener
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.Router = ruled(t,
			route.Rule{Domain: "far.test", Host: "127.0.0.1", Port: port, Source: []netip.Addr{netip.MustParseAddr("127.0.0.77")}},
			route.Rule{Domain: "nowhere.test", Host: "127.0.0.1", Port: port, Source: []netip.Addr{netip.MustParseAddr("198.51.100.7")}})
	})
	f.MTA.open = f.openSession
	f.start()
	f.mustAccept("alice@postel.test", "x@far.test")
	select {
	case at := <-came:
		if !strings.HasPrefix(at, "127.0.0.77:") {
			t.Errorf("it came from %s", at)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody came")
	}
	f.mustAccept("alice@postel.test", "x@nowhere.test")
	until(t, "the attempt", func() bool {
		for _, it := range f.items() {
			if it.Destination == "nowhere.test" && it.Recipients[0].Attempts == 1 {
				return strings.Contains(it.Recipients[0].Last.Text, "the source address of the route is not one of this machine")
			}
		}
		return false
	})
}

// TestSocketRoute: LMTP into a Unix socket, with a verdict a recipient (RFC 2033 §4.2); a socket that is not there makes
// the mail wait, and no path is told.
func TestSocketRoute(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lmtp")
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.Router = ruled(t, route.Rule{Host: "unix:" + path, Proto: route.LMTP})
	})
	f.MTA.open = f.openSession
	f.initAccounts(alice)
	f.start()
	f.mustAccept("alice@postel.test", "x@early.test")
	until(t, "the attempt", func() bool { i := f.items(); return len(i) == 1 && i[0].Recipients[0].Attempts == 1 })
	if last := f.items()[0].Recipients[0].Last.String(); last != "451 4.4.1 the socket of the route: there is no such socket" {
		t.Error(last)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go serveLMTP(ln)
	f.mustAccept("alice@postel.test", "good@far.test", "bad@far.test", "later@far.test")
	until(t, "two verdicts", func() bool {
		for _, it := range f.items() {
			if it.Destination == "far.test" && len(f.mailbox(alice, "INBOX")) == 1 {
				return it.Recipients[2].Attempts == 1
			}
		}
		return false
	})
	report := f.mailbox(alice, "INBOX")[0]
	if !strings.Contains(report, "550 5.1.1 no such user") || strings.Contains(report, "good@") || strings.Contains(report, path) {
		t.Error(report)
	}
}

// serveLMTP takes mail by LMTP: for good@, for nobody else.
func serveLMTP(ln net.Listener) {
	c, err := ln.Accept()
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	r := bufio.NewReader(c)
	fmt.Fprint(c, "220 box.test LMTP\r\n")
	var rcpts []string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.TrimSpace(line), " "); verb {
		case "LHLO":
			fmt.Fprint(c, "250-box.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case "RCPT":
			rcpts = append(rcpts, line)
			fmt.Fprint(c, "250 2.1.5 ok\r\n")
		case "DATA":
			fmt.Fprint(c, "354 go\r\n")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			for _, to := range rcpts {
				switch {
				case strings.Contains(to, "good@"):
					fmt.Fprint(c, "250 2.0.0 stored\r\n")
				case strings.Contains(to, "bad@"):
					fmt.Fprint(c, "550 5.1.1 no such user\r\n")
				default:
					fmt.Fprint(c, "452 4.2.2 full\r\n")
				}
			}
			rcpts = nil
		default:
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		}
	}
}
