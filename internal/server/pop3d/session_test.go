package pop3d

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postel/internal/proto/pop3"
	"postel/internal/proto/sasl"
	"postel/internal/store"
)

var update = flag.Bool("update", false, "rewrite the transcripts")

// options reads the words of a transcript's first line.
func options(t *testing.T, words string) Options {
	o := Options{AllowClearAuth: true}
	for w := range strings.FieldsSeq(words) {
		switch w {
		case "tls":
			o.TLS = testTLS(t)
		case "secure":
			o.TLS, o.AllowClearAuth = testTLS(t), false
		case "apop":
			o.SASL = &sasl.Server{Shared: sasl.ForPOP3, Host: "pop.test", Nonce: func() string { return "once" }}
		case "small":
			o.MaxBadCommands, o.MaxFailedLogins = 4, 2
		case "hasty":
			o.IdleTimeout = 500 * time.Millisecond
		case "rushed":
			o.LoginTimeout = 500 * time.Millisecond
		default:
			t.Fatalf("option %s", w)
		}
	}
	return o
}

// TestSessions plays the transcripts in testdata/sessions. Their lines:
//
//	# options             of the server, in the first line
//	C: text               the client sends the line
//	C> text               it sends the line together with the next one
//	C "text\r\n"          it sends just these octets, quoted as in Go
//	C! SECRET             it sends APOP with the digest of the secret
//	PAUSE                 ends a write without waiting for a reply
//	S: text               the server sends the line, ids made alike
//	USE n                 goes on with the n-th connection, which is made where it is missing
//	TLS                   the client begins TLS
//	DELIVER, REMOVE       a message comes, or all go, by another way
//	STOP                  the server is told to stop
//	HANGUP                the client closes
//	CLOSED                the server has closed
//	LEFT n                messages that are in INBOX now
//
// With -update the S, CLOSED and LEFT lines are written anew.
func TestSessions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := play(t, string(text))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("%s\n--- got\n%s--- want\n%s", f, got, text)
			}
		})
	}
}

// player plays one transcript.
type player struct {
	t   *testing.T
	rig *rig
	*peer
	out strings.Builder
}

// peer is one connection.
type peer struct {
	name  string
	conn  net.Conn
	r     *bufio.Reader
	stamp string
}

func play(t *testing.T, text string) string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	p := &player{t: t, rig: newRig(t, options(t, strings.TrimPrefix(lines[0], "#")))}
	p.rig.samples(t)
	peers := map[string]*peer{}
	p.use(peers, "1")
	defer func() {
		for _, c := range peers {
			_ = c.conn.Close()
		}
	}()
	p.out.WriteString(lines[0] + "\n")
	p.listen(want(lines[1:]))
	var write strings.Builder
	for i, l := range lines[1:] {
		if theirs(l) {
			continue
		}
		if l != "LEFT" && !strings.HasPrefix(l, "LEFT ") {
			p.out.WriteString(l + "\n")
		}
		if name, ok := strings.CutPrefix(l, "USE "); ok {
			p.use(peers, name)
		}
		if p.prepare(&write, l) {
			continue
		}
		_, _ = io.WriteString(p.conn, write.String())
		write.Reset()
		if l == "HANGUP" {
			_ = p.conn.Close()
			p.rig.settle(len(peers) - 1)
		}
		p.listen(want(lines[i+2:]))
	}
	return p.out.String()
}

// settle waits until so many sessions are left at most.
func (r *rig) settle(n int) {
	for i := 0; i < 4000 && r.server.Stats().Open > int64(n); i++ {
		time.Sleep(time.Millisecond)
	}
}

func (p *player) use(peers map[string]*peer, name string) {
	if peers[name] == nil {
		conn, err := net.Dial("tcp", p.rig.ln.Addr().String())
		if err != nil {
			p.t.Fatal(err)
		}
		peers[name] = &peer{name: name, conn: conn, r: bufio.NewReader(conn)}
	}
	p.peer = peers[name]
}

// prepare takes an action line, and tells whether it only adds to what is to be written.
func (p *player) prepare(write *strings.Builder, l string) bool {
	switch {
	case strings.HasPrefix(l, "C: "), strings.HasPrefix(l, "C> "):
		write.WriteString(l[3:] + "\r\n")
		return l[1] == '>'
	case strings.HasPrefix(l, "C! "):
		write.WriteString("APOP alice@postel.test " + pop3.DigestOf(p.stamp, l[3:]) + "\r\n")
	case strings.HasPrefix(l, "C \""):
		s, err := strconv.Unquote(l[2:])
		if err != nil {
			p.t.Fatal(l, err)
		}
		write.WriteString(s)
	case l == "TLS":
		_ = p.conn.SetDeadline(time.Now().Add(5 * time.Second))
		c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true})
		if err := c.Handshake(); err != nil {
			p.t.Error(err)
		}
		p.conn, p.r = c, bufio.NewReader(c)
	case l == "STOP":
		go p.rig.stop(5 * time.Second)
	case l == "DELIVER":
		p.rig.deliver(p.t, "", "Subject: late\r\n\r\nlate\r\n")
	case l == "REMOVE":
		if _, err := p.rig.store.Expunge(p.t.Context(), p.rig.alice, store.Inbox, []store.UID{1, 2, 3, 4}); err != nil {
			p.t.Fatal(err)
		}
	case strings.HasPrefix(l, "LEFT"):
		p.out.WriteString("LEFT " + strconv.Itoa(int(p.rig.left(p.t))) + "\n")
	case l == "PAUSE", l == "HANGUP", strings.HasPrefix(l, "#"), l == "", strings.HasPrefix(l, "USE "):
	default:
		p.t.Fatalf("what is %q?", l)
	}
	return false
}

func theirs(l string) bool { return strings.HasPrefix(l, "S: ") || l == "CLOSED" }

// want gives the S and CLOSED lines at the front.
func want(lines []string) []string {
	for i, l := range lines {
		if !theirs(l) {
			return lines[:i]
		}
	}
	return lines
}

var (
	anID    = regexp.MustCompile(`\b([sm])-[0-9a-v]{16}`)
	aStamp  = regexp.MustCompile(`<[0-9a-v]{16}\.\d+@`)
	inAngle = regexp.MustCompile(`<[^>]*>`)
)

// listen writes down what the server says: as many lines as are wanted, or all that come soon when updating.
func (p *player) listen(want []string) {
	n, closed := 0, false
	for _, w := range want {
		if strings.HasPrefix(w, "S: ") {
			n++
		}
		closed = closed || w == "CLOSED"
	}
	patience := 3 * time.Second
	if *update {
		n, closed, patience = 1<<30, true, 250*time.Millisecond
	}
	for i := 0; i < n || closed; i++ {
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		line, err := p.r.ReadString('\n')
		if err != nil {
			var ne net.Error
			if closed && !(errors.As(err, &ne) && ne.Timeout()) && !errors.Is(err, net.ErrClosed) {
				p.out.WriteString("CLOSED\n")
				_ = p.conn.Close() // else it lingers
			}
			return
		}
		line = strings.TrimRight(line, "\r\n")
		if p.stamp == "" {
			p.stamp = inAngle.FindString(line)
		}
		line = aStamp.ReplaceAllString(anID.ReplaceAllString(line, "$1-ID"), "<ID@")
		p.out.WriteString("S: " + line + "\n")
	}
}
