// Package full is the story of a server whose disk fills up: with mail, and by another program in one go. It lies on a
// small file system of its own, for which it needs to be root.
package full

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

const (
	ann      = "ann@example.test"
	password = "sesame"
	size     = 144 << 20 // of the disk
	piece    = 1 << 20   // of a message
)

const company = `storage.ballast = "16MiB"
admin = "ann@example.test"

[[domain]]
name = "example.test"

[[route]]
domain = "far.test"
host = "127.0.0.1"
port = %d
tls = "never"
`

// small gives the configuration of a server whose data directory is a small file system; "" where nothing can be mounted.
func small(t *testing.T, port int) string {
	t.Helper()
	config := harness.WriteConfig(t, fmt.Sprintf(company, port))
	data := filepath.Join(filepath.Dir(config), "data")
	if err := os.Mkdir(data, 0o711); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, fmt.Sprintf("size=%d,mode=711", size)); err != nil {
		t.Logf("no small disk can be had, nothing is shown: mount: %v", err)
		return ""
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(data, 0); err != nil {
			t.Error(err)
		}
	})
	out, code := harness.Run(t, password+"\n", harness.Binary(t), "account", "add", ann, "--password-stdin", "--config", config)
	if code != 0 {
		t.Fatalf("account add: %d\n%s", code, out)
	}
	return config
}

// letter gives a message of some octets that nothing can compress.
func letter(t *testing.T, subject string, octets int) string {
	t.Helper()
	noise := make([]byte, octets/4*3)
	_, _ = rand.Read(noise)
	text := base64.StdEncoding.EncodeToString(noise)
	var b strings.Builder
	fmt.Fprintf(&b, "From: x@far.test\r\nTo: %s\r\nSubject: %s\r\nDate: Mon, 20 Jul 2026 10:00:00 +0000\r\n\r\n", ann, subject)
	for len(text) > 0 {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return b.String()
}

// fill sends mail until it is refused, and gives how many messages were taken, and the refusal.
func fill(t *testing.T, s *harness.Server, octets, from int) (int, string) {
	t.Helper()
	c := harness.SMTP(t, s.Addr("smtp"))
	for i := from; i < from+3000; i++ {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		r := c.Send("x@far.test", ann, letter(t, fmt.Sprintf("n%d", i), octets))
		if !strings.HasPrefix(r, "250") {
			return i, r
		}
	}
	t.Fatal("the disk is never full")
	return 0, ""
}

func status(t *testing.T, s *harness.Server) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + s.Addr("web") + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// TestFull fills the disk with mail, looks at every door, removes mail, and sends again.
func TestFull(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk")
	}
	sink := harness.StartSink(t, "127.0.0.1:0")
	sink.Set("MAIL", "451 4.0.0 later")
	var port int
	if _, err := fmt.Sscanf(sink.Addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	config := small(t, port)
	if config == "" {
		return
	}
	s := harness.ServeFile(t, config)
	queued := enqueue(t, s)
	large, refusal := fill(t, s, piece, 0)
	if !strings.HasPrefix(refusal, "452 4.3.1 ") {
		t.Fatalf("after %d large messages: %s", large, refusal)
	}
	t.Logf("%d messages of 1 MiB fit", large)
	n, refusal := fill(t, s, 60<<10, large)
	if !strings.HasPrefix(refusal, "452 4.3.1 ") || large < 25 {
		t.Fatalf("after %d messages: %s", n, refusal)
	}
	doors(t, s, config)
	reads(t, s, n, "n")

	c := s.IMAP(ann, password)
	c.Command("SELECT INBOX")
	for _, line := range []string{`STORE 1:24 +FLAGS (\Deleted)`, "EXPUNGE", `STORE 1:* +FLAGS (\Seen)`} {
		if r := c.Command("%s", line); !strings.HasPrefix(r, "OK ") {
			t.Errorf("%s: %s", line, r)
		}
	}
	if out, code := s.Postel("queue", "drop", queued); code != 0 {
		t.Errorf("queue drop: %d %s", code, out)
	}
	again(t, s, 20*time.Second)
	reads(t, s, n-24+1, "")
}

// enqueue submits a message that cannot be delivered now, and gives the id of its item.
func enqueue(t *testing.T, s *harness.Server) string {
	t.Helper()
	text := strings.Replace(letter(t, "to be dropped", 500), "x@far.test", ann, 1)
	if r := s.Submission(ann, password).Send(ann, "far@far.test", text); !strings.HasPrefix(r, "250") {
		t.Fatal(r)
	}
	out, code := s.Postel("queue", "list", "--json")
	var item struct{ ID string }
	if err := json.Unmarshal([]byte(out), &item); err != nil || code != 0 || item.ID == "" {
		t.Fatalf("queue list: %d %v\n%s", code, err, out)
	}
	return item.ID
}

// again waits until mail is taken.
func again(t *testing.T, s *harness.Server, within time.Duration) {
	t.Helper()
	began := time.Now()
	for {
		c := harness.SMTP(t, s.Addr("smtp"))
		r := c.Send("x@far.test", ann, letter(t, "again", 100))
		_ = c.Close()
		if strings.HasPrefix(r, "250") {
			t.Logf("mail is taken again after %v", time.Since(began).Round(10*time.Millisecond))
			break
		}
		if !strings.HasPrefix(r, "452 4.3.1 ") {
			t.Fatalf("refused otherwise: %s", r)
		}
		if time.Since(began) > within {
			t.Fatalf("mail is not taken within %v: %s\n%s", within, r, s.Log())
		}
		time.Sleep(250 * time.Millisecond)
	}
	if code, text := status(t, s); code != 200 {
		t.Errorf("/readyz: %d %s", code, text)
	}
}

// doors tries all ways in: each says that there is no room.
func doors(t *testing.T, s *harness.Server, config string) {
	t.Helper()
	check := func(door, got, want string) {
		t.Helper()
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q, want %s", door, got, want)
		}
	}
	c := harness.SMTP(t, s.Addr("smtp"))
	check("SMTP with SIZE", c.Say("MAIL FROM:<x@far.test> SIZE=1000"), "452 4.3.1 ")
	check("SMTP without", c.Say("MAIL FROM:<x@far.test>"), "452 4.3.1 ")
	l := harness.Dial(t, s.Addr("lmtp"))
	l.Reply()
	l.Want("250", "LHLO client.test")
	check("LMTP", l.Say("MAIL FROM:<x@far.test>"), "452 4.3.1 ")
	check("submission", s.Submission(ann, password).Say("MAIL FROM:<%s> SIZE=1000", ann), "452 4.3.1 ")
	i := s.IMAP(ann, password)
	check("APPEND", i.Command("APPEND INBOX {10}"), "NO [UNAVAILABLE] ")
	check("SELECT", i.Command("SELECT INBOX"), "OK ")
	check("COPY", i.Command("COPY 1 INBOX"), "NO [UNAVAILABLE] ")
	check("CREATE", i.Command("CREATE More"), "NO [UNAVAILABLE] ")
	out, code := harness.Run(t, "Subject: x\n\nx\n", harness.Binary(t), "sendmail", "--config", config, ann)
	if code != 75 {
		t.Errorf("sendmail: exit %d\n%s", code, out)
	}
	if code, text := status(t, s); code != 503 || !strings.Contains(text, "disk") {
		t.Errorf("/readyz: %d %s", code, text)
	}
}

