package smtpd

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"postel/internal/proto/smtp"
	"postel/internal/server/listen"
)

// lookAlikes are what some server somewhere took for the end of a message.
func lookAlikes() []string {
	return []string{
		// other line ends around the dot
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r", "\n\r.\n\r", "\r\n.\n\r\n", "\r\n.\r\r\n", "\r\r\n.\r\r\n",
		"\r\n\r.\r\n", "\r\n\n.\n\r\n",
		// NUL and other controls
		"\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n", "\r\x00\n.\r\n", "\x0b.\x0b", "\x0c.\x0c", "\r\n.\x1a\r\n",
		// line ends of other alphabets, and octets with the eighth bit set
		"\x85.\x85", "\u0085.\u0085", "\u2028.\u2028", "\x8d\x8a.\x8d\x8a", "\r\n\xae\r\n", "\r\n\xc0\xae\r\n",
		// dots and blanks
		"\r\n..\r\n", "\r\n...\r\n", "\r\n. \r\n", "\r\n.\t\r\n", "\r\n .\r\n", "\r\n=2E\r\n",
	}
}

const evil = "MAIL FROM:<evil@b.org>\r\nRCPT TO:<evil@b.org>\r\nDATA\r\nevil\r\n"

// TestLookAlikes: whatever looks like the end of a message is none: one message or none comes of it, by DATA and by BDAT, and
// what would be sent on of it has no second end for any server (RFC 5321 §4.1.1.4).
func TestLookAlikes(t *testing.T) {
	t.Parallel()
	for _, look := range lookAlikes() {
		for _, o := range []Options{{}, {BareLF: smtp.RepairBareLF, Forgiving: true}} {
			for _, chunks := range []bool{false, true} {
				k, replies := &keeper{}, ""
				content := "body" + look + evil
				o.Policy, o.Hostname = k, "mx.test"
				if chunks {
					half := len(content) / 2
					replies = talk(t, o, "EHLO c\r\n", "MAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\n"+
						fmt.Sprintf("BDAT %d\r\n%sBDAT %d LAST\r\n%s", half, content[:half], len(content)-half, content[half:])+"QUIT\r\n")
				} else {
					replies = talk(t, o, "EHLO c\r\n", "MAIL FROM:<a@b.org>\r\nRCPT TO:<b@b.org>\r\nDATA\r\n", content+".\r\nQUIT\r\n")
				}
				if n := strings.Count(replies, " sender ok"); n != 1 || strings.Count(replies, "221 2.0.0") != 1 || len(k.kept) > 1 || k.open != 0 {
					t.Errorf("%q: %d messages taken, %d begun\n%s", look, len(k.kept), n, replies)
				}
				for _, m := range k.contents {
					sentOn(t, look, m)
				}
			}
		}
	}
}

// sentOn checks what a message is when it goes to the next server.
func sentOn(t *testing.T, look, m string) {
	t.Helper()
	var wire bytes.Buffer
	w := smtp.NewDataWriter(bufio.NewWriter(&wire))
	_, _ = io.WriteString(w, m)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if rest := strings.ReplaceAll(wire.String(), "\r\n", ""); strings.ContainsAny(rest, "\r\n\x00") {
		t.Errorf("%q: sent on with other line ends than CRLF: %q", look, wire.String())
	}
	all := strings.Split(strings.TrimSuffix(wire.String(), "\r\n"), "\r\n")
	for i, l := range all {
		if l == "." && i < len(all)-1 {
			t.Errorf("%q: sent on with two ends: %q", look, wire.String())
		}
	}
}

