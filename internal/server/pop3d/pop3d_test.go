package pop3d

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postel/internal/proto/pop3"
	"postel/internal/proto/sasl"
	"postel/internal/server/listen"
)

// TestMessagesAreWhole sends messages of many shapes: what RETR brings is what was stored, in as many octets as LIST
// tells, and TOP is its beginning.
func TestMessagesAreWhole(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true})
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []string
	for i := range 60 {
		text := fmt.Sprintf("Subject: %d\r\nX-Long: %s\r\n\r\n%s", i, strings.Repeat("x", rnd.IntN(3000)), randomBody(rnd, i))
		prefix := strings.Repeat("Received: by us\r\n", rnd.IntN(3))
		r.deliver(t, prefix, text)
		want = append(want, prefix+text)
	}
	c := r.dial(t).login()
	for i, w := range want {
		n := i + 1
		if got := c.must("LIST %d", n); got != fmt.Sprintf("+OK %d %d", n, len(w)) {
			t.Errorf("message %d of %d octets: %s", n, len(w), got)
		}
		c.must("RETR %d", n)
		got := c.body()
		if got != w && got != w+"\r\n" || got != w && strings.HasSuffix(w, "\r\n") {
			t.Errorf("message %d of %d octets came back with %d", n, len(w), len(got))
		}
		c.must("TOP %d 3", n)
		head, body, _ := strings.Cut(w, "\r\n\r\n")
		if top := c.body(); top != head+"\r\n\r\n"+firstLines(body, 3) && top != w+"\r\n" {
			t.Errorf("message %d: top is %.80q", n, top)
		}
	}
	c.must("QUIT")
}

func randomBody(rnd *rand.Rand, i int) string {
	var b strings.Builder
	size := 1 << (i % 20)
	for b.Len() < size {
		switch rnd.IntN(5) {
		case 0:
			b.WriteString(strings.Repeat(".", rnd.IntN(3)))
		case 1:
			b.WriteString(strings.Repeat("QUJD", 19))
		case 2:
			b.WriteString("Grüße \xff\xfe")
		}
		b.WriteString("\r\n")
	}
	if i%7 == 0 {
		b.WriteString("no end")
	}
	return b.String()
}

func firstLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\r\n")
	s = strings.Join(lines[:min(n, len(lines))], "")
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

// TestBareLF: lines that end in LF alone, which only IMAP can bring in, cannot end the response early.
func TestBareLF(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true})
	r.deliver(t, "", "Subject: x\r\n\r\na\n.\r\n-ERR not a reply\n.\n")
	c := r.dial(t).login()
	if got := c.must("RETR 1"); got != "+OK 38 octets" {
		t.Error(got)
	}
	if got := c.body(); got != "Subject: x\r\n\r\na\n.\r\n-ERR not a reply\n.\n\r\n" {
		t.Errorf("%q", got)
	}
	c.must("NOOP")
}

// TestSASL logs in with our own client, SCRAM-SHA-256 among the mechanisms.
func TestSASL(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true})
	for _, mech := range []string{sasl.Plain, sasl.Login, sasl.ScramSHA256} {
		for _, pass := range []string{"postel", "wrong"} {
			c := r.dial(t)
			got, err := c.authenticate(mech, pass)
			if pass == "postel" != (strings.HasPrefix(got, "+OK") && err == nil) {
				t.Errorf("%s %s: %s %v", mech, pass, got, err)
			}
			c.say("QUIT")
			_ = c.Close()
			r.settle(0)
		}
	}
}

func (c *talker) authenticate(mech, pass string) (string, error) {
	x, err := sasl.Client(mech, sasl.Credentials{User: "alice@postel.test", Password: pass})
	if err != nil {
		return "", err
	}
	got := c.say("AUTH %s", mech)
	first := x.Initial()
	for strings.HasPrefix(got, "+ ") {
		challenge, err := sasl.Decode([]byte(got[2:]))
		if err != nil {
			return got, err
		}
		response := first
		if first == nil || len(challenge) > 0 {
			if response, err = x.Next(challenge); err != nil {
				return got, err
			}
		}
		got = c.say("%s", sasl.Encode(response))
	}
	if !strings.HasPrefix(got, "+OK") {
		return got, nil
	}
	return got, x.Finish()
}

