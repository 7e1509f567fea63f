package imapd

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"postel/internal/proto/sasl"
	"postel/internal/store"
)

// TestInjection: what is sent in clear behind STARTTLS in one write is never a command (RFC 3501 §6.2.1).
func TestInjection(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	c := w.dial()
	c.line()
	_, _ = io.WriteString(c, "a1 STARTTLS\r\na2 LOGIN alice secret\r\na3 SELECT INBOX\r\n")
	if l := c.line(); l != "a1 OK begin TLS" {
		t.Fatal(l)
	}
	c.startTLS()
	c.send("a4 SELECT INBOX")
	if l := c.line(); l != "a4 BAD log in first" {
		t.Errorf("%s", l)
	}
}

// TestImplicitTLS is imaps; a client that offers ALPN without imap is turned away (RFC 7301 §3.2).
func TestImplicitTLS(t *testing.T) {
	t.Parallel()
	w := start(t, setup{implicit: true})
	c := w.dial()
	c.startTLS()
	if l := c.line(); !strings.Contains(l, "AUTH=PLAIN") || strings.Contains(l, "STARTTLS") {
		t.Error(l)
	}
	raw, err := net.Dial("tcp", w.addr)
	must(t, err)
	defer func() { _ = raw.Close() }()
	if err := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}).Handshake(); err == nil {
		t.Error("h2 was taken")
	}
}

func TestSCRAM(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	for _, good := range []bool{true, false} {
		password := map[bool]string{true: "secret", false: "guess"}[good]
		x, err := sasl.Client(sasl.ScramSHA256, sasl.Credentials{User: "alice", Password: password})
		must(t, err)
		c := w.dial()
		c.line()
		c.send("a AUTHENTICATE SCRAM-SHA-256")
		c.line()
		c.send(sasl.Encode(x.Initial()))
		l := c.line()
		for strings.HasPrefix(l, "+ ") {
			challenge, err := sasl.Decode([]byte(l[2:]))
			must(t, err)
			response, err := x.Next(challenge)
			must(t, err)
			c.send(sasl.Encode(response))
			l = c.line()
		}
		if good {
			must(t, x.Finish())
		}
		if strings.HasPrefix(l, "a OK") != good {
			t.Errorf("%s: %s", password, l)
		}
	}
}

// TestEnds: what ends a session, and its last words.
func TestEnds(t *testing.T) {
	t.Parallel()
	short := Limits{Login: 300 * time.Millisecond, Idle: 200 * time.Millisecond}
	for _, c := range []struct {
		name   string
		o      setup
		send   []string // each answered by its tagged line
		waits  string
		within time.Duration
	}{
		{"failed logins", setup{}, times(10, "t LOGIN alice guess"), "* BYE [UNAVAILABLE] too many failed logins", 0},
		{"failed plain", setup{}, times(10, "t AUTHENTICATE PLAIN AGFsaWNlAGd1ZXNz"), "* BYE [UNAVAILABLE] too many failed logins", 0},
		{"bad commands", setup{}, times(20, "t XYZZY"), "* BYE [CLIENTBUG] too many bad commands", 0},
		{"huge literal", setup{}, []string{"t LOGIN {70000+}"}, "* BYE [LIMIT] too much to skip", 0},
		{"huge literal after login", setup{}, []string{"t LOGIN alice secret", "t APPEND x {99999999999+}"}, "* BYE [LIMIT] too much to skip", 0},
		{"slow login", setup{limits: short}, nil, "* BYE too slow to log in", 2 * time.Second},
		{"idle", setup{limits: short}, []string{"t LOGIN alice secret"}, "* BYE idle for too long", 2 * time.Second},
		{"idling", setup{limits: short}, []string{"t LOGIN alice secret", "t SELECT INBOX", "t IDLE"}, "* BYE idle for too long", 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.o.clearAuth = true
			w := start(t, c.o)
			cl := w.dial()
			cl.line()
			for _, l := range c.send {
				cl.send(l)
				cl.until("t")
			}
			last := ""
			for l := cl.line(); l != "<closed>"; l = cl.line() {
				if !strings.HasPrefix(l, "t ") {
					last = l
				}
			}
			if last != c.waits {
				t.Errorf("last words %q, want %q", last, c.waits)
			}
		})
	}
}

func times(n int, s string) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = s
	}
	return out
}

// TestTranscriptMasksSecrets: glass holds the session, but no password however it came.
func TestTranscriptMasksSecrets(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	c := w.dial()
	c.line()
	for _, l := range []string{
		"t LOGIN alice hunter2", "t LOGIN alice \"hunter2\"", "LOGIN alice hunter2", "t LOGN alice hunter2",
		"t AUTHENTICATE PLAIN AGFsaWNlAGh1bnRlcjI=", "t LOGIN alice {7+}\r\nhunter2",
	} {
		c.send(l)
		tag, _, _ := strings.Cut(l, " ")
		c.until(tag)
	}
	c.send("t AUTHENTICATE PLAIN")
	c.until("t")
	c.send("AGFsaWNlAGh1bnRlcjI=")
	c.until("t")
	c.send("t LOGOUT")
	for c.line() != "<closed>" {
	}
	list := w.glass.List(10)
	if len(list) != 1 {
		t.Fatal(list)
	}
	s, _ := w.glass.Show(list[0].ID)
	var all strings.Builder
	for _, l := range s.Lines {
		all.WriteString(l.Text + "\n")
	}
	for _, word := range []string{"hunter2", "AGFsaWNl"} {
		if strings.Contains(all.String(), word) {
			t.Errorf("%q is in the transcript:\n%s", word, all.String())
		}
	}
	if !strings.Contains(all.String(), "t LOGOUT") || !strings.Contains(all.String(), "t AUTHENTICATE PLAIN") {
		t.Error(all.String())
	}
}

