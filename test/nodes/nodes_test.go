// Package nodes is the story of two servers on one database: mail is read at another node than that which took it,
// the queue is divided, and one of them is killed.
package nodes

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/dns/dnstest"
	"postel/internal/kv/pgtest"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice   = "alice@postel.test"
	domains = 40
)

// site is a database, and the world outside.
type site struct {
	t    *testing.T
	url  string
	dir  string
	dns  *dnstest.Server
	port int
	sink *harness.Sink
	n    int
}

func open(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, url: pgtest.Start(t, false).URL(t), dir: harness.Dir(t), port: harness.FreePort(t)}
	var zone strings.Builder
	for i := range domains {
		fmt.Fprintf(&zone, "d%d.test A 127.0.0.2\n", i)
	}
	s.dns = dnstest.Start(t, zone.String())
	s.sink = harness.StartSink(t, fmt.Sprintf("127.0.0.2:%d", s.port))
	return s
}

// join starts one more node.
func (s *site) join() *harness.Server {
	s.t.Helper()
	s.n++
	return harness.Dev(s.t, "--storage", s.url, "--data", filepath.Join(s.dir, strconv.Itoa(s.n)),
		"--deliver", "relay", "--dns", s.dns.Addr, "--mx-port", strconv.Itoa(s.port))
}

func letter(name string) string {
	return fmt.Sprintf("From: <%s>\r\nTo: <x@d.test>\r\nSubject: %s\r\n\r\n%s\r\n", alice, name, name)
}

// uids gives the UIDs of alice's INBOX as a server tells them.
func uids(c *harness.Conn) []string {
	_, rest := c.Untagged("UID SEARCH ALL")
	for _, l := range rest {
		if all, ok := strings.CutPrefix(l, "* SEARCH"); ok {
			return strings.Fields(all)
		}
	}
	return nil
}

// TestReadElsewhere: what one node acknowledged, another shows at the next command, and to who waits in IDLE.
func TestReadElsewhere(t *testing.T) {
	t.Parallel()
	s := open(t)
	a, b := s.join(), s.join()
	reader, idler := b.IMAP(alice, "postel"), b.IMAP(alice, "postel")
	reader.Command("SELECT INBOX")
	idler.Command("SELECT INBOX")
	in := harness.SMTP(t, a.Addr("smtp"))
	for i := range 20 {
		if r := in.Send("x@far.test", alice, letter(fmt.Sprint(i))); r[0] != '2' {
			t.Fatal(r)
		}
		_, rest := reader.Untagged("NOOP")
		if want := fmt.Sprintf("* %d EXISTS", i+1); !strings.Contains(strings.Join(rest, "\n"), want) {
			t.Fatalf("%q, want %s", rest, want)
		}
	}
	idler.Command("NOOP")
	idler.Put("i IDLE\r\n")
	if l := idler.Line(); l[0] != '+' {
		t.Fatal(l)
	}
	start := time.Now()
	if r := in.Send("x@far.test", alice, letter("last")); r[0] != '2' {
		t.Fatal(r)
	}
	for l := idler.Line(); l != "* 21 EXISTS"; l = idler.Line() {
		if l == harness.EOF {
			t.Fatal("the connection ended")
		}
	}
	t.Logf("IDLE at another node was told after %v", time.Since(start))
	p := harness.Dial(t, a.Addr("pop3"))
	p.Line()
	q := harness.Dial(t, b.Addr("pop3"))
	q.Line()
	for _, c := range []*harness.Conn{p, q} {
		c.Put("USER " + alice + "\r\n")
		c.Line()
		c.Put("PASS postel\r\n")
	}
	if one, two := p.Line(), q.Line(); (one[0] == '+') == (two[0] == '+') {
		t.Errorf("two POP3 sessions have one maildrop: %q %q", one, two)
	}
}

