package serve

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// TestStopAndKill: SIGTERM ends within ten seconds whatever clients do, with a farewell; kill -9 loses nothing that
// was acknowledged.
func TestStopAndKill(t *testing.T) {
	t.Parallel()
	file := harness.WriteConfig(t, company)
	addAccounts(t, file)
	s := harness.ServeFile(t, file)
	c := harness.SMTP(t, s.Addr("smtp"))
	for i := range 10 {
		if r := c.Send("x@far.test", ann, letter(fmt.Sprint("kept ", i))); r[0] != '2' {
			t.Fatal(r)
		}
	}
	s.Kill()

	s = harness.ServeFile(t, file)
	count(t, s, ann, 10)
	want(t, 0, file, "", "account", "list")
	idle := harness.SMTP(t, s.Addr("smtp"))
	half := harness.SMTP(t, s.Addr("smtp"))
	half.Want("250", "MAIL FROM:<x@far.test>")
	half.Want("250", "RCPT TO:<%s>", ann)
	half.Want("354", "DATA")
	half.Put("Subject: half")
	watch := s.IMAP(ann, "\""+password+"\"")
	watch.Command("SELECT INBOX")
	watch.Put("i IDLE\r\n")
	watch.Line()
	pop := harness.Dial(t, s.Addr("pop3"))
	pop.Line()
	stalled := harness.Dial(t, s.Addr("imaps")) // a handshake that never comes
	begin := time.Now()
	if err := s.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("the stop took %v", d)
	}
	if l := idle.Line(); !strings.HasPrefix(l, "421 4.3.2 ") {
		t.Errorf("SMTP farewell: %s", l)
	}
	if l := watch.Line(); !strings.HasPrefix(l, "* BYE ") {
		t.Errorf("IMAP farewell: %s", l)
	}
	_ = stalled.Close()

	s = harness.ServeFile(t, file)
	count(t, s, ann, 10)
}
