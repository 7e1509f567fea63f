package relay

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"postel/test/harness"
)

// TestGlass: sessions in and out are recorded, live and afterwards, without the password.
func TestGlass(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.sink(t, "127.0.0.2").Set("RCPT <no@sink.test>", "550 5.1.1 no")
	tail := follow(t, w)
	w.submit(t, alice, "seen", "a@sink.test", "no@sink.test")
	w.Inbox(alice, password)
	c := harness.Dial(t, w.Addr("pop3"))
	c.Line()
	c.Say("USER %s", alice)
	c.Say("PASS %s", password)
	c.Say("QUIT")
	w.report(t, 1)
	protocols := map[string]bool{}
	var outbound string
	var text strings.Builder
	for _, s := range w.objects(t, "glass", "list", "-n", "1000") {
		protocols[s["protocol"].(string)] = true
		id := s["id"].(string)
		if s["outbound"] == true {
			outbound = id
		}
		shown := w.ok(t, "glass", "show", id)
		text.WriteString(shown)
		if j := w.objects(t, "glass", "show", id); len(j) != 1 || len(j[0]["lines"].([]any)) == 0 {
			t.Errorf("%v", j)
		}
	}
	if !protocols["submission"] || !protocols["imap"] || !protocols["pop3"] || !protocols["smtp"] {
		t.Errorf("%v", protocols)
	}
	out := w.ok(t, "glass", "show", outbound)
	for _, want := range []string{" -> EHLO postel.test", "<-  220 sink.test", " -> MAIL FROM:<" + alice + ">", "<** 550 5.1.1 no", "=== message of "} {
		if !strings.Contains(out, want) {
			t.Errorf("outbound has no %q:\n%s", want, out)
		}
	}
	if !strings.Contains(text.String(), " AUTH PLAIN ••••••••") || !strings.Contains(text.String(), " 235 2.7.0") {
		t.Errorf("%s", text.String())
	}
	live := tail()
	if !strings.Contains(live, " -> EHLO postel.test") || !strings.Contains(live, " AUTH PLAIN ••••••••") {
		t.Errorf("live:\n%s", live)
	}
	for where, s := range map[string]string{"glass": text.String(), "tail": live, "log": w.Log()} {
		if strings.Contains(s, password) || strings.Contains(s, base64.StdEncoding.EncodeToString([]byte("\x00"+alice+"\x00"+password))) {
			t.Errorf("%s shows the password", where)
		}
	}
	if out, code := w.Postel("glass", "show", "s-0000000000000000"); code != 1 {
		t.Errorf("%d %s", code, out)
	}
	if out, code := w.Postel("glass", "show", "rubbish"); code != 2 {
		t.Errorf("%d %s", code, out)
	}
}

// follow runs `glass tail`; the function that it gives ends it and gives what it printed.
func follow(t *testing.T, w *world) func() string {
	t.Helper()
	cmd := exec.Command(harness.Binary(t), "glass", "tail", "--data", w.Data)
	var out locked
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	harness.Eventually(t, func() error { // until it sees something
		harness.SMTP(t, w.Addr("smtp")).Say("QUIT")
		if !strings.Contains(out.String(), "QUIT") {
			return fmt.Errorf("the tail shows nothing: %q", out.String())
		}
		return nil
	})
	return func() string {
		t.Helper()
		_ = cmd.Process.Signal(syscall.SIGINT)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("glass tail: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("glass tail does not end")
		}
		return out.String()
	}
}

type locked struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
