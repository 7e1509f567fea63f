// Package mails is the story of real mails: what came by DATA or APPEND is read back octet for octet, by IMAP and
// POP3. What the server puts in front of mail that comes by DATA is named here, and cut off.
package mails

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	alice    = "alice@postel.test"
	password = "postel"
)

// prefix is what stands in front of a delivered message: Return-Path, Delivered-To, and one Received (RFC 5321 §4.4).
var prefix = regexp.MustCompile(`^Return-Path: <x@far\.test>\r\nDelivered-To: alice@postel\.test\r\nReceived: from client\.test \(\[127\.0\.0\.1\]\)` +
	`\r\n\tby postel\.test with ESMTP id m-[0-9a-v]{16}\r\n\tfor <alice@postel\.test>;\r\n\t[A-Z][a-z]{2}, [^\r]+\r\n`)

// letters gives the mails by name.
func letters(t *testing.T) (names []string, text map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../../internal/message/testdata/mails/*.eml")
	if err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	text = map[string]string{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, filepath.Base(f))
		text[filepath.Base(f)] = string(b)
	}
	return names, text
}

// cut takes the prefix off.
func cut(t *testing.T, name, got string) string {
	t.Helper()
	p := prefix.FindString(got)
	if p == "" {
		t.Errorf("%s: the prefix is not as named:\n%.400s", name, got)
	}
	return got[len(p):]
}

// expected is a mail as it lies below the prefix: a Return-Path that was there gives way to ours.
func expected(text string) string {
	if strings.HasPrefix(text, "Return-Path: ") {
		_, text, _ = strings.Cut(text, "\r\n")
	}
	return text
}

func TestByData(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	names, text := letters(t)
	c := harness.SMTP(t, s.Addr("smtp"))
	for _, name := range names {
		stuffed := strings.ReplaceAll("\r\n"+text[name], "\r\n.", "\r\n..")[2:]
		if r := c.Send("x@far.test", alice, stuffed); !strings.HasPrefix(r, "250 2.0.0 m-") || strings.Contains(r, "warning") {
			t.Fatalf("%s: %s", name, r)
		}
	}
	whole := byIMAP(t, s, "INBOX", len(names))
	for i, name := range names {
		if got := cut(t, name, whole[i]); got != expected(text[name]) {
			t.Errorf("%s by IMAP: %s", name, difference(got, expected(text[name])))
		}
	}
	for i, got := range byPOP3(t, s, len(names)) {
		if got != whole[i] {
			t.Errorf("%s by POP3: %s", names[i], difference(got, whole[i]))
		}
	}
}

func TestByAppend(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	names, text := letters(t)
	c := s.IMAP(alice, password)
	for i, name := range names {
		m := text[name]
		if i%2 == 0 { // in turn: waiting for the go-ahead, and not
			c.Put(fmt.Sprintf("a%d APPEND INBOX {%d+}\r\n%s\r\n", i, len(m), m))
		} else {
			c.Put(fmt.Sprintf("a%d APPEND INBOX (\\Seen) {%d}\r\n", i, len(m)))
			if l := c.Line(); !strings.HasPrefix(l, "+ ") {
				t.Fatalf("%s: %s", name, l)
			}
			c.Put(m + "\r\n")
		}
		if l := c.Line(); !strings.HasPrefix(l, fmt.Sprintf("a%d OK [APPENDUID ", i)) {
			t.Fatalf("%s: %s", name, l)
		}
	}
	whole := byIMAP(t, s, "INBOX", len(names))
	for i, name := range names {
		if whole[i] != text[name] {
			t.Errorf("%s by IMAP: %s", name, difference(whole[i], text[name]))
		}
	}
	for i, got := range byPOP3(t, s, len(names)) {
		if got != whole[i] {
			t.Errorf("%s by POP3: %s", names[i], difference(got, whole[i]))
		}
	}
}

// byIMAP reads a mailbox message for message: size, whole, in two halves, and by parts of the wire.
func byIMAP(t *testing.T, s *harness.Server, mailbox string, n int) []string {
	t.Helper()
	c := s.IMAP(alice, password)
	c.Command("EXAMINE %s", mailbox)
	var all []string
	for i := 1; i <= n; i++ {
		whole := item(t, c, i, "BODY.PEEK[]")
		_, lines := c.Untagged("FETCH %d (RFC822.SIZE)", i)
		if want := fmt.Sprintf("* %d FETCH (RFC822.SIZE %d)", i, len(whole)); len(lines) != 1 || lines[0] != want {
			t.Errorf("%q, want %q", lines, want)
		}
		half := len(whole) / 2
		if item(t, c, i, "BODY.PEEK[HEADER]")+item(t, c, i, "BODY.PEEK[TEXT]") != whole {
			t.Errorf("message %d: header and text are not the message", i)
		}
		if item(t, c, i, fmt.Sprintf("BODY.PEEK[]<0.%d>", half))+item(t, c, i, fmt.Sprintf("BODY.PEEK[]<%d.%d>", half, len(whole))) != whole {
			t.Errorf("message %d: its halves are not the message", i)
		}
		all = append(all, whole)
	}
	return all
}

var noText = regexp.MustCompile(`\] ("")\)$|<\d+> ("")\)$`)

// item fetches one body item.
func item(t *testing.T, c *harness.Conn, seq int, what string) string {
	t.Helper()
	r, lines := c.Untagged("FETCH %d (%s)", seq, what)
	if !strings.HasPrefix(r, "OK ") || len(lines) != 1 {
		t.Fatalf("FETCH %d %s: %s, %.200q", seq, what, r, lines)
	}
	if noText.MatchString(lines[0]) {
		return ""
	}
	if !strings.Contains(lines[0], "}\n") {
		t.Fatalf("FETCH %d %s: no literal in %.200q", seq, what, lines[0])
	}
	return harness.Literal(lines[0])
}

// byPOP3 reads the maildrop.
func byPOP3(t *testing.T, s *harness.Server, n int) []string {
	t.Helper()
	c := harness.Dial(t, s.Addr("pop3"))
	c.Line()
	for _, line := range []string{"USER " + alice, "PASS " + password} {
		if r := c.Say("%s", line); !strings.HasPrefix(r, "+OK") {
			t.Fatalf("%s: %s", line, r)
		}
	}
	var all []string
	for i := 1; i <= n; i++ {
		list := c.Say("LIST %d", i)
		if r := c.Say("RETR %d", i); !strings.HasPrefix(r, "+OK") {
			t.Fatalf("RETR %d: %s", i, r)
		}
		text := lines(c)
		if size := strconv.Itoa(len(text)); list != fmt.Sprintf("+OK %d %s", i, size) {
			t.Errorf("message %d has %s octets, LIST says %s", i, size, list)
		}
		all = append(all, text)
		if r := c.Say("TOP %d 1", i); !strings.HasPrefix(r, "+OK") {
			t.Fatalf("TOP %d: %s", i, r)
		}
		if top := lines(c); !strings.HasPrefix(text, top) {
			t.Errorf("TOP of message %d is not its beginning: %s", i, difference(text, top))
		}
	}
	return all
}

// lines reads a multi-line response.
func lines(c *harness.Conn) string {
	var b strings.Builder
	for {
		l := c.Line()
		if l == "." || l == harness.EOF {
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(l, ".") + "\r\n")
	}
}

// difference says where two texts part.
func difference(got, want string) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	from := max(0, i-40)
	return fmt.Sprintf("%d octets, want %d; at %d: %q, want %q", len(got), len(want), i, got[from:min(len(got), i+40)], want[from:min(len(want), i+40)])
}

// TestOddLineEnds: dev repairs a bare LF and says so, refuses bare CR and NUL; APPEND keeps what no rule forbids.
func TestOddLineEnds(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	c := harness.SMTP(t, s.Addr("smtp"))
	if r := c.Send("x@far.test", alice, "Subject: lf\n\nbare\nlines\r\n"); !strings.HasPrefix(r, "250 ") || !strings.Contains(r, "warning: 3 bare LF became CRLF") {
		t.Errorf("bare LF: %s", r)
	}
	for _, bad := range []string{"a\rb\r\n", "a\x00b\r\n"} {
		if r := c.Send("x@far.test", alice, "Subject: x\r\n\r\n"+bad); !strings.HasPrefix(r, "550 5.5.2 ") {
			t.Errorf("%q: %s", bad, r)
		}
	}
	i := s.IMAP(alice, password)
	if r := appendTo(i, "Subject: x\r\n\r\na\x00b\r\n"); !strings.HasPrefix(r, "BAD") && !strings.HasPrefix(r, "NO") {
		t.Errorf("APPEND with NUL: %s", r)
	}
	odd := "Subject: x\n\na\rb\nc"
	if r := appendTo(i, odd); !strings.HasPrefix(r, "OK") {
		t.Logf("APPEND with bare CR and LF: %s", r)
		odd = ""
	}
	all := byIMAP(t, s, "INBOX", len(s.Inbox(alice, password)))
	if cut(t, "lf", all[0]) != "Subject: lf\r\n\r\nbare\r\nlines\r\n" {
		t.Errorf("%q", all[0])
	}
	if odd != "" && (len(all) != 2 || all[1] != odd) {
		t.Errorf("%q", all)
	}
}

func appendTo(c *harness.Conn, m string) string {
	c.Put(fmt.Sprintf("o APPEND INBOX {%d+}\r\n%s\r\n", len(m), m))
	return strings.TrimPrefix(c.Line(), "o ")
}
