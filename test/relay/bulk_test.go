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

// bounced is what a server elsewhere writes about a recipient.
func bounced(to, action, status string) string {
	return "From: MAILER-DAEMON@sink.test\r\nTo: " + to + "\r\nSubject: returned\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt bounced.\r\n" +
		"--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.sink.test\r\n\r\n" +
		"Final-Recipient: rfc822; victim@elsewhere.test\r\nAction: " + action + "\r\nStatus: " + status + "\r\nDiagnostic-Code: smtp; 550 5.1.1 left us\r\n\r\n--b--\r\n"
}

// TestVERP: each recipient gets its mail from an address that names it, and a report of a hard bounce to that address
// suppresses the recipient, whoever the report itself names.
func TestVERP(t *testing.T) {
	t.Parallel()
	w := open(t)
	sink := w.sink(t, "127.0.0.2")
	w.ok(t, "account", "bulk", alice, "--verp")
	w.submit(t, alice, "one", "left@sink.test", "busy@sink.test", "tag+x@sink.test")
	senders := map[string]string{}
	for _, m := range taken(t, sink, 3) {
		from, _, _ := strings.Cut(m.From, " ")
		senders[strings.Join(m.To, " ")] = from
	}
	want := map[string]string{
		"<left@sink.test>": "<alice+left=sink.test@postel.test>", "<busy@sink.test>": "<alice+busy=sink.test@postel.test>",
		"<tag+x@sink.test>": "<alice+tag+x=sink.test@postel.test>",
	}
	if fmt.Sprint(senders) != fmt.Sprint(want) {
		t.Errorf("sent from %v, want %v", senders, want)
	}
	for _, r := range []struct{ from, to, action, status string }{
		{"", "alice+busy=sink.test@postel.test", "failed", "5.2.2"},
		{"", "alice+busy=sink.test@postel.test", "delayed", "5.1.1"},
		{"robot@sink.test", "alice+busy=sink.test@postel.test", "failed", "5.1.1"},
		{"", "bob+busy=sink.test@postel.test", "failed", "5.1.1"}, // bob writes letters
		{"", "alice+left=sink.test@postel.test", "failed", "5.0.0"},
	} {
		c := harness.SMTP(t, w.Addr("smtp"))
		c.Want("250", "MAIL FROM:<%s>", r.from)
		c.Want("250", "RCPT TO:<%s>", r.to)
		c.Want("354", "DATA")
		c.Want("250", "%s.", bounced(r.to, r.action, r.status))
	}
	c := harness.SMTP(t, w.Addr("smtp")) // one report is about one recipient
	c.Want("250", "MAIL FROM:<>")
	for _, to := range []string{"busy", "tag+x"} {
		c.Want("250", "RCPT TO:<alice+%s=sink.test@postel.test>", to)
	}
	c.Want("354", "DATA")
	c.Want("250", "%s.", bounced(alice, "failed", "5.1.1"))
	list := w.objects(t, "suppression", "list")
	if len(list) != 1 || list[0]["address"] != "left@sink.test" || list[0]["source"] != "report" || list[0]["reason"] != "550 5.1.1 left us" || list[0]["expires"] == nil {
		t.Errorf("%v", list)
	}
	if n := len(w.Inbox(alice, password)); n != 5 {
		t.Errorf("alice has %d of 5 reports", n)
	}
}
