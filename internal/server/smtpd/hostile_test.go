package smtpd

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/observe"
	"postel/internal/proto/sasl"
)

// hostile are ways to make a server remember too much.
var hostile = []struct {
	name  string
	begin string // said once
	again string // said for ever
}{
	{"endless line", "EHLO ", strings.Repeat("x", 4096)},
	{"bare LF", "EHLO x\r\n", strings.Repeat("NOOP\n", 1000)},
	{"CR", "", strings.Repeat("\r", 4096)},
	{"unread replies", "EHLO x\r\n", strings.Repeat("HELP\r\n", 1000)},
	{"recipients", "EHLO x\r\nMAIL FROM:<>\r\n", strings.Repeat("RCPT TO:<"+strings.Repeat("r", 60)+"@b.org>\r\n", 100)},
	{"EHLO", "", "EHLO " + strings.Repeat("x", 250) + "\r\n"},
	{"content", "EHLO x\r\nMAIL FROM:<late@b.org>\r\nRCPT TO:<b@b.org>\r\nDATA\r\n", strings.Repeat("\n.", 2048)},
	{"chunks", "EHLO x\r\nMAIL FROM:<late@b.org>\r\nRCPT TO:<b@b.org>\r\n", strings.Repeat("BDAT 2\r\n\r\nBDAT 0\r\nNOOP\r\n", 200)},
	{"one chunk", "EHLO x\r\nMAIL FROM:<late@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT 1000000\r\n", strings.Repeat("x", 4096)},
	{"refused chunks", "EHLO x\r\n", "BDAT 4000\r\n" + strings.Repeat("x", 4000)},
	{"SASL", "EHLO x\r\n", "AUTH PLAIN\r\n" + strings.Repeat("A", 12000) + "\r\n"},
}

// TestHostileSessionsStaySmall opens 200 hostile sessions at once and measures what they make the server keep.
func TestHostileSessionsStaySmall(t *testing.T) {
	sessions := 200
	if testing.Short() {
		sessions = 40
	}
	rig := newRig(t, Options{
		Policy: discard{}, SASL: &sasl.Server{Auth: newFakeAuth()}, AuthInClear: true,
		MaxSize: 1 << 20, MaxBadCommands: 1 << 30, Protocol: "not in glass",
	})
	before := heap()
	var conns []*talker
	for range sessions {
		conns = append(conns, rig.dial(t))
	}
	var wg sync.WaitGroup
	var most uint64
	for i, c := range conns {
		h := hostile[i%len(hostile)]
		_ = c.SetDeadline(time.Now().Add(time.Second))
		wg.Go(func() {
			c.reply()
			_, err := io.WriteString(c, h.begin)
			for sent := 0; err == nil && sent < 256<<10; sent += len(h.again) {
				_, err = io.WriteString(c, h.again)
			}
		})
	}
	for range 5 {
		time.Sleep(100 * time.Millisecond)
		most = max(most, heap())
	}
	wg.Wait()
	each := (int64(most) - int64(before)) / int64(sessions)
	t.Logf("%d octets a session", each)
	if each > 512<<10 { // the test's own side and garbage of the moment are in it: 100 to 170 KiB as seen
		t.Errorf("%d octets a session", each)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// TestSecretsStayOutOfGlass logs in well and badly, and looks for the password in all that was recorded.
func TestSecretsStayOutOfGlass(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{SASL: &sasl.Server{Auth: newFakeAuth()}, AuthInClear: true})
	c := rig.dial(t)
	c.reply()
	c.say("EHLO c")
	c.say("AUTH PLAIN AGFsaWNlAHNlY3JldA==")
	c.say("auth login YWxpY2U=")
	c.say("c2VjcmV0")
	c.say("AUTH  LOGIN\t")
	c.say("c2VjcmV0")
	c.say("c2VjcmV0")
	_, _ = io.WriteString(c, "AUTH LOGIN\r\nc2VjcmV0\r\nc2VjcmV0\r\n")
	c.reply()
	c.reply()
	c.reply()
	c.say("AUTH FOO c2VjcmV0")
	c.say("c2VjcmV0")
	c.say("QUIT")
	rig.idle()
	for _, s := range rig.glass.List(10) {
		full, _ := rig.glass.Show(s.ID)
		for _, l := range full.Lines {
			if strings.Contains(l.Text, "c2VjcmV0") || strings.Contains(l.Text, "HNlY3JldA") {
				t.Errorf("%+v", l)
			}
			if l.Direction == observe.Theirs && l.Text == "" {
				t.Error("an empty line")
			}
		}
		if len(full.Lines) < 20 {
			t.Errorf("only %d lines", len(full.Lines))
		}
	}
}

// TestDripsAreCutOff sends a line so slowly that each octet comes within the time for a line, but not the line.
func TestDripsAreCutOff(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{IdleTimeout: 100 * time.Millisecond})
	c := rig.dial(t)
	c.reply()
	for range 20 {
		if _, err := io.WriteString(c, "N"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got := c.reply(); !strings.HasPrefix(got, "421 4.4.2") {
		t.Error(got)
	}
}

// TestStopDuringData lets a message finish that is on its way when the server stops.
func TestStopDuringData(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{})
	c := rig.dial(t)
	c.reply()
	c.say("EHLO c")
	c.say("MAIL FROM:<a@b.org>")
	c.say("RCPT TO:<a@b.org>")
	c.say("DATA")
	done := make(chan struct{})
	go func() {
		rig.stop(5 * time.Second)
		close(done)
	}()
	time.Sleep(50 * time.Millisecond)
	if got := c.say("text\r\n."); !strings.HasPrefix(got, "250 2.0.0 m-") {
		t.Error(got)
	}
	if got := c.reply(); !strings.HasPrefix(got, "421 4.3.2") {
		t.Error(got)
	}
	_ = c.Close()
	<-done
}

func TestTooManyConnectionsOfAUser(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{SASL: &sasl.Server{Auth: newFakeAuth()}, AuthInClear: true})
	var last string
	for range 3 {
		c := rig.dial(t)
		c.reply()
		c.say("EHLO c")
		last = c.say("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHBvc3RlbA==")
	}
	if !strings.HasPrefix(last, "421 4.7.0") {
		t.Error(last)
	}
}

