package smtp

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postel/internal/mail"
	"postel/internal/observe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script plays a server: its "S" lines are sent, its "C" lines must come, and its "L" lines, which end with LF. Consecutive S lines go in one write. X
// closes the connection, which the end does only after the client.
func script(t *testing.T, o ClientOptions, lines string) (*Client, func() string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() { done <- serve(ln, lines) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	o.Hello, o.Host = "client.test", "mx.test"
	c := NewClient(conn, o)
	t.Cleanup(func() { _ = c.Close() })
	return c, func() string {
		_ = c.Close()
		return <-done
	}
}

func serve(ln net.Listener, lines string) string {
	defer func() { _ = ln.Close() }()
	conn, err := ln.Accept()
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	r := bufio.NewReader(conn)
	var out strings.Builder
	for l := range strings.SplitSeq(strings.TrimSpace(lines), "\n") {
		kind, text, _ := strings.Cut(strings.TrimSpace(l), " ")
		if kind == "S" {
			out.WriteString(text + "\r\n")
			continue
		}
		_, _ = io.WriteString(conn, out.String())
		out.Reset()
		if kind == "X" {
			return ""
		}
		end := "\r\n"
		if kind == "L" {
			end = "\n"
		}
		got, err := r.ReadString('\n')
		if got != text+end {
			return fmt.Sprintf("got %q (%v), want %q", got, err, text)
		}
	}
	_, _ = io.WriteString(conn, out.String())
	if rest, _ := io.ReadAll(r); len(rest) > 0 && !strings.HasPrefix(string(rest), "QUIT") {
		return fmt.Sprintf("then %q", rest)
	}
	return ""
}

// wire is the server's end of a connection.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
}

func (w *wire) say(s string) { _, _ = io.WriteString(w.conn, s+"\r\n") }

func (w *wire) line() string {
	s, _ := w.r.ReadString('\n')
	return strings.TrimRight(s, "\r\n")
}

// server lets play speak to a client; the function it gives waits for its end.
func server(t *testing.T, play func(*wire)) (*Client, func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err == nil {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			play(&wire{conn, bufio.NewReader(conn)})
			_ = conn.Close()
		}
		_ = ln.Close()
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := NewClient(conn, ClientOptions{Hello: "client.test", Host: "mx.test"})
	t.Cleanup(func() { _ = c.Close() })
	return c, func() { <-done }
}

