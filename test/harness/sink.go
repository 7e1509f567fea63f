package harness

import (
	"bufio"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Sink is a foreign mail server that answers as it is told.
type Sink struct {
	Addr string

	ln      net.Listener
	mu      sync.Mutex
	replies map[string]string
	rcpt    func(path string) string
	end     func()
	taken   []Taken
	greeted int
	tls     *tls.Config
}

// Taken is a message that a Sink took, dots undone.
type Taken struct {
	From      string // the argument of MAIL FROM:, parameters included
	To        []string
	Text      string
	At        time.Time
	Connected time.Time // when the connection it came by was accepted
	TLS       bool      // it came under TLS
}

// StartSink listens until the test ends.
func StartSink(t testing.TB, addr string) *Sink {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := &Sink{Addr: ln.Addr().String(), ln: ln, replies: map[string]string{}}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

// Set makes a command be answered so from now on: "MAIL", "RCPT", "RCPT <x@y>" for one address, "DATA", "." for the
// end of data, "" for the greeting. An empty reply makes it an ordinary server again, "close" closes the connection.
func (s *Sink) Set(command, reply string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reply == "" {
		delete(s.replies, command)
		return
	}
	s.replies[command] = reply
}

// SetTLS makes it offer STARTTLS with a certificate from now on; nil ends that. A configuration without one breaks the
// handshake.
func (s *Sink) SetTLS(c *tls.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tls = c
}

// Taken gives the messages it took.
func (s *Sink) Taken() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Taken(nil), s.taken...)
}

// SetRcpt has fn answer each RCPT, given its path with the angle brackets; "" leaves it to Set. It is called
// concurrently.
func (s *Sink) SetRcpt(fn func(path string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcpt = fn
}

// SetEnd has fn called when the end of a message was read, before it is answered: a server may be killed there. It is
// called concurrently.
func (s *Sink) SetEnd(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end = fn
}

// Drain gives the messages it took and forgets them.
func (s *Sink) Drain() []Taken {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.taken
	s.taken = nil
	return t
}

// Connections counts them.
func (s *Sink) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.greeted
}

func (s *Sink) reply(command, otherwise string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.replies[command]; ok {
		return r
	}
	return otherwise
}

// rcptReply answers a RCPT.
func (s *Sink) rcptReply(path string) string {
	s.mu.Lock()
	fn := s.rcpt
	s.mu.Unlock()
	if fn != nil {
		if r := fn(path); r != "" {
			return r
		}
	}
	return s.reply("RCPT "+path, s.reply("RCPT", "250 2.1.5 ok"))
}

// sinkSession is one connection.
type sinkSession struct {
	*Sink
	c     net.Conn
	r     *bufio.Reader
	began time.Time
	tx    Taken
}

func (s *Sink) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	s.mu.Lock()
	s.greeted++
	s.mu.Unlock()
	x := &sinkSession{Sink: s, c: c, r: bufio.NewReader(c), began: time.Now()}
	x.say(s.reply("", "220 sink.test ESMTP"))
	for {
		line, err := x.r.ReadString('\n')
		if err != nil || !x.command(strings.TrimRight(line, "\r\n")) {
			return
		}
	}
}

func (x *sinkSession) say(reply string) bool {
	if reply == "close" {
		_ = x.c.Close()
		return false
	}
	_, _ = x.c.Write([]byte(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n"))
	return reply[0] == '2' || reply[0] == '3'
}

// command answers one line; false ends the connection.
func (x *sinkSession) command(line string) bool {
	verb, _, _ := strings.Cut(strings.ToUpper(line), " ")
	_, path, _ := strings.Cut(line, ":")
	switch verb {
	case "EHLO":
		offer := ""
		if x.tlsConfig() != nil {
			offer = "250-STARTTLS\n"
		}
		x.say(x.reply(verb, "250-sink.test\n"+offer+"250-PIPELINING\n250-8BITMIME\n250-SMTPUTF8\n250-ENHANCEDSTATUSCODES\n250 SIZE 100000000"))
	case "STARTTLS":
		return x.startTLS()
	case "MAIL":
		x.tx = Taken{From: path}
		x.say(x.reply(verb, "250 2.1.0 ok"))
	case "RCPT":
		if x.say(x.rcptReply(path)) {
			x.tx.To = append(x.tx.To, path)
		}
	case "DATA":
		if len(x.tx.To) == 0 {
			x.say("554 5.5.1 no valid recipients")
		} else if x.say(x.reply(verb, "354 go on")) {
			return x.data()
		}
	case "QUIT":
		x.say("221 2.0.0 bye")
		return false
	default:
		x.say(x.reply(verb, "250 2.0.0 ok"))
	}
	return true
}

// tlsConfig is what STARTTLS is offered with; nil when it is not.
func (x *sinkSession) tlsConfig() *tls.Config {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, already := x.c.(*tls.Conn); already {
		return nil
	}
	return x.tls
}

func (x *sinkSession) startTLS() bool {
	cfg := x.tlsConfig()
	if cfg == nil {
		x.say(x.reply("STARTTLS", "454 4.7.0 no TLS"))
		return true
	}
	if !x.say(x.reply("STARTTLS", "220 2.0.0 go")) {
		return true
	}
	c := tls.Server(x.c, cfg)
	if c.Handshake() != nil {
		return false
	}
	x.c, x.r = c, bufio.NewReader(c)
	return true
}

func (x *sinkSession) data() bool {
	var b strings.Builder
	for {
		line, err := x.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
	x.mu.Lock()
	end := x.end
	x.mu.Unlock()
	if end != nil {
		end()
	}
	if x.say(x.reply(".", "250 2.0.0 taken")) {
		x.tx.Text, x.tx.At, x.tx.Connected = b.String(), time.Now(), x.began
		_, x.tx.TLS = x.c.(*tls.Conn)
		x.mu.Lock()
		x.taken = append(x.taken, x.tx)
		x.mu.Unlock()
	}
	x.tx = Taken{}
	return true
}

// FreePort gives a port that nothing on loopback listens at.
func FreePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port
}
