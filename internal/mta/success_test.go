package mta

import (
	"slices"
	"strings"
	"testing"

	"postel/internal/mail"
	"postel/internal/message"
	"postel/internal/vfs"
)

// TestSuccess: who asks for it with NOTIFY=SUCCESS is told once of each recipient, by us where we deliver, expand, or
// relay to a host without DSN, and else by the next server (RFC 3461 §5.2 and §6.2).
func TestSuccess(t *testing.T) {
	t.Parallel()
	const never, success, failure = mail.NotifyNever, mail.NotifySuccess, mail.NotifyFailure
	for _, c := range []struct {
		name, from, to, ehlo string
		notify               mail.Notify
		want                 []string // fields of the reports' recipients
		sent                 string   // NOTIFY and ORCPT as passed on
	}{
		{name: "delivered", to: "bob@postel.test", notify: success, want: []string{"delivered bob@postel.test orig@x.test"}},
		{name: "not asked", to: "bob@postel.test"},
		{name: "failure only", to: "bob@postel.test", notify: failure},
		{name: "never", to: "b@remote.test", notify: never, sent: "1 rfc822;orig@x.test"},
		{name: "null sender", from: "-", to: "bob@postel.test", notify: success},
		{name: "relayed", to: "b@remote.test", notify: success, want: []string{"relayed b@remote.test orig@x.test"}, sent: "2 rfc822;orig@x.test"},
		{name: "passed on", to: "b@remote.test", ehlo: "DSN", notify: success, sent: "2 rfc822;orig@x.test"},
		{
			name: "expanded", to: "team@postel.test", notify: success,
			want: []string{"expanded team@postel.test orig@x.test"}, sent: "1 rfc822;orig@x.test",
		},
		{
			name: "expanded, failures too", to: "team@postel.test", notify: success | failure,
			want: []string{"expanded team@postel.test orig@x.test"}, sent: "4 rfc822;orig@x.test",
		},
		{name: "forwarded", to: "away@postel.test", notify: success, want: []string{"relayed me@elsewhere.test orig@x.test"}, sent: "2 rfc822;orig@x.test"},
		{name: "forwarded to DSN", to: "away@postel.test", ehlo: "DSN", notify: success, sent: "2 rfc822;orig@x.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, vfs.NewMem(), nil)
			f.world.extensions = c.ehlo
			sent := ""
			f.world.reply = func(_ string, e mail.Envelope, _ mail.Address) mail.Result {
				sent = string('0'+rune(e.Recipients[0].Notify)) + " " + e.Recipients[0].Original
				return reply(mail.ScopeMessage, 250, "taken")
			}
			f.initAccounts(alice, bob)
			f.start()
			from := "alice@postel.test"
			if c.from == "-" {
				from = ""
			}
			e := envelope(from, c.to)
			e.Recipients[0].Notify, e.Recipients[0].Original, e.EnvelopeID = c.notify, "rfc822;orig@x.test", "QQ1"
			msg, _, err := f.accept(e)
			if err != nil {
				t.Fatal(err)
			}
			until(t, "it is done", func() bool { return len(f.items()) == 0 })
			var got []string
			for _, m := range f.mailbox(alice, "INBOX") {
				if !strings.Contains(m, "multipart/report") {
					continue
				}
				if !strings.Contains(m, "\r\nOriginal-Envelope-Id: QQ1\r\n") || strings.Contains(m, "\r\nbody\r\n") {
					t.Error(m) // reports of success carry the header alone (RFC 3461 §4.3)
				}
				got = append(got, reported(m)...)
			}
			if !slices.Equal(got, c.want) || sent != c.sent {
				t.Errorf("told %q, want %q; sent %q, want %q", got, c.want, sent, c.sent)
			}
			if n := strings.Count(strings.Join(f.events(msg.ID()), "\n"), "reported"); n != len(c.want) {
				t.Error(f.events(msg.ID()))
			}
			f.verify()
		})
	}
}

