// Package ondemand is the story of mail that waits until it is asked for: a backup MX that ETRN sets going (RFC 1985),
// a customer who takes his mail by ATRN (RFC 2645), with fetchmail as the real client of both, and Postel as provider
// and as customer.
package ondemand

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	bob      = "bob@postel.test"
	password = "tHeSecret1"
)

const zone = `customer.test MX 10 mx.customer.test
customer.test MX 20 postel.test
sub.customer.test MX 10 mx.customer.test
mx.customer.test A 127.0.0.2
postel.test A 127.0.0.1
`

// world is a provider: a dev server that relays for real; its port for delivery by MX is the one it listens at itself,
// so that the customer's server has another address of loopback.
type world struct {
	*harness.Server
	port int
}

func open(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{port: harness.FreePort(t)}
	dns := dnstest.Start(t, zone)
	w.Server = harness.Dev(t, append([]string{
		"--dns", dns.Addr, "--mx-port", fmt.Sprint(w.port), "--port", fmt.Sprintf("smtp=%d", w.port),
		"--account", alice + ":" + password, "--account", bob + ":" + password,
	}, args...)...)
	return w
}

// deliver hands in a message as a stranger does, by MX.
func deliver(t *testing.T, s *harness.Server, to, id string) {
	t.Helper()
	c := harness.SMTP(t, s.Addr("smtp"))
	if r := c.Send("sender@elsewhere.test", to, letter(id)); !strings.HasPrefix(r, "250 ") {
		t.Fatalf("%s: %s", to, r)
	}
	c.Want("221", "QUIT")
}

func letter(id string) string {
	return fmt.Sprintf("From: sender@elsewhere.test\r\nSubject: letter %s\r\nMessage-ID: <%s@letters.test>\r\n\r\n.. a dot\r\nthe end of %s\r\n", id, id, id)
}

// queued waits until the queue has n items that were tried, and gives them.
func queued(t *testing.T, s *harness.Server, n int) (items []item) {
	t.Helper()
	harness.Eventually(t, func() error {
		items = list(t, s)
		if len(items) != n {
			return fmt.Errorf("%d items in the queue, want %d: %+v", len(items), n, items)
		}
		for _, it := range items {
			if it.Recipients[0].Attempts == 0 {
				return fmt.Errorf("%+v was not tried", it)
			}
		}
		return nil
	})
	return items
}

// item is what `postel queue list --json` says of one.
type item struct {
	ID, Destination string
	Recipients      []struct {
		Address, State, Last string
		Attempts             int
	}
}

func list(t *testing.T, s *harness.Server) (items []item) {
	t.Helper()
	out, code := s.Postel("queue", "list", "--json")
	if code != 0 {
		t.Fatalf("exit %d\n%s", code, out)
	}
	for line := range strings.Lines(out) {
		var it item
		if err := json.Unmarshal([]byte(line), &it); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		items = append(items, it)
	}
	return items
}

// taken waits for n messages.
func taken(t *testing.T, s *harness.Sink, n int) []harness.Taken {
	t.Helper()
	harness.Eventually(t, func() error {
		if got := s.Taken(); len(got) != n {
			return fmt.Errorf("the customer's server took %d messages, want %d", len(got), n)
		}
		return nil
	})
	return s.Taken()
}

// fetchmail runs it once with a control file, and gives what it printed and its exit code.
func fetchmail(t *testing.T, rc string) (string, int) {
	t.Helper()
	harness.Need(t, "fetchmail")
	dir := t.TempDir()
	file := filepath.Join(dir, "fetchmailrc")
	if err := os.WriteFile(file, []byte(rc), 0o600); err != nil {
		t.Fatal(err)
	}
	return harness.Run(t, "", "env", "HOME="+dir, "FETCHMAILHOME="+dir, "LC_ALL=C",
		"fetchmail", "-v", "--nosyslog", "--pidfile", filepath.Join(dir, "pid"), "-f", file)
}