// talk sends each part when all of the last was answered, and gives the replies.
func talk(t testing.TB, o Options, parts ...string) string {
	t.Helper()
	l := listen.New(listen.Options{Handler: New(o)})
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		l.ServeConn(theirs)
		close(done)
	}()
	_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(ours)
	var out strings.Builder
	read := func(n int) bool {
		for n > 0 {
			line, err := r.ReadString('\n')
			out.WriteString(line)
			if err != nil {
				return false
			}
			if len(line) > 3 && line[3] == ' ' {
				n--
			}
		}
		return true
	}
	read(1)
	for i, p := range parts {
		go func() { _, _ = io.WriteString(ours, p) }()
		n := 1 << 20
		if i < len(parts)-1 {
			n = strings.Count(p, "\r\n")
		}
		if !read(n) {
			break
		}
	}
	_ = ours.Close()
	<-done
	return out.String()
}

// TestForeignFirstWords: who speaks another protocol gets no foot in the door.
func TestForeignFirstWords(t *testing.T) {
	t.Parallel()
	for _, words := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@b.org>\r\n", "POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\nEHLO x\r\nMAIL FROM:<a@b.org>\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "SSH-2.0-OpenSSH_9.6\r\n", "a1 LOGIN alice postel\r\n", "USER alice\r\nPASS postel\r\n", "\x16\x03\x01\x00\xa5\x01",
		"\x05\x01\x00", "\x04\x01\x00\x19\x7f\x00\x00\x01\x00", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "\r\n\r\n\x00\r\nQUIT\nPROXY", "OPTIONS sip:x SIP/2.0\r\n",
		"LHLO x\r\n", "HELLO x\r\n", "STAT\r\n", "* OK ready\r\n", "\xff\xfb\x18\xff\xfb\x1f", "{\"jsonrpc\":\"2.0\"}\r\n", "<?xml version='1.0'?>\r\n",
	} {
		k := &keeper{}
		replies := talk(t, Options{Policy: k, Hostname: "mx.test", IdleTimeout: 200 * time.Millisecond}, words)
		for i, l := range strings.Split(strings.TrimSpace(replies), "\r\n") {
			if i > 0 && l[0] != '5' && !strings.HasPrefix(l, "421 ") {
				t.Errorf("%q: %s", words, l)
			}
		}
		if len(k.take()) > 0 {
			t.Errorf("%q began a transaction", words)
		}
	}
}

// TestEndless: 64 MiB without a line end, as a command, as content and as a chunk, are cut off or refused, in little memory.
func TestEndless(t *testing.T) {
	const mib = 64
	for _, c := range []struct{ name, begin, want string }{
		{"command", "", "421 4.7.0"},
		{"content", "EHLO c\r\nMAIL FROM:<lazy@b.org>\r\nRCPT TO:<b@b.org>\r\nDATA\r\n", "552 5.3.4"},
		{"chunk", fmt.Sprintf("EHLO c\r\nMAIL FROM:<lazy@b.org>\r\nRCPT TO:<b@b.org>\r\nBDAT %d LAST\r\n", mib<<20), "552 5.3.4"},
		{"chunk of nothing", fmt.Sprintf("EHLO c\r\nBDAT %d LAST\r\n", mib<<20), "503 5.5.1"},
	} {
		before := heap()
		l := listen.New(listen.Options{Handler: New(Options{Policy: &fakePolicy{}, Hostname: "mx.test", Forgiving: true, MaxSize: 8 << 20})})
		ours, theirs := net.Pipe()
		go l.ServeConn(theirs)
		_ = ours.SetDeadline(time.Now().Add(30 * time.Second))
		sent := 0
		go func() {
			piece := []byte(strings.Repeat("x", 64<<10))
			_, err := io.WriteString(ours, c.begin)
			for err == nil && sent < mib<<20 {
				_, err = ours.Write(piece)
				sent += len(piece)
			}
		}()
		replies, _ := io.ReadAll(ours)
		if !strings.Contains(string(replies), "\r\n"+c.want) {
			t.Errorf("%s: %s", c.name, replies)
		}
		if used := int64(heap()) - int64(before); used > 4<<20 {
			t.Errorf("%s: %d octets of memory", c.name, used)
		}
		_ = ours.Close()
		runtime.KeepAlive(l)
	}
}