// TestSecretsAreMasked: no password in any form stands in a transcript.
func TestSecretsAreMasked(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true, SASL: &sasl.Server{Shared: sasl.ForPOP3}})
	c := r.dial(t)
	secrets := []string{"sesame", "c2VzYW1l", "c4c9334bac560ecc979e58001b3e22fb", "AHNlc2FtZQ"}
	for _, line := range []string{
		"USER alice", "PASS sesame", "pass sesame", "APOP alice c4c9334bac560ecc979e58001b3e22fb",
		"AUTH PLAIN AHNlc2FtZQ", "AUTH LOGIN", "YWxpY2U=", "c2VzYW1l", "AUTH PLAIN", "*", "c2VzYW1l",
	} {
		c.say("%s", line)
	}
	c.say("QUIT")
	r.settle(0)
	list := r.glass.List(1)
	tr, ok := r.glass.Show(list[0].ID)
	if !ok || len(tr.Lines) < 20 || tr.Protocol != "pop3" {
		t.Fatalf("%+v", tr)
	}
	for _, l := range tr.Lines {
		for _, s := range secrets {
			if strings.Contains(l.Text, s) {
				t.Errorf("%q", l.Text)
			}
		}
	}
}

func TestBeginsWithTLS(t *testing.T) {
	t.Parallel()
	cfg := testTLS(t)
	r := newRig(t, Options{TLS: cfg})
	implicit := listen.New(listen.Options{Handler: r.pop, TLS: cfg})
	ln, err := listen.Bind(t.Context(), "127.0.0.1:0", 0)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- implicit.Serve(ln) }()
	conn, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"pop3"}})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 256)
	n, err := conn.Read(got)
	if err != nil || !strings.HasPrefix(string(got[:n]), "+OK ") {
		t.Errorf("%q %v", got[:n], err)
	}
	_ = conn.Close()
	if err := implicit.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestDeadConnectionFreesTheMaildrop: without a QUIT, without a FIN even read.
func TestDeadConnectionFreesTheMaildrop(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true})
	r.deliver(t, "", "Subject: big\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 1<<19)) // fills the socket's buffers
	for range 3 {
		c := r.dial(t).login()
		_, _ = io.WriteString(c, "DELE 1\r\nRSET\r\nRETR 1\r\n")
		c.line()
		if tcp, ok := c.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = c.Close()
		r.settle(0)
	}
	r.dial(t).login().must("QUIT")
	if n := r.left(t); n != 1 {
		t.Errorf("%d left", n)
	}
}