func envelope(from string, to ...string) mail.Envelope {
	e := mail.Envelope{}
	if from != "" {
		e.From, _ = mail.ParseAddress(from)
	}
	for _, r := range to {
		a, err := mail.ParseAddress(r)
		if err != nil {
			panic(err)
		}
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

const (
	hello = "S 220 hi\nC EHLO client.test\n"
	plain = hello + "S 250-mx\nS 250 SIZE 1000\n"
	piped = hello + "S 250-mx\nS 250-PIPELINING\nS 250-8BITMIME\nS 250 SMTPUTF8\n"
)

func TestSend(t *testing.T) {
	t.Parallel()
	two := envelope("a@x.org", "b@y.org", "c@y.org")
	for _, c := range []struct {
		name   string
		script string
		e      mail.Envelope
		want   string // results, parted by |
		broken bool
	}{
		{"plain", plain + `C MAIL FROM:<a@x.org>
			S 250 2.1.0 ok
			C RCPT TO:<b@y.org>
			S 250 ok
			C RCPT TO:<c@y.org>
			S 550 5.1.1 no such user
			C DATA
			S 354 go
			C ..dot
			C .
			S 250 2.0.0 taken`, two, "message 250 2.0.0 taken|recipient 550 5.1.1 no such user", false},
		{"pipelined", piped + `C MAIL FROM:<a@x.org>
			C RCPT TO:<b@y.org>
			C RCPT TO:<c@y.org>
			C DATA
			S 250 ok
			S 451 4.2.1 later
			S 250 ok
			S 354 go
			C ..dot
			C .
			S 554 5.6.0 no`, two, "recipient 451 4.2.1 later|message 554 5.6.0 no", false},
		{"pipelined, none taken, 354", piped + `C MAIL FROM:<a@x.org>
			C RCPT TO:<b@y.org>
			C RCPT TO:<c@y.org>
			C DATA
			S 250 ok
			S 550 5.1.1 b
			S 550 5.1.1 c
			S 354 go
			C .
			S 554 none`, two, "recipient 550 5.1.1 b|recipient 550 5.1.1 c", false},
		{"pipelined, MAIL refused", piped + `C MAIL FROM:<a@x.org>
			C RCPT TO:<b@y.org>
			C RCPT TO:<c@y.org>
			C DATA
			S 450 4.7.1 grey
			S 503 no
			S 503 no
			S 503 no`, two, "host 450 4.7.1 grey|host 450 4.7.1 grey", false},
		{"MAIL refused", plain + `C MAIL FROM:<a@x.org>
			S 550 5.7.1 not you`, two, "message 550 5.7.1 not you|message 550 5.7.1 not you", false},
		{"none taken", plain + `C MAIL FROM:<a@x.org>
			S 250 ok
			C RCPT TO:<b@y.org>
			S 552 full
			C RCPT TO:<c@y.org>
			S 552 5.2.2 full`, two, "recipient 452 4.5.3 full|recipient 552 5.2.2 full", false},
		{"421 at RCPT", plain + `C MAIL FROM:<a@x.org>
			S 250 ok
			C RCPT TO:<b@y.org>
			S 250 ok
			C RCPT TO:<c@y.org>
			S 421 4.3.2 bye`, two, "session 421 4.3.2 bye|session 421 4.3.2 bye", true},
		{"closed after DATA", plain + `C MAIL FROM:<a@x.org>
			S 250 ok
			C RCPT TO:<b@y.org>
			S 550 no
			C RCPT TO:<c@y.org>
			S 250 ok
			C DATA
			S 354 go
			C ..dot
			C .
			X`, two, "recipient 550 no|session 451 4.4.2 connection lost in FINAL", true},
		{"DATA has 250", plain + `C MAIL FROM:<a@x.org>
			S 250 ok
			C RCPT TO:<b@y.org>
			S 250 ok
			C RCPT TO:<c@y.org>
			S 550 no
			C DATA
			S 250 ok`, two, "host 451 4.5.0 the server answered DATA with 250 ok|recipient 550 no", false},
		{"nonsense", plain + `C MAIL FROM:<a@x.org>
			S what?`, two, "session 451 4.5.0 the server does not speak the protocol|session 451 4.5.0 the server does not speak the protocol", true},
		{
			"too large", plain, func() mail.Envelope { e := two; e.Size = 1001; return e }(),
			"message 552 5.3.4 message larger than 1000 octets, which mx.test takes|message 552 5.3.4 message larger than 1000 octets, which mx.test takes", false,
		},
		{"size", plain + `C MAIL FROM:<a@x.org> SIZE=1000
			S 550 no`, func() mail.Envelope { e := two; e.Size = 1000; e.Body = mail.Body8BitMIME; return e }(), "message 550 no|message 550 no", false},
		{"not ASCII", plain + `C MAIL FROM:<>
			S 250 ok
			C RCPT TO:<c@y.org>
			S 250 ok
			C DATA
			S 451 4.3.0 no`, envelope("", "é@y.org", "c@y.org"), "recipient 553 5.6.7 mx.test does not take addresses beyond ASCII|host 451 4.3.0 no", false},
		{"UTF8", piped + `C MAIL FROM:<a@x.org> BODY=8BITMIME SMTPUTF8
			C RCPT TO:<é@y.org>
			C DATA
			S 250 ok
			S 250 ok
			S 550 no`, func() mail.Envelope { e := envelope("a@x.org", "é@y.org"); e.Body = mail.Body8BitMIME; return e }(), "message 550 no", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cl, end := script(t, ClientOptions{}, c.script)
			ctx := t.Context()
			if _, err := cl.Greet(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := cl.Hello(ctx); err != nil {
				t.Fatal(err)
			}
			res, err := cl.Send(ctx, c.e, strings.NewReader(".dot"))
			if (err != nil) != c.broken {
				t.Errorf("error %v", err)
			}
			var got []string
			for i, r := range res {
				got = append(got, fmt.Sprintf("%s %s", r.Scope, r))
				if r.Recipient != c.e.Recipients[i].Address || r.Host != "mx.test" {
					t.Errorf("%+v", r)
				}
			}
			if g := strings.Join(got, "|"); g != c.want {
				t.Errorf("got  %s\nwant %s", g, c.want)
			}
			if why := end(); why != "" {
				t.Error(why)
			}
		})
	}
}

func TestSendLMTPAndAgain(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{LMTP: true}, `S 220 hi
		C LHLO client.test
		S 250-mx
		S 250 PIPELINING
		C MAIL FROM:<a@x.org>
		C RCPT TO:<b@y.org>
		C RCPT TO:<c@y.org>
		C DATA
		S 250 ok
		S 250 ok
		S 250 ok
		S 354 go
		C one
		C .
		S 250 2.0.0 b has it
		S 452 4.2.2 c is full
		C MAIL FROM:<>
		C RCPT TO:<b@y.org>
		C DATA
		S 250 ok
		S 550 no
		S 503 no
		C RSET
		S 250 ok
		C MAIL FROM:<>
		C RCPT TO:<b@y.org>
		C DATA
		S 250 ok
		S 250 ok
		S 354 go
		C two
		C .
		S 250 ok
		C QUIT
		S 221 bye`)
	ctx := t.Context()
	_, _ = cl.Greet(ctx)
	if _, err := cl.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	res, err := cl.Send(ctx, envelope("a@x.org", "b@y.org", "c@y.org"), strings.NewReader("one\n"))
	if err != nil || res[0].Code != 250 || res[1].Code != 452 || res[1].Scope != mail.ScopeRecipient {
		t.Error(res, err)
	}
	for _, want := range []int{550, 250} {
		if res, err = cl.Send(ctx, envelope("", "b@y.org"), strings.NewReader("two")); err != nil || res[0].Code != want {
			t.Error(res, err)
		}
	}
	_ = cl.Quit(ctx)
	if why := end(); why != "" {
		t.Error(why)
	}
}

func TestManyRecipientsGoInWindows(t *testing.T) {
	t.Parallel()
	var s strings.Builder
	s.WriteString(piped + "C MAIL FROM:<a@x.org>\n")
	var to []string
	for i := range 250 {
		to = append(to, fmt.Sprintf("r%d@y.org", i))
		fmt.Fprintf(&s, "C RCPT TO:<r%d@y.org>\n", i)
		if (i+2)%100 == 0 {
			s.WriteString(strings.Repeat("S 250 ok\n", 100))
		}
	}
	s.WriteString("C DATA\n" + strings.Repeat("S 250 ok\n", 51) + "S 354 go\nC x\nC .\nS 250 done\n")
	cl, end := script(t, ClientOptions{}, s.String())
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	res, err := cl.Send(t.Context(), envelope("a@x.org", to...), strings.NewReader("x"))
	for i, r := range res {
		if !r.Delivered() {
			t.Fatal(i, r, err)
		}
	}
	if why := end(); why != "" || err != nil {
		t.Error(why, err)
	}
}

func TestHelloFallsBack(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, hello+"S 502 what\nC HELO client.test\nS 250 old\nC NOOP\nS 250 ok")
	_, _ = cl.Greet(t.Context())
	if _, err := cl.Hello(t.Context()); err != nil {
		t.Error(err)
	}
	if _, ok := cl.Extension("SIZE"); ok || cl.Noop(t.Context()) != nil {
		t.Error("not as HELO")
	}
	if why := end(); why != "" {
		t.Error(why)
	}
}

