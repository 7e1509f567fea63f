package mta

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/observe"
	"postel/internal/vfs"
)

// sink is a small SMTP server in memory, reached through dial. What it says to a command can be changed by its verb.
type sink struct {
	t       testing.TB
	replies map[string]string // by verb in capitals, GREETING, and END for the end of data
	ehlo    []string          // extensions
	cert    *tls.Certificate  // for STARTTLS; nil breaks the handshake
	lmtp    bool              // a reply a recipient behind the content
	// bad may behave badly in place of a reply, or in the middle of the content (BODY). It tells whether it did, and
	// whether the conversation goes on.
	bad func(k *talk, stage, normal string) (did, goOn bool)

	mu       sync.Mutex
	dialled  int
	commands []string
	messages []string
	copies   map[string]int // of messages that came whole, by recipient
	tls      bool
}

func (s *sink) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	s.mu.Lock()
	s.dialled++
	s.mu.Unlock()
	go s.serve(newRoomy(theirs))
	return ours, nil
}

func (s *sink) reply(verb, normal string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.replies[verb]; ok {
		return r
	}
	return normal
}

// talk is one conversation of a sink.
type talk struct {
	*sink
	raw    net.Conn
	conn   net.Conn // raw, or TLS over it
	r      *bufio.Reader
	rcpts  []string // of the transaction
	spoilt bool     // the last reply was a bad one
	secure bool
}

func (s *sink) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }() // without the farewell of TLS
	k := &talk{sink: s, raw: conn, conn: conn, r: bufio.NewReader(conn)}
	for goOn := k.say("GREETING", "220 sink.test"); goOn; {
		line, err := k.r.ReadString('\n')
		goOn = err == nil && k.obey(strings.TrimSpace(line))
	}
}

// say gives the reply to a command, and tells whether the conversation goes on.
func (k *talk) say(stage, normal string) bool {
	if k.spoilt = false; k.bad != nil {
		if did, goOn := k.bad(k, stage, normal); did {
			k.spoilt = true
			return goOn
		}
	}
	text := k.reply(stage, normal)
	if text == "close" {
		return false
	}
	_, err := fmt.Fprintf(k.conn, "%s\r\n", text)
	return err == nil
}

// obey does what a command says.
func (k *talk) obey(line string) bool {
	k.mu.Lock()
	k.commands = append(k.commands, line)
	k.mu.Unlock()
	verb := strings.ToUpper(strings.FieldsFunc(line+" .", func(r rune) bool { return r == ' ' || r == ':' })[0])
	_, overridden := k.replies[verb]
	switch {
	case verb == "EHLO" || verb == "LHLO":
		return k.say(verb, strings.Join(append([]string{"250-sink.test"}, k.ehlo...), "\r\n")+"\r\n250 SIZE 100000")
	case verb == "STARTTLS":
		return k.say(verb, "220 go") && (k.spoilt || k.encrypt())
	case verb == "AUTH":
		return k.say(verb, "235 2.7.0 ok")
	case verb == "MAIL":
		k.rcpts = []string{}
		goOn := k.say(verb, "250 2.0.0 ok")
		if k.spoilt {
			k.rcpts = nil // there is no transaction
		}
		return goOn
	case k.bad != nil && k.rcpts == nil && verb == "RCPT", k.bad != nil && len(k.rcpts) == 0 && verb == "DATA":
		return k.say("", "503 5.5.1 no")
	case verb == "RCPT":
		return k.rcpt(strings.Trim(strings.Fields(line)[1], "TO:<>"))
	case verb == "DATA":
		return k.say(verb, "354 go") && (k.spoilt || !strings.HasPrefix(k.reply(verb, "354 go"), "354") || k.data() && k.end())
	case verb == "BDAT" && !overridden: // else it does not know BDAT and takes the content for commands
		return k.chunk(line) && k.end()
	case verb == "QUIT":
		return k.say(verb, "221 bye") && false
	}
	return k.say(verb, "250 2.0.0 ok")
}

func (k *talk) rcpt(to string) bool {
	k.rcpts = append(k.rcpts, to)
	goOn := k.say("RCPT", "250 2.0.0 ok")
	if k.spoilt {
		k.rcpts = k.rcpts[:len(k.rcpts)-1]
	}
	return goOn
}

