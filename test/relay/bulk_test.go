package relay

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestBulkSender: what bounces for good is not written to again by bulk senders, until it is taken off the list.
func TestBulkSender(t *testing.T) {
	t.Parallel()
	w := open(t)
	sink := w.sink(t, "127.0.0.2")
	sink.SetRcpt(func(path string) string {
		if strings.Contains(path, "gone") {
			return "550 5.1.1 no such mailbox"
		}
		return ""
	})
	w.ok(t, "account", "bulk", alice)
	w.submit(t, alice, "one", "gone@sink.test", "here@sink.test")
	taken(t, sink, 1)
	var list []map[string]any
	harness.Eventually(t, func() error {
		if list = w.objects(t, "suppression", "list"); len(list) != 1 {
			return fmt.Errorf("%v", list)
		}
		return nil
	})
	if list[0]["address"] != "gone@sink.test" || list[0]["source"] != "bounce" || !strings.HasPrefix(list[0]["reason"].(string), "550 5.1.1 no such mailbox") {
		t.Errorf("%v", list)
	}
	c := w.Submission(alice, password)
	c.Want("250", "MAIL FROM:<%s>", alice)
	c.Want("550 5.7.1", "RCPT TO:<Gone@sink.test>")
	c.Want("250", "RCPT TO:<here@sink.test>")
	c = w.Submission(bob, password)
	c.Want("250", "MAIL FROM:<%s>", bob)
	c.Want("250", "RCPT TO:<gone@sink.test>") // bob writes letters
	w.ok(t, "suppression", "rm", "gone@sink.test")
	c = w.Submission(alice, password)
	c.Want("250", "MAIL FROM:<%s>", alice)
	c.Want("250", "RCPT TO:<gone@sink.test>")
}
