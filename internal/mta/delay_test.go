package mta

import (
	"context"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/message"
)

// TestDelayUnasked: who did not say is told after four hours, once, where the mail was submitted here and a person wrote it;
// strangers and programs are not (RFC 3461 §4.1, RFC 3834 §2).
func TestDelayUnasked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name                 string
		submitted, automatic bool
		notify               mail.Notify
		onlyAsked            bool
		want                 int
	}{
		{name: "our user", submitted: true, want: 1},
		{name: "a program", submitted: true, automatic: true},
		{name: "a program that asks", submitted: true, automatic: true, notify: mail.NotifyDelay, want: 1},
		{name: "a stranger"},
		{name: "a stranger who asks", notify: mail.NotifyDelay, want: 1},
		{name: "failures only", submitted: true, notify: mail.NotifyFailure},
		{name: "turned off", submitted: true, onlyAsked: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			options := func(o *Options) { o.Schedule.OnlyAsked = c.onlyAsked }
			bubble(t, options, func(t *testing.T, f *fixture) {
				f.world.refuse = func(string) *mail.Result {
					r := reply(mail.ScopeHost, 451, "refused")
					return &r
				}
				e := envelope("alice@postel.test", "slow@remote.test")
				e.Recipients[0].Notify = c.notify
				in := Incoming{Envelope: e, Message: f.message(sample), Submitted: c.submitted, Automatic: c.automatic}
				if _, err := f.Accept(context.Background(), in); err != nil {
					t.Fatal(err)
				}
				pass(4*time.Hour - time.Minute)
				if n := len(f.mailbox(alice, "INBOX")); n != 0 {
					t.Fatal(n, "reports before their time")
				}
				pass(2 * time.Minute)
				got := f.mailbox(alice, "INBOX")
				if len(got) != c.want || c.want > 0 && !strings.Contains(got[0], "\r\nYou need do nothing: your message could not be delivered yet") {
					t.Fatalf("%q", got)
				}
				pass(20 * time.Hour)
				if n := len(f.mailbox(alice, "INBOX")); n != c.want {
					t.Error(n, "reports in a day")
				}
			})
		})
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