func TestGreetingRefused(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, "S 554-5.7.1 not\nS 554 5.7.1 here")
	_, err := cl.Greet(t.Context())
	r, ok := RefusalOf(err)
	if !ok || r.String() != "554 5.7.1 not here" || !mail.Is(err, mail.Rejected) {
		t.Error(r, err)
	}
	if res := ResultOf(err, "mx"); res.Code != 554 || res.Scope != mail.ScopeHost || res.Text != "not here" {
		t.Error(res)
	}
	_ = end()
	if res := ResultOf(errors.New("dial"), "mx"); res.Code != 451 || res.Enhanced != (mail.Enhanced{4, 4, 2}) {
		t.Error(res)
	}
}

func TestStartTLSInjection(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, hello+"S 250 STARTTLS\nC STARTTLS\nS 220 go\nS 250 injected")
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	if err := cl.StartTLS(t.Context(), nil); !mail.Is(err, mail.Unavailable) || cl.Noop(t.Context()) == nil {
		t.Error(err)
	}
	_ = end()
}

func TestEndlessReplies(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"S " + strings.Repeat("x", 5000), strings.Repeat("S 220-x\n", 300) + "S 220 x", "S 220" + strings.Repeat("x", 5000)} {
		cl, end := script(t, ClientOptions{}, s)
		if _, err := cl.Greet(t.Context()); err == nil {
			t.Errorf("%.20q", s)
		}
		_ = end()
	}
}

func TestContextInterrupts(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, hello+"C never")
	_, _ = cl.Greet(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := cl.Hello(ctx); err == nil {
		t.Error("no error")
	}
	_ = end()
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cl := NewClient(conn, ClientOptions{Hello: "x", Timeouts: Timeouts{Greeting: 20 * time.Millisecond}})
	defer func() { _ = cl.Close() }()
	_, err = cl.Greet(t.Context())
	var e *mail.Error
	if !errors.As(err, &e) || e.Text != "timed out in GREETING" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	cl = NewClient(conn, ClientOptions{Hello: "x"})
	if _, err := cl.Greet(ctx); !mail.Is(err, mail.Canceled) {
		t.Error(err)
	}
}

// badBody fails in the middle.
type badBody struct{ n int }

