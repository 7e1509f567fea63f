// Package attack is the story of hostile peers at the real binary: what strangers and users send to take its memory
// or its time. Each case was found, or tried in vain, by hand.
package attack

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

// limit is how many octets a session may take, whatever it sends.
const limit = 4 << 20

// sessions attack at once.
const sessions = 200

// bomb is a message of ten thousand parts in 120 KB.
func bomb() string {
	return "Subject: many\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 10000)
}

// attack is what each of many sessions sends at once, never coming to an end, on a connection that open made ready.
type attack struct {
	open func(t *testing.T, s *harness.Server) *harness.Conn
	text string
}

func attacks() map[string]attack {
	smtp := func(text string) attack {
		return attack{func(t *testing.T, s *harness.Server) *harness.Conn {
			c := harness.SMTP(t, s.Addr("smtp"))
			c.Want("250", "MAIL FROM:<a@b.example>")
			c.Want("250", "RCPT TO:<alice@postel.test>")
			c.Want("354", "DATA")
			return c
		}, text}
	}
	imap := func(text string) attack {
		return attack{func(t *testing.T, s *harness.Server) *harness.Conn {
			c := harness.Dial(t, s.Addr("imap"))
			c.Line()
			return c
		}, "a LOGIN alice@postel.test postel\r\nb SELECT INBOX\r\n" + text}
	}
	plain := func(listener, text string) attack {
		return attack{func(t *testing.T, s *harness.Server) *harness.Conn { return harness.Dial(t, s.Addr(listener)) }, text}
	}
	long := strings.Repeat
	return map[string]attack{
		"header of 1 MB":          smtp("Subject: " + long("x", 1000000) + "\r\n\r\n" + long("y", 50000)),
		"70,000 addresses":        smtp("To: " + long("a@b,\r\n ", 70000) + "\r\n\r\n" + long("y", 50000)),
		"parts":                   smtp(bomb()),
		"parts with long fields":  smtp("Content-Type: multipart/mixed; boundary=b\r\n\r\n" + long("--b\r\nContent-Description: "+long("d", 400)+"\r\n\r\nx\r\n", 5000)),
		"depth":                   smtp(long("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 10000)),
		"IMAP literal of 1 MB":    imap("c SEARCH SUBJECT {1000000+}\r\n" + long("x", 999999)),
		"APPEND of parts":         imap("c APPEND INBOX {1000000+}\r\n" + bomb()),
		"FETCH of parts, unread":  imap("c FETCH 1:* BODYSTRUCTURE\r\n"),
		"SEARCH of parts":         imap("c SEARCH TEXT nothing\r\n"),
		"many texts, long fields": imap("c SEARCH " + long("NOT SUBJECT x ", 31) + "ALL\r\n"),
		"FETCH of bodies, unread": imap("c FETCH 1:* (BODY.PEEK[] BODY.PEEK[TEXT] BODY.PEEK[2])\r\n"),
		"POP3 line":               plain("pop3", long("x", 500000)),
		"HTTP header":             plain("web", "GET /livez HTTP/1.1\r\nHost: x\r\nX: "+long("y", 60000)),
	}
}

// TestMemory: two hundred hostile sessions at once take no more than 4 MiB each, garbage included.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("200 sessions a case")
	}
	for name, a := range attacks() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Dev(t)
			if resident(t, s) == 0 {
				t.Skip("no /proc on this system")
			}
			c := harness.SMTP(t, s.Addr("smtp"))
			for range 20 {
				c.Send("a@b.example", "alice@postel.test", bomb()+"\r\n")
			}
			before := resident(t, s)
			var conns []*harness.Conn
			for range sessions {
				conns = append(conns, a.open(t, s))
			}
			for _, c := range conns {
				go c.Put(a.text) // blocks when the server reads no more of it
			}
			per := (peak(t, s) - before) / sessions
			t.Logf("%d KiB a session", per>>10)
			if per > limit {
				t.Errorf("%d octets a session", per)
			}
			s.Kill()
		})
	}
}

// peak gives the most octets in memory until they have not grown for a second, 3 s at most.
func peak(t *testing.T, s *harness.Server) (most int) {
	t.Helper()
	began := time.Now()
	for grown := began; time.Since(grown) < time.Second && time.Since(began) < 3*time.Second; time.Sleep(20 * time.Millisecond) {
		if now := resident(t, s); now > most {
			most, grown = now, time.Now()
		}
	}
	return most
}

// resident gives the octets that the server has in memory, 0 where that cannot be told.
func resident(t *testing.T, s *harness.Server) int {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(s.PID()) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// TestRemembered: what is remembered of messages does not grow with what strangers write in them.
func TestRemembered(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	before := resident(t, s)
	c := harness.SMTP(t, s.Addr("smtp"))
	const n = 60
	for i := range n {
		id := fmt.Sprintf("Message-ID: <%d.%s>\r\n", i, strings.Repeat("x", 900000))
		if i%2 == 0 {
			id = fmt.Sprintf("Message-ID: <%d@x>\r\nSubject: %s\r\n", i, strings.Repeat("x", 900000))
		}
		if r := c.Send("a@b.example", "alice@postel.test", id+"\r\nx\r\n"); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	if grown := resident(t, s) - before; grown > n*900000*2/3 {
		t.Errorf("%d octets remembered", grown)
	}
	if log := len(s.Log()); log > n*10000 {
		t.Errorf("%d octets logged", log)
	}
}

// TestDearMail: mail of a few hundred KB must not keep a core busy for minutes.
func TestDearMail(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	c := harness.SMTP(t, s.Addr("smtp"))
	began := time.Now()
	c.Want("250", "MAIL FROM:<a@b.example>")
	for i := range 1000 {
		c.Want("250", "RCPT TO:<alice+%d@postel.test>", i)
	}
	c.Want("354", "DATA")
	c.Put(strings.Repeat("Delivered-To: <x@y.example>\r\n", 9900) + "\r\nx\r\n.\r\n")
	if r := c.Reply(); !strings.HasPrefix(r, "250") {
		t.Error(r)
	}
	for range 5 {
		c.Send("a@b.example", "alice@postel.test", bomb()+"\r\n")
	}
	i := s.IMAP("alice@postel.test", "postel")
	i.Command("SELECT INBOX")
	if r := i.Command("SEARCH TEXT zzzz"); !strings.HasPrefix(r, "OK") {
		t.Error(r)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Error(took)
	}
}