// TestByteForByte: what is appended is fetched as it was, whatever it is, whole and in pieces.
func TestByteForByte(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	c := w.login()
	c.do("SELECT INBOX")
	var octets []byte
	for i := 1; i < 256; i++ {
		octets = append(octets, byte(i))
	}
	for i, m := range []string{
		"no header at all", "Subject: x\n\nbare LF\n", "Subject: x\r\n\r\n\r\n.\r\n", "\r\n", "\n", "x",
		"Subject: x\r\n\r\n" + string(octets), "Subject: x\r\n\r\n" + strings.Repeat("y", 100_000),
		"Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n", 30_000),
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b", strings.Repeat("X: y\r\n", 5000),
	} {
		c.send(fmt.Sprintf("t APPEND INBOX {%d+}", len(m)))
		c.send(m)
		if l := c.until("t"); !strings.HasPrefix(l[len(l)-1], "t OK") {
			t.Fatal(l)
		}
		if got := c.literal("FETCH %d BODY.PEEK[]", i+1); got != m {
			t.Errorf("message %d: %d octets came back as %d", i+1, len(m), len(got))
		}
		if len(m) > 300_000 {
			continue
		}
		if got := c.literal("FETCH %d BODY.PEEK[HEADER]", i+1) + c.literal("FETCH %d BODY.PEEK[TEXT]", i+1); got != m {
			t.Errorf("message %d: header and text are not the whole", i+1)
		}
		piece := max(1, len(m)/7)
		got := ""
		for at := 0; at < len(m); at += piece {
			got += c.literal("FETCH %d BODY.PEEK[]<%d.%d>", i+1, at, piece)
		}
		if got != m {
			t.Errorf("message %d: pieces are not the whole", i+1)
		}
	}
}

// literal gives the one literal of an answer.
func (c *client) literal(format string, args ...any) string {
	c.t.Helper()
	c.send("l " + fmt.Sprintf(format, args...))
	l := c.line()
	var n int
	i := strings.LastIndexByte(l, '{')
	if i < 0 {
		c.t.Fatal(l)
	}
	if _, err := fmt.Sscanf(l[i:], "{%d}", &n); err != nil {
		c.t.Fatal(l)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		c.t.Fatal(err)
	}
	c.until("l")
	return string(b)
}

// TestPipelining: commands sent ahead are answered in their order, one by one.
func TestPipelining(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	c := w.dial()
	c.line()
	var b bytes.Buffer
	b.WriteString("a LOGIN alice secret\r\nb SELECT INBOX\r\nc APPEND INBOX {12+}\r\nSubject: x\r\n\r\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "n%d NOOP\r\n", i)
	}
	go func() { _, _ = c.Write(b.Bytes()) }()
	for _, tag := range []string{"a", "b", "c"} {
		if l := c.until(tag); !strings.HasPrefix(l[len(l)-1], tag+" OK") {
			t.Fatal(l)
		}
	}
	for i := range 1000 {
		if l := c.line(); l != fmt.Sprintf("n%d OK NOOP done", i) {
			t.Fatal(l)
		}
	}
}

// TestKeywordsRunOut: when the account has no room for another keyword, NO [LIMIT] and no \* (RFC 3501 §7.1).
func TestKeywordsRunOut(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	w.deliver("INBOX", hello, 0)
	c := w.login()
	c.do("SELECT INBOX")
	for i := range store.MaxKeywords {
		c.do("STORE 1 +FLAGS.SILENT (k%d)", i)
	}
	c.send("t STORE 1 +FLAGS (onemore)")
	if l := strings.Join(c.until("t"), "\n"); !strings.Contains(l, "t NO [LIMIT]") {
		t.Error(l)
	}
	if l := strings.Join(c.do("SELECT INBOX"), "\n"); strings.Contains(l, `\*`) || !strings.Contains(l, "k57") {
		t.Error(l)
	}
}

// TestIdleLatency: a change is told within a second to a session in IDLE.
func TestIdleLatency(t *testing.T) {
	t.Parallel()
	w := start(t, setup{clearAuth: true})
	c := w.login()
	c.do("SELECT INBOX")
	c.do("IDLE")
	for i := 1; i <= 20; i++ {
		begin := time.Now()
		w.deliver("INBOX", hello, 0)
		if l := c.line(); l != fmt.Sprintf("* %d EXISTS", i) {
			t.Fatal(l)
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("told after %v", d)
		}
		c.line() // RECENT
	}
	c.send("DONE")
	c.until("t")
}