func (k *talk) encrypt() bool {
	if k.cert == nil {
		return false
	}
	t := tls.Server(k.raw, &tls.Config{Certificates: []tls.Certificate{*k.cert}, SessionTicketsDisabled: true})
	if t.Handshake() != nil {
		return false
	}
	k.mu.Lock()
	k.tls = true
	k.mu.Unlock()
	k.conn, k.r, k.secure = t, bufio.NewReader(t), true
	return true
}

// data reads the content up to its dot.
func (k *talk) data() bool {
	var b strings.Builder
	for {
		line, err := k.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			break
		}
		if b.WriteString(line); b.Len() > 5000 && b.Len()-len(line) <= 5000 && !k.middle() {
			return false
		}
	}
	k.keep(b.String())
	return true
}

// chunk reads the content that BDAT announces; all of it is in one.
func (k *talk) chunk(line string) bool {
	n, err := strconv.Atoi(strings.Fields(line)[1])
	if err != nil {
		return false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(k.r, b[:min(n, 5000)]); err != nil || !k.middle() {
		return false
	}
	if _, err := io.ReadFull(k.r, b[min(n, 5000):]); err != nil {
		return false
	}
	k.keep(string(b))
	return true
}

// middle may behave badly in the middle of the content.
func (k *talk) middle() bool {
	if k.spoilt = false; k.bad == nil {
		return true
	}
	did, goOn := k.bad(k, "BODY", "")
	k.spoilt = did
	return !did || goOn
}

func (k *talk) keep(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.messages = append(k.messages, text)
}

// end says what becomes of the message, in LMTP for each recipient; nothing when it was refused in its middle.
func (k *talk) end() bool {
	switch {
	case k.spoilt:
		return true
	case k.bad != nil && len(k.rcpts) == 0:
		return k.say("", "503 5.5.1 no")
	}
	k.count(1, k.rcpts...)
	if !k.lmtp {
		return k.say("END", "250 2.0.0 taken")
	}
	for i := range k.rcpts {
		if !k.say([]string{"END", "END2"}[min(i, 1)], "250 2.0.0 taken") {
			return false
		}
	}
	return true
}

// count counts copies for recipients.
func (s *sink) count(n int, rcpts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies == nil {
		s.copies = map[string]int{}
	}
	for _, r := range rcpts {
		s.copies[r] += n
	}
}

// roomy is an end of a pipe with room for what is written to it, as a socket has.
type roomy struct {
	net.Conn
	out    chan []byte
	broken chan struct{} // the other end is closed
	once   sync.Once
}

func newRoomy(c net.Conn) *roomy {
	r := &roomy{Conn: c, out: make(chan []byte, 64), broken: make(chan struct{})}
	go func() {
		defer close(r.broken)
		for p := range r.out {
			if _, err := c.Write(p); err != nil || p == nil {
				return
			}
		}
	}()
	return r
}

func (r *roomy) Write(p []byte) (int, error) {
	select {
	case r.out <- bytes.Clone(p):
		return len(p), nil
	case <-r.broken:
		return 0, net.ErrClosed
	}
}

// Close waits a little for what was written to be read.
func (r *roomy) Close() error {
	r.once.Do(func() {
		select {
		case r.out <- nil:
		case <-r.broken:
		case <-time.After(time.Second):
		}
		select {
		case <-r.broken:
		case <-time.After(time.Second):
		}
	})
	return r.Conn.Close()
}

func certificate(t testing.TB) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"mx.remote.test"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// withSink gives a fixture that speaks real SMTP to s.
func withSink(t *testing.T, s *sink, edit func(*Options)) *fixture {
	s.t = t
	f := newFixture(t, vfs.NewMem(), func(o *Options) {
		o.Dial = s.dial
		o.IDs = new(mail.IDs)
		o.Glass = observe.NewGlass(o.IDs, time.Now, nil)
		if edit != nil {
			edit(o)
		}
	})
	f.MTA.open = f.openSession
	f.initAccounts(alice)
	f.start()
	return f
}
