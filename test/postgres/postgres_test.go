// Package postgres is the story of a server whose rows lie in a PostgreSQL database that crashes now and then.
package postgres

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postel/internal/kv/pgtest"
	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	password = "postel"
)

// story is a server under load, and what it acknowledged.
type story struct {
	*harness.Server
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup
	next atomic.Int64

	mu      sync.Mutex
	local   []string // subjects that were acknowledged
	relayed []string
	refused map[string]int // replies to all else, by code
}

func text(from, to, subject string) string {
	return fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\nMessage-ID: <%s@far.test>\r\n\r\nHello.\r\n", from, to, subject, subject)
}

// send tries one transaction on a new connection; the code is "" when the connection broke.
func (s *story) send(to, subject string) (code string) {
	nc, err := net.DialTimeout("tcp", s.Addr("lmtp"), 5*time.Second)
	if err != nil {
		return ""
	}
	c := harness.Wrap(s.t, nc)
	defer c.Close()
	lines := []string{"LHLO client.test", "MAIL FROM:<x@far.test>", "RCPT TO:<" + to + ">", "DATA"}
	r := c.Reply()
	for _, line := range lines {
		if r[0] != '2' {
			break
		}
		r = c.Say("%s", line)
	}
	if r[0] == '3' {
		c.Put(text("x@far.test", to, subject) + ".\r\n")
		r = c.Reply()
	}
	if r == harness.EOF {
		return ""
	}
	return r[:3]
}

// load keeps delivering until stop is closed.
func (s *story) load() {
	for s.alive() {
		subject := fmt.Sprintf("s%d", s.next.Add(1))
		switch code := s.send(alice, subject); code[:min(1, len(code))] {
		case "2":
			s.mu.Lock()
			s.local = append(s.local, subject)
			s.mu.Unlock()
		case "4", "":
			s.mu.Lock()
			s.refused[code]++
			s.mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		default:
			s.t.Errorf("refused for good: %s", code)
			return
		}
	}
}

func (s *story) alive() bool {
	select {
	case <-s.stop:
		return false
	default:
		return true
	}
}

// submit sends one message to the sink and tells whether it was taken.
func (s *story) submit(subject string) {
	c := s.Submission(alice, password)
	defer c.Close()
	to := "x@[127.0.0.1]"
	if r := c.Send(alice, to, text(alice, to, subject)); r[0] != '2' {
		s.t.Fatal(r)
	}
	s.relayed = append(s.relayed, subject)
}

func (s *story) acked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.local)
}

// progress waits until more mail was taken.
func (s *story) progress(n int) {
	s.t.Helper()
	want := s.acked() + n
	harness.Eventually(s.t, func() error {
		if got := s.acked(); got < want {
			return fmt.Errorf("%d messages were taken, want %d", got, want)
		}
		return nil
	})
}

// TestDatabaseCrashes crashes the database twice under load. Meanwhile every protocol gives its temporary refusal;
// afterwards all goes on in the same process, and all that was acknowledged is there.
func TestDatabaseCrashes(t *testing.T) {
	t.Parallel()
	db := pgtest.Start(t, true)
	sink := harness.StartSink(t, "127.0.0.1:0")
	_, port, _ := net.SplitHostPort(sink.Addr)
	s := &story{
		Server: harness.Dev(t, "--storage", db.URL(t), "--deliver", "relay", "--mx-port", port),
		t:      t, stop: make(chan struct{}), refused: map[string]int{},
	}
	idle := s.IMAP(alice, password)
	idle.Command("SELECT INBOX")
	for range 6 {
		s.wg.Go(s.load)
	}
	for round := range 2 {
		s.submit(fmt.Sprint("relayed", round))
		s.progress(20)
		db.Stop()
		s.away(idle)
		if err := db.Run(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		s.progress(5)
		t.Logf("mail was taken %v after the database's return", time.Since(start))
		if r := idle.Command("SELECT INBOX"); !strings.HasPrefix(r, "OK") {
			t.Errorf("the session of before: %s", r)
		}
	}
	close(s.stop)
	s.wg.Wait()
	if s.refused["451"]+s.refused["421"] == 0 {
		t.Errorf("nobody was refused: %v", s.refused)
	}
	s.verify(sink)
}

// away looks at each protocol while there is no database.
func (s *story) away(idle *harness.Conn) {
	s.t.Helper()
	if r := idle.Command("SELECT INBOX"); !strings.HasPrefix(r, "NO [UNAVAILABLE]") {
		s.t.Errorf("IMAP SELECT: %s", r)
	}
	c := harness.Dial(s.t, s.Addr("imap"))
	c.Line()
	if r := c.Command("LOGIN %s %s", alice, password); !strings.HasPrefix(r, "NO [UNAVAILABLE]") {
		s.t.Errorf("IMAP LOGIN: %s", r)
	}
	p := harness.Dial(s.t, s.Addr("pop3"))
	p.Line()
	p.Put("USER " + alice + "\r\nPASS " + password + "\r\n")
	p.Line()
	if r := p.Line(); !strings.HasPrefix(r, "-ERR [SYS/TEMP]") {
		s.t.Errorf("POP3 PASS: %s", r)
	}
	harness.Eventually(s.t, func() error {
		if code := s.send(alice, "never"); code != "451" && code != "421" {
			return fmt.Errorf("SMTP: %q", code)
		}
		return nil
	})
}

var subjectLine = regexp.MustCompile(`Subject: (\S+)`)

// verify finds everything that was acknowledged, by IMAP, by POP3 and at the sink.
func (s *story) verify(sink *harness.Sink) {
	s.t.Helper()
	c := s.IMAP(alice, password)
	c.Command("EXAMINE INBOX")
	r, rest := c.Untagged("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]")
	seen := map[string]int{}
	for _, l := range rest {
		if m := subjectLine.FindStringSubmatch(l); m != nil {
			seen[m[1]]++
		}
	}
	s.t.Logf("%d messages acknowledged, %d there; refusals %v; %s", len(s.local), len(seen), s.refused, r)
	for _, subject := range s.local {
		if seen[subject] != 1 {
			s.t.Errorf("%s is there %d times", subject, seen[subject])
		}
	}
	p := harness.Dial(s.t, s.Addr("pop3"))
	p.Line()
	p.Put("USER " + alice + "\r\nPASS " + password + "\r\nSTAT\r\n")
	p.Line()
	p.Line()
	if r := p.Line(); !strings.HasPrefix(r, fmt.Sprintf("+OK %d ", len(seen))) {
		s.t.Errorf("STAT: %s, want %d messages", r, len(seen))
	}
	harness.Eventually(s.t, func() error {
		var all strings.Builder
		for _, m := range sink.Taken() {
			all.WriteString(m.Text)
		}
		for _, subject := range s.relayed {
			if !strings.Contains(all.String(), "Subject: "+subject+"\r\n") {
				return fmt.Errorf("%s did not arrive", subject)
			}
		}
		return nil
	})
}
