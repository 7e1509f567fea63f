package mta

import (
	"context"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/queue"
)

// TestDelayUnasked: who did not say is told after four hours, once, where the mail was submitted here and a person wrote it;
// strangers and programs are not (RFC 3461 §4.1, RFC 3834 §2).
func TestDelayUnasked(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name                 string
		submitted, automatic bool
		notify               mail.Notify
		want                 bool
	}{
		{name: "user", submitted: true, want: true},
		{name: "program", submitted: true, automatic: true},
		{name: "program-asks", submitted: true, automatic: true, notify: mail.NotifyDelay, want: true},
		{name: "stranger"},
		{name: "stranger-asks", notify: mail.NotifyDelay, want: true},
		{name: "failures", submitted: true, notify: mail.NotifyFailure},
	}
	bubble(t, nil, func(t *testing.T, f *fixture) {
		f.world.refuse = func(string) *mail.Result {
			r := reply(mail.ScopeHost, 451, "refused")
			return &r
		}
		for _, c := range cases {
			e := envelope("alice@postel.test", c.name+"@remote.test")
			e.Recipients[0].Notify = c.notify
			in := Incoming{Envelope: e, Message: f.message(sample), Submitted: c.submitted, Automatic: c.automatic}
			if _, err := f.Accept(context.Background(), in); err != nil {
				t.Fatal(err)
			}
		}
		pass(4*time.Hour - time.Minute)
		if n := len(f.mailbox(alice, "INBOX")); n != 0 {
			t.Fatal(n, "reports before their time")
		}
		pass(2 * time.Minute)
		got := strings.Join(f.mailbox(alice, "INBOX"), "")
		for _, c := range cases {
			if told := strings.Count(got, "\r\nFinal-Recipient: rfc822; "+c.name+"@remote.test\r\nAction: delayed"); told != 1 && c.want || told > 0 && !c.want {
				t.Errorf("%s is told %d times", c.name, told)
			}
		}
		if !strings.Contains(got, "\r\nYou need do nothing: your message could not be delivered yet") {
			t.Errorf("%q", got)
		}
	})
	m := &MTA{o: Options{Schedule: Schedule{OnlyAsked: true}}}
	it := &queue.Item{From: address("alice@postel.test"), Submitted: true, Recipients: make([]queue.Recipient, 1)}
	if m.wantsDelay(it, 0) {
		t.Error("told unasked though that is turned off")
	}
}

// Mail that no person wrote says so (RFC 3834 §5, RFC 2919 §3, RFC 2369 §3.2).
func TestAutomatic(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]bool{
		"Subject: x\r\n":                              false,
		"Auto-Submitted: no\r\n":                      false,
		"Auto-Submitted: No (a person)\r\n":           false,
		"Auto-Submitted: auto-replied\r\n":            true,
		"Auto-Submitted: auto-generated; owner=x\r\n": true,
		"Precedence: Bulk\r\n":                        true,
		"Precedence: first-class\r\n":                 false,
		"List-Id: <a.example>\r\n":                    true,
		"List-Unsubscribe: <mailto:a@b.example>\r\n":  true,
	} {
		h, _ := message.ParseHeader(header + "\r\n")
		if got := automatic(&h); got != want {
			t.Errorf("%q: %v", header, got)
		}
	}
}