// TestOneMailbox: both nodes put mail into one mailbox; UIDs are unique and rise for a reader at either.
func TestOneMailbox(t *testing.T) {
	t.Parallel()
	s := open(t)
	nodes := []*harness.Server{s.join(), s.join()}
	const writers, each = 4, 25
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			c := harness.SMTP(t, nodes[w%2].Addr("smtp"))
			for i := range each {
				if r := c.Send("x@far.test", alice, letter(fmt.Sprint(w, "-", i))); r[0] != '2' {
					t.Error(r)
				}
			}
		})
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for _, n := range nodes {
		reading.Go(func() { follow(t, n, done) })
	}
	writing.Wait()
	close(done)
	reading.Wait()
	for _, n := range nodes {
		c := n.IMAP(alice, "postel")
		c.Command("EXAMINE INBOX")
		if got := uids(c); len(got) != writers*each {
			t.Errorf("%d messages", len(got))
		}
		c.Close()
	}
}

// follow looks again and again until done: what was there stays, and what is new has higher UIDs.
func follow(t *testing.T, s *harness.Server, done chan struct{}) {
	c := s.IMAP(alice, "postel")
	defer c.Close()
	c.Command("SELECT INBOX")
	var old []string
	for end := false; !end; {
		select {
		case <-done:
			end = true
		default:
		}
		now := uids(c)
		last := 0
		for i, u := range now {
			n, err := strconv.Atoi(u)
			if err != nil || n <= last || i < len(old) && old[i] != u {
				t.Errorf("UIDs %v after %v", now, old)
				return
			}
			last = n
		}
		if len(now) < len(old) {
			t.Errorf("%d UIDs after %d", len(now), len(old))
		}
		old = now
	}
}

// submit hands letters in, one for each domain.
func (s *site) submit(n *harness.Server, from, to int) {
	s.t.Helper()
	c := n.Submission(alice, "postel")
	defer c.Close()
	for i := from; i < to; i++ {
		if r := c.Send(alice, fmt.Sprintf("u%d@d%d.test", i, i%domains), letter(fmt.Sprint(i))); r[0] != '2' {
			s.t.Fatal(r)
		}
	}
}

// taken counts what the sink took of each recipient.
func (s *site) taken() map[string]int {
	m := map[string]int{}
	for _, x := range s.sink.Taken() {
		for _, to := range x.To {
			m[to]++
		}
	}
	return m
}

// TestKilled: mail that both nodes took is sent once while both live. One is killed in the middle of its share: the
// other sends that too; only what was in the hands of the dead may go out twice.
func TestKilled(t *testing.T) {
	t.Parallel()
	s := open(t)
	a, b := s.join(), s.join()
	time.Sleep(6 * time.Second) // they divide the queue
	s.submit(a, 0, 100)
	s.submit(b, 100, 200)
	harness.Eventually(t, func() error {
		if got := len(s.taken()); got < 200 {
			return fmt.Errorf("%d sent", got)
		}
		return nil
	})
	for to, n := range s.taken() {
		if n != 1 {
			t.Errorf("%s got it %d times", to, n)
		}
	}
	s.sink.Drain()
	gate := make(chan struct{})
	s.sink.SetRcpt(func(string) string { // the world is slow: both have work in their hands
		select {
		case <-gate:
		case <-time.After(200 * time.Millisecond):
		}
		return ""
	})
	s.submit(a, 200, 400)
	a.Kill()
	killed := time.Now()
	close(gate)
	for len(s.taken()) < 200 {
		if time.Since(killed) > 90*time.Second {
			t.Fatalf("%d of 200 sent", len(s.taken()))
		}
		time.Sleep(200 * time.Millisecond)
	}
	took, twice := time.Since(killed), 0
	for _, n := range s.taken() {
		twice += n - 1
	}
	t.Logf("all sent %v after a node was killed, %d twice", took, twice)
	if twice > 40 {
		t.Errorf("%d went out twice", twice)
	}
	if out, code := b.Postel("queue", "list", "--json"); code != 0 || strings.TrimSpace(out) != "" {
		t.Errorf("left in the queue: %s", out)
	}
}