// reads reads all mail by IMAP and some by POP3, and searches it.
func reads(t *testing.T, s *harness.Server, n int, subject string) {
	t.Helper()
	c := s.IMAP(ann, password)
	c.Command("EXAMINE INBOX")
	r, lines := c.Untagged("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)] RFC822.SIZE)")
	if !strings.HasPrefix(r, "OK ") || len(lines) != n {
		t.Fatalf("%s, %d messages, want %d", r, len(lines), n)
	}
	for i, l := range lines {
		if subject != "" && !strings.Contains(l, fmt.Sprintf("Subject: %s%d\r\n", subject, i)) {
			t.Errorf("message %d: %q", i, l)
		}
	}
	if r, lines := c.Untagged("FETCH 1,%d BODY.PEEK[]", n); !strings.HasPrefix(r, "OK ") || len(lines) != 2 {
		t.Errorf("bodies: %s, %d", r, len(lines))
	}
	if r := c.Command("SEARCH SUBJECT n BODY zzzzzzzzzz"); !strings.HasPrefix(r, "OK ") {
		t.Errorf("SEARCH: %s", r)
	}
	p := harness.Dial(t, s.Addr("pop3"))
	p.Line()
	p.Put("STLS\r\n")
	p.Line()
	if err := p.Upgrade(s.TLS()); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"USER " + ann, "PASS " + password, "STAT", "LIST 1"} {
		p.Put(line + "\r\n")
		if l := p.Line(); !strings.HasPrefix(l, "+OK") {
			t.Errorf("POP3 %s: %s", line, l)
		}
	}
	p.Put("QUIT\r\n")
	p.Line()
}

// TestEaten has another program take all of the disk at once: mail can be read and removed, and when the program gives the
// disk back mail is taken within 10 s, by the same process. On a disk that was full all the time a start serves readers.
func TestEaten(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a disk")
	}
	config := small(t, 25)
	if config == "" {
		return
	}
	s := harness.ServeFile(t, config)
	c := harness.SMTP(t, s.Addr("smtp"))
	for i := range 5 {
		if r := c.Send("x@far.test", ann, letter(t, fmt.Sprintf("n%d", i), piece)); !strings.HasPrefix(r, "250") {
			t.Fatal(r)
		}
	}
	eater := filepath.Join(s.Data, "foreign")
	eat(t, eater)
	time.Sleep(500 * time.Millisecond)
	doors(t, s, config)
	reads(t, s, 5, "n")
	i := s.IMAP(ann, password)
	i.Command("SELECT INBOX")
	if r := i.Command(`STORE 1 +FLAGS (\Deleted)`); !strings.HasPrefix(r, "OK ") {
		t.Errorf("STORE: %s", r)
	}
	if r := i.Command("EXPUNGE"); !strings.HasPrefix(r, "OK ") {
		t.Errorf("EXPUNGE: %s", r)
	}
	reads(t, s, 4, "")
	if err := os.Remove(eater); err != nil {
		t.Fatal(err)
	}
	again(t, s, 10*time.Second)

	eat(t, eater)
	s.Kill()
	s = harness.ServeFile(t, config)
	reads(t, s, 5, "")
	doors(t, s, config)
	if err := os.Remove(eater); err != nil {
		t.Fatal(err)
	}
	again(t, s, 10*time.Second)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if out, code := harness.Run(t, "", harness.Binary(t), "check", "--config", config); code != 0 {
		t.Errorf("check: %d\n%s", code, out)
	}
}

// eat takes all room of a file's disk.
func eat(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 1<<20)
	for {
		if _, err := f.Write(block); err != nil {
			return
		}
	}
}
