package harness

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Conn is a bare line client: nothing of the server's code takes part in the proof.
type Conn struct {
	net.Conn
	t   testing.TB
	r   *bufio.Reader
	tag int
}

// EOF is the line that Line gives when the server has closed the connection.
const EOF = "(closed)"

// Dial connects; everything on the connection may take 30 s. It is closed at the end of the test.
func Dial(t testing.TB, addr string) *Conn {
	t.Helper()
	nc, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return Wrap(t, nc)
}

// Wrap makes a Conn of an open connection.
func Wrap(t testing.TB, nc net.Conn) *Conn {
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	t.Cleanup(func() { _ = nc.Close() })
	return &Conn{Conn: nc, t: t, r: bufio.NewReaderSize(nc, 64<<10)}
}

// Upgrade starts TLS as a client; its error is that of the handshake.
func (c *Conn) Upgrade(cfg *tls.Config) error {
	tc := tls.Client(c.Conn, cfg)
	if err := tc.Handshake(); err != nil {
		return err
	}
	c.Conn, c.r = tc, bufio.NewReaderSize(tc, 64<<10)
	return nil
}

// Put writes octets as they are. An error of a connection that the server closed is seen by the next read.
func (c *Conn) Put(s string) { _, _ = io.WriteString(c.Conn, s) }

// Line reads a line without its end, EOF at the end of the connection.
func (c *Conn) Line() string {
	c.t.Helper()
	s, err := c.r.ReadString('\n')
	if err != nil && s == "" {
		if ne, ok := err.(net.Error); ok && ne.Timeout() {
			c.t.Error("nothing came within 30 s")
		}
		return EOF
	}
	return strings.TrimRight(s, "\r\n")
}

// Reply reads an SMTP reply to its last line; the lines are joined by LF.
func (c *Conn) Reply() string {
	c.t.Helper()
	var all []string
	for {
		l := c.Line()
		all = append(all, l)
		if len(l) < 4 || l[3] != '-' {
			return strings.Join(all, "\n")
		}
	}
}

// Say sends a line and reads the SMTP reply.
func (c *Conn) Say(format string, args ...any) string {
	c.t.Helper()
	c.Put(fmt.Sprintf(format, args...) + "\r\n")
	return c.Reply()
}

// Want sends a line and fails the test unless the SMTP reply begins with want.
func (c *Conn) Want(want, format string, args ...any) string {
	c.t.Helper()
	r := c.Say(format, args...)
	if !strings.HasPrefix(r, want) {
		c.t.Fatalf("%.100q: %q, want %s", fmt.Sprintf(format, args...), r, want)
	}
	return r
}

// SMTP connects, reads the greeting and says EHLO.
func SMTP(t testing.TB, addr string) *Conn {
	t.Helper()
	c := Dial(t, addr)
	if r := c.Reply(); !strings.HasPrefix(r, "220 ") {
		t.Fatalf("greeting: %q", r)
	}
	c.Want("250", "EHLO client.test")
	return c
}

// Submission connects, starts TLS and logs in.
func (s *Server) Submission(user, password string) *Conn {
	s.t.Helper()
	c := SMTP(s.t, s.Addr("submission"))
	c.Want("220", "STARTTLS")
	if err := c.Upgrade(s.TLS()); err != nil {
		s.t.Fatal(err)
	}
	c.Want("250", "EHLO client.test")
	c.Want("235", "AUTH PLAIN %s", Plain(user, password))
	return c
}

// Plain gives the response of AUTH PLAIN.
func Plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// Send goes through one transaction on a greeted connection and gives the last reply. text is sent as it is, so
// dots are doubled already, and ends with CRLF.
func (c *Conn) Send(from, to, text string) string {
	c.t.Helper()
	for _, line := range []string{"MAIL FROM:<" + from + ">", "RCPT TO:<" + to + ">"} {
		if r := c.Say("%s", line); r[0] != '2' {
			return r
		}
	}
	if r := c.Say("DATA"); r[0] != '3' {
		return r
	}
	c.Put(text + ".\r\n")
	return c.Reply()
}

// IMAP connects and logs in.
func (s *Server) IMAP(user, password string) *Conn {
	s.t.Helper()
	c := Dial(s.t, s.Addr("imap"))
	c.Line()
	if s.Config != "" {
		c.Command("STARTTLS")
		if err := c.Upgrade(s.TLS()); err != nil {
			s.t.Fatal(err)
		}
	}
	if r := c.Command("LOGIN %s %s", user, password); !strings.HasPrefix(r, "OK ") {
		s.t.Fatalf("LOGIN %s: %s", user, r)
	}
	return c
}

// Command sends an IMAP command and gives the tagged reply without its tag; untagged ones are thrown away.
func (c *Conn) Command(format string, args ...any) string {
	c.t.Helper()
	r, _ := c.Untagged(format, args...)
	return r
}

// Untagged sends an IMAP command and gives the tagged reply without its tag, and what came before it, literals in
// place behind their {size} and a LF.
func (c *Conn) Untagged(format string, args ...any) (tagged string, rest []string) {
	c.t.Helper()
	c.tag++
	tag := "h" + strconv.Itoa(c.tag)
	c.Put(tag + " " + fmt.Sprintf(format, args...) + "\r\n")
	for {
		l := c.withLiterals()
		if l == EOF {
			return EOF, rest
		}
		if t, ok := strings.CutPrefix(l, tag+" "); ok {
			return t, rest
		}
		rest = append(rest, l)
	}
}

func (c *Conn) withLiterals() string {
	c.t.Helper()
	l := c.Line()
	for strings.HasSuffix(l, "}") {
		n, err := strconv.Atoi(l[strings.LastIndexByte(l, '{')+1 : len(l)-1])
		if err != nil {
			return l
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c.r, b); err != nil {
			c.t.Fatalf("literal of %d octets: %v", n, err)
		}
		l += "\n" + string(b) + c.Line()
	}
	return l
}

// Literal gives the first literal of a line of Untagged.
func Literal(line string) string {
	head, rest, ok := strings.Cut(line, "}\n")
	n, err := strconv.Atoi(head[strings.LastIndexByte(head, '{')+1:])
	if !ok || err != nil || n > len(rest) {
		return ""
	}
	return rest[:n]
}

// Inbox gives the messages of an account's INBOX, whole, by IMAP.
func (s *Server) Inbox(user, password string) []string {
	s.t.Helper()
	c := s.IMAP(user, password)
	defer func() { _ = c.Close() }()
	c.Command("EXAMINE INBOX")
	var all []string
	_, lines := c.Untagged("UID FETCH 1:* (BODY.PEEK[])")
	for _, l := range lines {
		if strings.Contains(l, " FETCH ") {
			all = append(all, Literal(l))
		}
	}
	return all
}
