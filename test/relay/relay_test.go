// Package relay is the story of mail that leaves: by MX through a fake DNS to Postfix and to servers that say what
// the test wants, what waits in the queue, and what comes back.
package relay

import (
	"encoding/json"
	"fmt"
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

const zone = `foreign.test MX 10 mx.foreign.test
mx.foreign.test A 127.0.0.5
sink.test MX 10 mx.sink.test
mx.sink.test A 127.0.0.2
plain.test A 127.0.0.2
old.test A 127.0.0.3
null.test MX 0 .
loop.test MX 10 self.test
self.test A 127.0.0.1
named.test MX 5 postel.test
named.test MX 10 mx.sink.test
order.test MX 20 mx.sink.test
order.test MX 10 dead.test
dead.test A 127.0.0.9
empty.test TXT nothing
`

// world is a dev server that relays for real; its port for delivery by MX is the one it listens at itself, so that
// foreign servers have other addresses of loopback.
type world struct {
	*harness.Server
	dns   *dnstest.Server
	port  int
	https int // of policy hosts
}

func open(t *testing.T, args ...string) *world {
	t.Helper()
	w := &world{dns: dnstest.Start(t, zone), port: harness.FreePort(t)}
	w.Server = harness.Dev(t, append([]string{
		"--deliver", "relay", "--dns", w.dns.Addr, "--mx-port", fmt.Sprint(w.port), "--port", fmt.Sprintf("smtp=%d", w.port),
		"--account", alice + ":" + password, "--account", bob + ":" + password,
	}, args...)...)
	return w
}

// sink starts a foreign server at an address of loopback.
func (w *world) sink(t *testing.T, ip string) *harness.Sink {
	t.Helper()
	return harness.StartSink(t, fmt.Sprintf("%s:%d", ip, w.port))
}

// letter is complete, so that submission adds nothing.
func letter(id string) string {
	return fmt.Sprintf("From: Alice <%s>\r\nTo: somebody@sink.test\r\nSubject: letter %s\r\nDate: Mon, 20 Jul 2026 10:00:00 +0000\r\nMessage-ID: <%s@letters.test>\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße,  \r\n.. two dots\r\n\r\n. one\r\nFrom here\r\n", alice, id, id)
}

// submit hands a letter in as alice; the path may be null. It gives the m-… of the reply.
func (w *world) submit(t *testing.T, from, id string, to ...string) string {
	t.Helper()
	c := w.Submission(alice, password)
	c.Want("250", "MAIL FROM:<%s> BODY=8BITMIME", from)
	for _, a := range to {
		c.Want("250", "RCPT TO:<%s>", a)
	}
	c.Want("354", "DATA")
	r := c.Want("250 2.0.0 m-", "%s.", strings.ReplaceAll(letter(id), "\r\n.", "\r\n.."))
	return strings.Fields(r)[2]
}

// objects reads one JSON object a line of what a command prints.
func (w *world) objects(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	out, code := w.Postel(append(args, "--json")...)
	if code != 0 {
		t.Fatalf("postel %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	var all []map[string]any
	for line := range strings.Lines(out) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// queued waits until the queue has n items, of which the first was tried as often as said.
func (w *world) queued(t *testing.T, n int, attempts float64) []map[string]any {
	t.Helper()
	var items []map[string]any
	harness.Eventually(t, func() error {
		items = w.objects(t, "queue", "list")
		if len(items) != n {
			return fmt.Errorf("%d items in the queue, want %d: %v", len(items), n, items)
		}
		if n > 0 && first(items[0])["attempts"].(float64) < attempts {
			return fmt.Errorf("%v attempts, want %v", first(items[0])["attempts"], attempts)
		}
		return nil
	})
	return items
}

// first gives the first recipient of an item.
func first(item map[string]any) map[string]any {
	return item["recipients"].([]any)[0].(map[string]any)
}

// taken waits for n messages.
func taken(t *testing.T, s *harness.Sink, n int) []harness.Taken {
	t.Helper()
	harness.Eventually(t, func() error {
		if got := s.Taken(); len(got) != n {
			return fmt.Errorf("the sink took %d messages, want %d", len(got), n)
		}
		return nil
	})
	return s.Taken()
}

// kinds gives what happened to a message, in order.
func (w *world) kinds(t *testing.T, id string) (all []string) {
	t.Helper()
	for _, e := range w.objects(t, "journey", id) {
		all = append(all, e["kind"].(string))
	}
	return all
}
