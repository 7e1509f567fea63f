package smtp

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postel/internal/mail"
)

// TestMessageTakesNoForever: a server that drags a message out keeps to each timeout of RFC 5321 §4.5.3.2, and is cut
// after half an hour all the same, but for the reply behind the content, for which it has its ten minutes (§4.5.3.2.6).
func TestMessageTakesNoForever(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		rcpt time.Duration // before each reply to RCPT
		read time.Duration // before each 16 KiB of the content
		end  time.Duration // before the last reply
		cut  time.Duration // zero: it is delivered
	}{
		{name: "replies", rcpt: 4 * time.Minute, cut: 30 * time.Minute},
		{name: "content", read: 170 * time.Second, cut: 30 * time.Minute},
		{name: "end", read: 100 * time.Second, end: 7 * time.Minute},
		{name: "no end", end: time.Hour, cut: 10 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ours, theirs := net.Pipe()
				var server sync.WaitGroup
				server.Go(func() { dragOut(theirs, c.rcpt, c.read, c.end) })
				cl := NewClient(ours, ClientOptions{Hello: "client.test", Host: "mx.test"})
				_, _ = cl.Greet(t.Context())
				_, _ = cl.Hello(t.Context())
				var to []string
				for i := range 20 {
					to = append(to, fmt.Sprintf("r%d@y.org", i))
				}
				start := time.Now()
				res, err := cl.Send(t.Context(), envelope("a@x.org", to...), strings.NewReader(strings.Repeat("x\r\n", 90_000)))
				switch took := time.Since(start); {
				case c.cut == 0 && (err != nil || !res[0].Delivered()):
					t.Error(res[0], err)
				case c.cut > 0 && (res[0].Scope != mail.ScopeSession || took != c.cut || Unanswered(err) != (c.end > 0)):
					t.Error(res[0], err, took)
				}
				_ = cl.Close()
				server.Wait()
			})
		})
	}
}

// dragOut is a server that takes its time.
func dragOut(conn net.Conn, rcpt, read, end time.Duration) {
	defer func() { _ = conn.Close() }()
	r := bufio.NewReaderSize(conn, 16<<10)
	_, _ = io.WriteString(conn, "220 hi\r\n")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch line[:4] {
		case "RCPT":
			time.Sleep(rcpt)
		case "DATA":
			_, _ = io.WriteString(conn, "354 go\r\n")
			for n := 0; line != ".\r\n" && err == nil; n += len(line) {
				if line, err = r.ReadString('\n'); n>>14 != (n+len(line))>>14 {
					time.Sleep(read)
				}
			}
			time.Sleep(end)
		}
		if _, err := io.WriteString(conn, "250 ok\r\n"); err != nil {
			return
		}
	}
}

// TestLastWordsWithTheFirst: what a server says together with its 354, before it closes, is heard.
func TestLastWordsWithTheFirst(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	go func() {
		r := bufio.NewReader(theirs)
		_, _ = io.WriteString(theirs, "220 hi\r\n")
		for _, say := range []string{"250 mx\r\n", "250 ok\r\n", "250 ok\r\n", "354 go\r\n552 5.3.4 too much\r\n"} {
			_, _ = r.ReadString('\n')
			_, _ = io.WriteString(theirs, say)
		}
		_ = theirs.Close()
	}()
	cl := NewClient(ours, ClientOptions{Hello: "client.test", Host: "mx.test"})
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	res, err := cl.Send(t.Context(), envelope("a@x.org", "b@y.org"), strings.NewReader(strings.Repeat("x\r\n", 90_000)))
	if err == nil || res[0].Code != 552 || res[0].Scope != mail.ScopeMessage {
		t.Error(res, err)
	}
	_ = cl.Close()
}