func TestCounts(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	counts := map[string]int{}
	count := func(key string) {
		mu.Lock()
		defer mu.Unlock()
		counts[key]++
	}
	rig := newRig(t, Options{
		OnReply: func(verb string, code int) { count(fmt.Sprintf("%s %d", verb, code)) },
		OnBody:  func(n int64, code int) { count(fmt.Sprintf("%d octets %d", n, code)) },
	})
	c := rig.dial(t)
	c.reply()
	for _, l := range []string{"EHLO c", "FOO", "BAR", "MAIL FROM:<>", "RCPT TO:<a@b.org>", "DATA", "x\r\n.", "QUIT"} {
		c.say("%s", l)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, k := range []string{"EHLO 250", "MAIL 250", "RCPT 250", "DATA 354", "DATA 250", "QUIT 221", "3 octets 250"} {
		if counts[k] != 1 {
			t.Errorf("%s: %d of %v", k, counts[k], counts)
		}
	}
	if counts["? 500"] != 2 {
		t.Error(counts)
	}
}

// TestReplyLinesAreShort checks that no reply exceeds RFC 5321 §4.5.3.1.5, whatever it quotes.
func TestReplyLinesAreShort(t *testing.T) {
	t.Parallel()
	rig := newRig(t, Options{LMTP: true})
	c := rig.dial(t)
	c.reply()
	c.say("LHLO c")
	c.say("MAIL FROM:<>")
	c.say("RCPT TO:<%s@%s.org>", strings.Repeat("r", 64), strings.Repeat(strings.Repeat("d", 60)+".", 3)+"e")
	c.say("DATA")
	_, _ = io.WriteString(c, "x\r\n.\r\n")
	line, err := c.r.ReadBytes('\n')
	if err != nil || len(line) > 512 || !bytes.HasPrefix(line, []byte("250 2.0.0 <rrr")) {
		t.Errorf("%d octets: %s %v", len(line), line, err)
	}
}