// TestHostileSessions: whatever many clients send, sessions end and memory stays bounded.
func TestHostileSessions(t *testing.T) {
	r := newRig(t, Options{AllowClearAuth: true})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	inputs := []string{
		strings.Repeat("A", 2<<20), strings.Repeat("USER x\r\n", 1000), "AUTH PLAIN " + strings.Repeat("A", 1<<20),
		strings.Repeat("\r\n", 5000), strings.Repeat("AUTH PLAIN\r\n*\r\n", 500), "USER " + strings.Repeat("\xff", 2000) + "\r\nPASS x\r\n",
		strings.Repeat("\x00", 1<<20), strings.Repeat("CAPA\r\n", 300),
	}
	const sessions = 200
	var peak uint64
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() {
			c, err := net.Dial("tcp", r.ln.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			go func() { _, _ = io.WriteString(c, inputs[i%len(inputs)]); _ = c.(*net.TCPConn).CloseWrite() }()
			_, err = io.Copy(io.Discard, c)
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				t.Errorf("input %d: still open", i%len(inputs))
			}
			_ = c.Close()
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for open := true; open; {
		select {
		case <-done:
			open = false
		case <-time.After(20 * time.Millisecond):
		}
		runtime.ReadMemStats(&after)
		peak = max(peak, after.HeapAlloc)
	}
	if peak > before.HeapAlloc+sessions*(4<<20)/4 {
		t.Errorf("%d octets for %d sessions", peak-before.HeapAlloc, sessions)
	}
	r.settle(0)
	if s := r.server.Stats(); s.Open != 0 || s.Panics != 0 {
		t.Errorf("%+v", s)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t, Options{AllowClearAuth: true})
	c := r.dial(t).login()
	c.say("XYZZY")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(r.pop)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := f.GetName()
			for _, l := range m.GetLabel() {
				s += " " + l.GetValue()
			}
			got = append(got, s+fmt.Sprintf(" %v", m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	want := "postel_pop3_commands_total ? err 1|postel_pop3_commands_total PASS ok 1|postel_pop3_commands_total USER ok 1|postel_pop3_sessions 1"
	if s := strings.Join(got, "|"); s != want {
		t.Error(s)
	}
}

// TestTable: each row says what a person needs, and each verb of RFC 1939 is there.
func TestTable(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, c := range table() {
		if have[c.verb] || c.states == 0 || c.syntax == "" || c.about == "" || !strings.HasPrefix(c.rfc, "RFC ") || c.run == nil {
			t.Errorf("%+v", c.verb)
		}
		have[c.verb] = true
	}
	for v := range strings.FieldsSeq("USER PASS APOP QUIT STAT LIST RETR DELE NOOP RSET TOP UIDL CAPA STLS AUTH") {
		if !have[v] {
			t.Error(v)
		}
	}
}

var aReply = regexp.MustCompile(`^(\+OK|-ERR)( |$)|^\+ `)

// FuzzSession says anything behind a login. Every answer is a reply or the rest of a listing, in whole lines of at most 512
// octets for replies; nothing is deleted without QUIT; the maildrop is free afterwards.
func FuzzSession(f *testing.F) {
	for _, s := range []string{
		"STAT\r\nLIST\r\nQUIT\r\n", "DELE 1\r\nRSET\r\nDELE 2\r\n", "RETR 2\r\nTOP 2 1\r\nUIDL\r\nCAPA\r\n",
		"AUTH PLAIN\r\n*\r\n", "DELE 1\r\nDELE 2\r\nQUIT\r\n", "GET / HTTP/1.0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	r := newRig(f, Options{AllowClearAuth: true, MaxBadCommands: 5})
	f.Fuzz(func(t *testing.T, in []byte) {
		for r.left(t) < 2 {
			r.deliver(t, "", "Subject: dots\r\n\r\n.\r\n..\r\n.a\r\nend\r\n")
		}
		before := r.left(t)
		c := r.dial(t).login()
		_, _ = c.Write(in)
		_ = c.Conn.(*net.TCPConn).CloseWrite()
		out, err := io.ReadAll(c.r)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Fatal(err)
		}
		_ = c.Close()
		checkReplies(t, in, string(out))
		if !bytes.Contains(bytes.ToUpper(in), []byte("QUIT")) && r.left(t) != before {
			t.Fatalf("%q: %d messages, then %d", in, before, r.left(t))
		}
		r.settle(0)
		release, err := r.store.LockMaildrop(t.Context(), r.alice)
		if err != nil {
			t.Fatal("the maildrop is still held", err)
		}
		release()
	})
}

// checkReplies reads what a session said as a client would that knows which replies are followed by a listing.
func checkReplies(t *testing.T, in []byte, out string) {
	t.Helper()
	if out != "" && !strings.HasSuffix(out, "\r\n") {
		t.Fatalf("%q: cut off: %q", in, out)
	}
	listing := false
	for line := range strings.SplitSeq(strings.TrimSuffix(out, "\r\n"), "\r\n") {
		switch {
		case out == "":
		case listing:
			listing = line != "."
		case !aReply.MatchString(line) || len(line)+2 > pop3.MaxReply:
			t.Fatalf("%q: not a reply: %q", in, line)
		default:
			_, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(line, "+OK "), " octets"))
			listing = strings.HasSuffix(line, "octets)") || strings.HasPrefix(line, "+OK the top") || line == "+OK what there is" ||
				strings.HasSuffix(line, " octets") && err == nil
			if listing && strings.HasSuffix(line, "octets)") && !follows(in, out, line) {
				listing = false
			}
		}
	}
	if listing {
		t.Fatalf("%q: a listing has no end: %q", in, out)
	}
}

// follows tells whether the summary in line heads a listing: RSET answers with one too.
func follows(in []byte, out, line string) bool {
	return strings.Contains(out, line+"\r\n.") || !bytes.Contains(bytes.ToUpper(in), []byte("RSET"))
}

// BenchmarkLogin logs in to a maildrop of 10,000 messages and lists it.
func BenchmarkLogin(b *testing.B) {
	r := newRig(b, Options{AllowClearAuth: true})
	for range 10_000 {
		r.deliver(b, "", "Subject: x\r\n\r\nx\r\n")
	}
	for b.Loop() {
		c := r.dial(b).login()
		c.must("LIST")
		c.body()
		c.must("UIDL")
		c.body()
		c.must("QUIT")
		_ = c.Close()
	}
}

// BenchmarkRetr reads a message of 5 KB again and again, and one of 8 MB.
func BenchmarkRetr(b *testing.B) {
	for _, size := range []int{5 << 10, 8 << 20} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			r := newRig(b, Options{AllowClearAuth: true})
			r.deliver(b, "", "Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("QUJD", 19)+"\r\n", size/78))
			c := r.dial(b).login()
			_ = c.SetDeadline(time.Time{})
			b.SetBytes(int64(size))
			for b.Loop() {
				c.must("RETR 1")
				for {
					l, err := c.r.ReadSlice('\n')
					if err != nil {
						b.Fatal(err)
					}
					if len(l) == 3 && l[0] == '.' {
						break
					}
				}
			}
		})
	}
}