func (b *badBody) Read(p []byte) (int, error) {
	if b.n++; b.n > 3 {
		return 0, errors.New("disk on fire")
	}
	return copy(p, "text\r\n"), nil
}

func TestBodyFails(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, plain+"C MAIL FROM:<>\nS 250 ok\nC RCPT TO:<b@y.org>\nS 250 ok\nC DATA\nS 354 go")
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	res, err := cl.Send(t.Context(), envelope("", "b@y.org"), &badBody{})
	if err == nil || res[0].Code != 451 || res[0].Scope != mail.ScopeMessage {
		t.Error(res, err)
	}
	if why := end(); strings.Contains(why, `.\r\n`) {
		t.Error("the message was ended: " + why)
	}
}

func TestLastWords(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "220 hi\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n552 5.3.4 too much\r\n")
		_ = conn.(*net.TCPConn).CloseWrite()
		time.Sleep(50 * time.Millisecond)
		_ = conn.Close()
	}()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	cl := NewClient(conn, ClientOptions{Hello: "x"})
	defer func() { _ = cl.Close() }()
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	res, err := cl.Send(t.Context(), envelope("", "b@y.org"), io.LimitReader(endlessLines{}, 100<<20))
	if err == nil {
		t.Error("still in order")
	}
	// The reset may overtake the last words; then it is a lost session.
	if r := res[0]; r.Code != 552 && r.Scope != mail.ScopeSession {
		t.Error(res, err)
	}
}

func TestTraceMasks(t *testing.T) {
	t.Parallel()
	var lines []string
	trace := func(d observe.Direction, line []byte, secret bool) {
		lines = append(lines, fmt.Sprintf("%d %s", d, observe.Mask(line, secret)))
	}
	cl, end := script(t, ClientOptions{Trace: trace}, hello+`S 250-mx
		S 250 AUTH LOGIN
		C AUTH LOGIN
		S 334 VXNlcm5hbWU6
		C YWxpY2U=
		S 334 UGFzc3dvcmQ6
		C cG9zdGVs
		S 535 5.7.8 no`)
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	if err := cl.Auth(t.Context(), "", "alice", "postel"); !mail.Is(err, mail.AuthFailed) {
		t.Error(err)
	}
	all := strings.Join(lines, "\n")
	if strings.Contains(all, "YWx") || strings.Contains(all, "cG9") || !strings.Contains(all, "1 AUTH LOGIN ••") {
		t.Error(all)
	}
	if why := end(); why != "" {
		t.Error(why)
	}
	if _, err := cl.Command(t.Context(), "NOOP\r\nRSET", false); err == nil {
		t.Error("two commands in one")
	}
}

// TestLongToken: what would make the command longer than 512 octets follows it by itself (RFC 4954 §4), and a refusal is
// heard to its end (RFC 7628 §3.2.3).
func TestLongToken(t *testing.T) {
	t.Parallel()
	message := "user=alice\x01auth=Bearer " + strings.Repeat("x", 500) + "\x01\x01"
	cl, end := script(t, ClientOptions{}, hello+`S 250-mx
		S 250 AUTH PLAIN XOAUTH2
		C AUTH XOAUTH2
		S 334 
		C `+base64.StdEncoding.EncodeToString([]byte(message))+`
		S 334 eyJzdGF0dXMiOiI0MDEifQ==
		C 
		S 535 5.7.8 no
		C AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciB5AQE=
		S 235 2.7.0 in`)
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	if err := cl.AuthToken(t.Context(), "alice", strings.Repeat("x", 500)); !mail.Is(err, mail.AuthFailed) {
		t.Error(err)
	}
	if err := cl.AuthToken(t.Context(), "alice", "y"); err != nil {
		t.Error(err)
	}
	if why := end(); why != "" {
		t.Error(why)
	}
}

// TestNoInjection sends addresses that no parser made.
func TestNoInjection(t *testing.T) {
	t.Parallel()
	cl, end := script(t, ClientOptions{}, plain+"C QUIT\nS 221 bye")
	_, _ = cl.Greet(t.Context())
	_, _ = cl.Hello(t.Context())
	e := mail.Envelope{Recipients: []mail.Recipient{{Address: mail.Address{Local: "a\r\nRSET", Domain: "x.org"}}}}
	if res, err := cl.Send(t.Context(), e, strings.NewReader("")); err != nil || res[0].Code != 553 {
		t.Error(res, err)
	}
	e = envelope("", "a@x.org")
	e.From = mail.Address{Local: "a", Domain: "x.org>\r\nDATA"}
	if res, err := cl.Send(t.Context(), e, strings.NewReader("")); err != nil || res[0].Code != 553 {
		t.Error(res, err)
	}
	_ = cl.Quit(t.Context())
	if why := end(); why != "" {
		t.Error(why)
	}
}