// reported gives action, final and original recipient of each recipient of a report.
func reported(m string) (all []string) {
	field := func(block, name string) string {
		_, v, _ := strings.Cut(block, "\r\n"+name+": ")
		v, _, _ = strings.Cut(v, "\r\n")
		_, addr, ok := strings.Cut(v, "; ")
		if !ok {
			addr = v
		}
		return addr
	}
	_, status, _ := strings.Cut(m, "delivery-status\r\n")
	for block := range strings.SplitSeq(status, "\r\n\r\n") {
		if block = "\r\n" + block; strings.Contains(block, "\r\nAction: ") {
			all = append(all, strings.TrimSpace(field(block, "Action")+" "+field(block, "Final-Recipient")+" "+field(block, "Original-Recipient")))
		}
	}
	return all
}

// TestSuccessOfGone: nobody is told of a delivery to an account that was gone when it came to it.
func TestSuccessOfGone(t *testing.T) {
	t.Parallel()
	f := newFixture(t, vfs.NewMem(), nil)
	f.initAccounts(alice) // bob's account is in the directory only
	f.start()
	e := envelope("alice@postel.test", "alice@postel.test", "bob@postel.test")
	for i := range e.Recipients {
		e.Recipients[i].Notify = mail.NotifySuccess | mail.NotifyFailure
	}
	if _, _, err := f.accept(e); err != nil {
		t.Fatal(err)
	}
	until(t, "it is done", func() bool { return len(f.items()) == 0 })
	var got []string
	for _, m := range f.mailbox(alice, "INBOX") {
		got = append(got, reported(m)...)
	}
	slices.Sort(got)
	if want := []string{"delivered alice@postel.test", "failed bob@postel.test"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestReportForms: who can get it has a report in UTF-8 of a message with SMTPUTF8, and a sender elsewhere one in ASCII,
// with the address in the form that RFC 6533 §3 has for that.
func TestReportForms(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		"alice@postel.test": "message/global-delivery-status\r\n;Final-Recipient: utf-8; dörte@remote.test\r\n",
		"x@far.test":        "message/delivery-status\r\n;Final-Recipient: utf-8; d\\x{F6}rte@remote.test\r\n",
	} {
		f := newFixture(t, vfs.NewMem(), nil)
		f.world.reply = func(_ string, _ mail.Envelope, rcpt mail.Address) mail.Result {
			if rcpt.Domain == "far.test" {
				return reply(mail.ScopeMessage, 250, "ok")
			}
			return reply(mail.ScopeRecipient, 550, "no")
		}
		f.initAccounts(alice)
		f.start()
		e := envelope(from, "dörte@remote.test")
		e.UTF8 = true
		f.acceptText(e, "Subject: Grüße\r\n\r\nx\r\n")
		until(t, "it is done", func() bool { return len(f.items()) == 0 })
		got := f.mailbox(alice, "INBOX")
		for _, d := range f.world.deliveries() {
			got = append(got, d.body)
		}
		for w := range strings.SplitSeq(want, ";F") {
			if len(got) != 1 || !strings.Contains(got[0], w) {
				t.Errorf("%s: no %q in %q", from, w, got)
			}
		}
	}
}

// TestForwardFromUTF8: an address of ours beyond ASCII forwards to a host without SMTPUTF8, as nothing that it gets needs
// it; what was put in front still ends a loop.
func TestForwardFromUTF8(t *testing.T) {
	t.Parallel()
	s := &sink{}
	f := withSink(t, s, nil)
	f.dir.aliases["dörte@postel.test"] = []string{"d@remote.test"}
	e := envelope("x@far.test", "dörte@postel.test")
	e.UTF8 = true
	f.acceptText(e, sample)
	until(t, "it is sent", func() bool { return len(f.items()) == 0 })
	s.mu.Lock()
	sent := s.messages
	s.mu.Unlock()
	if len(sent) != 1 || !strings.HasPrefix(sent[0], "Delivered-To: =?utf-8?") {
		t.Fatalf("%q", sent)
	}
	h, _ := message.ParseHeader(sent[0])
	if !h.DeliveredTo()(address("dörte@postel.test")) {
		t.Errorf("the loop is not seen in %q", sent[0])
	}
}
