package crash

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// probe is a session that is open when the disk fails. ask sends its next command, and all that it hears from then on
// must begin with one of the answers, the first of which must come; "" is the end of the connection.
type probe struct {
	name    string
	c       *conn
	ask     string
	answers []string
}

// TestFailedSync takes the power of the disk and lets the process live: each command that wants to write is refused
// with its protocol's code for "not now", nothing is acknowledged any more, and the process ends by itself with code 1
// within 5 s. What was acknowledged before is there when it is started again.
func TestFailedSync(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} { // on the latter reading fails too
		t.Run(kind, func(t *testing.T) {
			if k := newDisk(t, kind); k != nil {
				failSync(t, k)
			}
		})
	}
}

func failSync(t *testing.T, k *disk) {
	t.Helper()
	d := newDriver(t, filepath.Join(k.dir, "data"))
	d.first()
	before := d.sendOne(t)
	probes := d.probes(t)
	k.cut(t)
	failed := time.Now()
	var wg sync.WaitGroup
	for _, p := range probes {
		wg.Go(func() { p.run(t) })
	}
	code := d.srv.Ended(8 * time.Second)
	if took := time.Since(failed); code != 1 || took > 5*time.Second {
		t.Errorf("the process ended with code %d after %v", code, took)
	}
	wg.Wait()
	d.srv.Kill()
	k.unmount(t)
	k.mount(t)
	d.crashed = append(d.crashed, time.Now())
	d.start()
	d.ledger.begin(owner{d.users[0], "c9999999"}, home)
	for _, u := range d.users {
		for i := range 20 {
			d.ledger.begin(owner{u, probeID(i)}, home)
		}
	}
	d.verify(true)
	if after := len(d.ledger.count); after < before {
		t.Errorf("%d messages are left of %d", after, before)
	}
	d.sendOne(t)
}

func probeID(i int) string { return fmt.Sprintf("c99%05d", i) }

// sendOne delivers a message to each user, acknowledged, and gives how many there are.
func (d *driver) sendOne(t *testing.T) int {
	t.Helper()
	c, err := dialSMTP(d.srv.Addr("smtp"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, u := range d.users {
		m := d.ledger.message()
		d.ledger.begin(owner{u, m.id}, home)
		if err := c.send("stranger@elsewhere.test", m, u); err != nil {
			t.Fatal(err)
		}
		d.ledger.acked(owner{u, m.id}, home)
	}
	return len(d.ledger.count)
}

// probes opens the sessions.
func (d *driver) probes(t *testing.T) (all []probe) {
	t.Helper()
	must := func(c *conn, err error) *conn {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
	n := 0
	body := func() string { n++; return message{probeID(n), 2000}.text("u1@crash.test") }
	user := d.users[0]
	refusal := []string{"421 4.", "451 4."}
	in := func(name string, c *conn, from string) {
		must(c, c.say('2', "MAIL FROM:<%s>", from))
		must(c, c.say('2', "RCPT TO:<%s>", user))
		must(c, c.say('3', "DATA"))
		all = append(all, probe{name, c, body() + ".\r\n", refusal})
	}
	in("SMTP at the end of DATA", must(dialSMTP(d.srv.Addr("smtp"), "")), "x@elsewhere.test")
	in("submission", must(dialSMTP(d.srv.Addr("submission"), user)), user)
	in("LMTP", must(dialLMTP(d.srv.Addr("lmtp"))), "x@elsewhere.test")
	no := []string{"a9 NO [", "* BYE"}
	for name, command := range map[string]string{
		"APPEND":  fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(body()), message{probeID(n), 2000}.text("u1@crash.test")),
		"STORE":   "STORE 1 +FLAGS.SILENT (\\Seen)",
		"COPY":    "COPY 1 Archive",
		"MOVE":    "MOVE 1 Archive",
		"EXPUNGE": "EXPUNGE",
		"CREATE":  "CREATE new",
		"RENAME":  "RENAME Archive Attic",
		"DELETE":  "DELETE Copies",
	} {
		c := must(dialIMAP(d.srv.Addr("imap"), user))
		_, err := c.imap("SELECT INBOX")
		must(c, err)
		answers := no
		if name == "EXPUNGE" { // nothing is to be removed, so it is done as long as nobody has met the failed disk yet
			answers = append([]string{"a9 OK EXPUNGE"}, no...)
		}
		all = append(all, probe{"IMAP " + name, c, "a9 " + command + "\r\n", answers})
	}
	c := must(dial(d.srv.Addr("pop3")))
	for _, command := range []string{"", "USER " + user, "PASS " + password, "DELE 1"} {
		if command != "" {
			_, _ = fmt.Fprintf(c, "%s\r\n", command)
		}
		if s, err := c.line(); err != nil || !strings.HasPrefix(s, "+OK") {
			t.Fatalf("POP3 %s: %q, %v", command, s, err)
		}
	}
	return append(all, probe{"POP3 QUIT", c, "QUIT\r\n", []string{"-ERR"}})
}

// run asks and hears.
func (p probe) run(t *testing.T) {
	_, _ = fmt.Fprint(p.c, p.ask)
	began := time.Now()
	for n := 0; ; n++ {
		s, err := p.c.line()
		if err != nil {
			if n == 0 {
				t.Errorf("%s: no answer: %v", p.name, err)
			}
			return
		}
		ok := false
		for _, a := range p.answers {
			ok = ok || strings.HasPrefix(s, a)
		}
		if !ok {
			t.Errorf("%s: answered %q after %v", p.name, s, time.Since(began))
		}
	}
}
