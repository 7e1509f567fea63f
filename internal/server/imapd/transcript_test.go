package imapd

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postel/internal/store"
)

var update = flag.Bool("update", false, "write what the server says into the transcripts")

// TestTranscripts plays testdata/*.txt. A line is
//
//	C: a1 NOOP        sent; what the server says up to its tagged or continuation line follows as S: lines
//	C2: a1 NOOP       the same by another session
//	C+: a1 NOOP       sent, nothing is read yet; also a line that ends in a non-synchronising literal
//	S: …              what the server said; written by -update
//	% word            something done to the server, see directive
//	# …               a comment
func TestTranscripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	must(t, err)
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(name)
			must(t, err)
			p := &player{t: t, o: setup{clearAuth: true}, clients: map[string]*client{}, tags: map[string]string{}}
			got := p.play(string(want))
			if *update {
				must(t, os.WriteFile(name, []byte(got), 0o644))
				return
			}
			if d := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); d != "" {
				t.Error(d)
			}
		})
	}
}

type player struct {
	t       *testing.T
	o       setup
	w       *world
	clients map[string]*client
	tags    map[string]string // of what a session has not been answered yet
	out     bytes.Buffer
}

func (p *player) play(script string) string {
	for line := range strings.SplitSeq(strings.TrimSuffix(script, "\n"), "\n") {
		who, text, ok := strings.Cut(line, ": ")
		if line == "C:" {
			who, ok = "C", true
		}
		switch {
		case strings.HasPrefix(line, "S"):
		case strings.HasPrefix(line, "% "):
			p.out.WriteString(line + "\n")
			p.directive(append(strings.Fields(line[2:]), ""))
		case ok && strings.HasPrefix(line, "C"):
			p.out.WriteString(line + "\n")
			name, later := strings.CutSuffix(who[1:], "+")
			p.say(name, text, later || strings.HasSuffix(text, "+}"))
		default:
			p.out.WriteString(line + "\n")
		}
	}
	return p.out.String()
}

// client gives a session by its name, opened when it is new.
func (p *player) client(name string) *client {
	if p.w == nil {
		p.w = start(p.t, p.o)
	}
	c := p.clients[name]
	if c == nil {
		c = p.w.dial()
		p.clients[name] = c
		p.heard(name, []string{c.line()})
	}
	return c
}

func (p *player) say(name, text string, later bool) {
	c := p.client(name)
	c.send(unescape(text))
	if word, _, _ := strings.Cut(text, " "); p.tags[name] == "" {
		p.tags[name] = word
	}
	if later {
		return
	}
	lines := c.until(p.tags[name])
	p.heard(name, lines)
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "+") {
		p.tags[name] = ""
	}
}

// unescape lets transcripts hold octets that are no text.
func unescape(s string) string {
	return strings.NewReplacer(`\x00`, "\x00", `\x80`, "\x80", `\r`, "\r").Replace(s)
}

var sessionID = regexp.MustCompile(`s-[0-9a-v]{16}`)

func (p *player) heard(name string, lines []string) {
	for _, l := range lines {
		p.out.WriteString("S" + name + ": " + sessionID.ReplaceAllString(l, "s-…") + "\n")
	}
}

// directive does something beside the protocol.
func (p *player) directive(words []string) {
	switch words[0] {
	case "tls-only":
		p.o.clearAuth = false
	case "no-tls":
		p.o.noTLS = true
	case "quota":
		p.o.quota = 100
	case "login": // NAME: opens a session of alice without a word in the transcript
		c := p.client(words[1])
		c.do("LOGIN alice secret")
	case "select": // NAME MAILBOX: selects without a word in the transcript
		p.client(words[1]).do("SELECT %s", words[2])
	case "starttls": // NAME: the handshake
		p.client(words[1]).startTLS()
	case "read": // NAME: one line that comes by itself
		c := p.client(words[1])
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		p.heard(words[1], []string{c.line()})
	case "hello": // MAILBOX [FLAG…]: a small message comes
		p.client("")
		p.w.deliver(words[1], hello, flagWords(words[2:]))
	case "mails": // MAILBOX: the messages of mails_test.go come
		p.client("")
		for _, m := range mails {
			p.w.deliver(words[1], m, 0)
		}
	case "bad": // n: that many bad commands by the first session
		for range 19 {
			p.client("").send("x BADCOMMAND")
			p.client("").line()
		}
	default:
		p.t.Fatalf("unknown directive %q", words)
	}
}

func flagWords(words []string) (f store.Flags) {
	for _, w := range words {
		f |= map[string]store.Flags{"seen": store.Seen, "deleted": store.Deleted, "flagged": store.Flagged}[w]
	}
	return f
}
