package mta

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"postel/internal/mail"
	"postel/internal/route"
)

func TestSMTP(t *testing.T) {
	t.Parallel()
	s := &sink{ehlo: []string{"250-PIPELINING", "250-8BITMIME"}}
	f := withSink(t, s, nil)
	for range 3 {
		f.mustAccept("alice@postel.test", "a@remote.test", "B@remote.test")
		until(t, "it is sent", func() bool { return len(f.items()) == 0 })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.messages) != 3 || s.messages[0] != "Received: by test\r\n"+sample {
		t.Errorf("%q", s.messages)
	}
	want := fmt.Sprintf("EHLO mail.postel.test|MAIL FROM:<alice@postel.test> SIZE=%d|RCPT TO:<a@remote.test>|RCPT TO:<B@remote.test>|DATA",
		len("Received: by test\r\n"+sample))
	if got := strings.Join(s.commands[:5], "|"); got != want {
		t.Error(got)
	}
	list := f.o.Glass.List(10)
	if len(list) != s.dialled || !list[0].Outbound || list[0].Protocol != "smtp" {
		t.Errorf("%+v", list)
	}
}

func TestSMTPFailures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		replies map[string]string
		report  string // a text in the report; "" when it is tried again
		last    string // then: the last reply kept
	}{
		{name: "greeting 554", replies: map[string]string{"GREETING": "554 5.3.2 not here"}, last: "554 5.3.2 not here"},
		{name: "greeting 521", replies: map[string]string{"GREETING": "521 5.3.2 never"}, report: "521 5.3.2 never"},
		{name: "mail 550", replies: map[string]string{"MAIL": "550 5.7.1 bad sender"}, report: "550 5.7.1 bad sender"},
		{name: "mail 450", replies: map[string]string{"MAIL": "450 4.7.1 slowly"}, last: "450 4.7.1 slowly"},
		{name: "rcpt 550", replies: map[string]string{"RCPT": "550 5.1.1 who?"}, report: "550 5.1.1 who?"},
		{name: "rcpt 451", replies: map[string]string{"RCPT": "451 4.7.1 grey"}, last: "451 4.7.1 grey"},
		{name: "no enhanced code", replies: map[string]string{"RCPT": "550 who?"}, report: "Status: 5.0.0"},
		{name: "end 554", replies: map[string]string{"END": "554 5.6.0 spam"}, report: "554 5.6.0 spam"},
		{name: "end 452", replies: map[string]string{"END": "452 4.3.1 full"}, last: "452 4.3.1 full"},
		{name: "lost", replies: map[string]string{"DATA": "close"}, last: "connection lost in DATA"},
		{name: "lost at the end", replies: map[string]string{"END": "close"}, last: "connection lost in FINAL"},
		{name: "421", replies: map[string]string{"MAIL": "421 4.3.2 bye"}, last: "421 4.3.2 bye"},
		{name: "nonsense", replies: map[string]string{"GREETING": "HTTP/1.1 200 OK"}, last: "451 4.5.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := withSink(t, &sink{replies: c.replies}, nil)
			f.mustAccept("alice@postel.test", "a@remote.test")
			if c.report != "" {
				until(t, "the report", func() bool { return len(f.mailbox(alice, "INBOX")) == 1 })
				if m := f.mailbox(alice, "INBOX")[0]; !strings.Contains(m, c.report) {
					t.Error(m)
				}
				return
			}
			until(t, "the attempt", func() bool { i := f.items(); return len(i) == 1 && i[0].Recipients[0].Attempts == 1 })
			r := f.items()[0].Recipients[0]
			if !strings.Contains(r.Last.String(), c.last) || !r.Due.After(time.Now().Add(4*time.Minute)) {
				t.Error(r.Last, r.Due)
			}
		})
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		cert, tls bool
		mode      route.TLS
		dialled   int
		last      string
	}{
		{name: "offered", cert: true, tls: true, mode: route.May, dialled: 1},
		{name: "broken", mode: route.May, dialled: 2},
		{name: "never", cert: true, mode: route.Never, dialled: 1},
		{name: "must, unverified", cert: true, mode: route.Must, dialled: 1, last: "TLS handshake failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sink{ehlo: []string{"250-STARTTLS"}}
			if c.cert {
				s.cert = certificate(t)
			}
			f := withSink(t, s, func(o *Options) { o.Router = tlsRouter{mode: c.mode} })
			f.mustAccept("alice@postel.test", "a@remote.test")
			if c.last != "" {
				until(t, "the attempt", func() bool { i := f.items(); return len(i) == 1 && i[0].Recipients[0].Attempts == 1 })
				if r := f.items()[0].Recipients[0]; !strings.Contains(r.Last.String(), c.last) {
					t.Error(r.Last)
				}
			} else {
				until(t, "it is sent", func() bool { return len(f.items()) == 0 })
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.tls != c.tls || s.dialled != c.dialled {
				t.Error(s.tls, s.dialled)
			}
		})
	}
}

type tlsRouter struct {
	fakeRouter
	mode route.TLS
}

func (r tlsRouter) Route(ctx context.Context, d mail.Domain, from mail.Address) (route.Plan, error) {
	p, err := r.fakeRouter.Route(ctx, d, from)
	for i := range p.Hosts {
		p.Hosts[i].TLS = r.mode
	}
	return p, err
}

// TestLMTP: a route by LMTP gets a verdict a recipient.
func TestLMTP(t *testing.T) {
	t.Parallel()
	s := &sink{replies: map[string]string{"END": "250 2.1.5 a is fine\r\n550 5.2.1 b is not"}}
	f := withSink(t, s, func(o *Options) { o.Router = lmtpRouter{} })
	f.mustAccept("alice@postel.test", "a@remote.test", "b@remote.test")
	until(t, "the report", func() bool { return len(f.mailbox(alice, "INBOX")) == 1 })
	m := f.mailbox(alice, "INBOX")[0]
	if !strings.Contains(m, "550 5.2.1 b is not") || strings.Contains(m, "a@remote.test") || len(f.items()) != 0 {
		t.Error(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.commands[0] != "LHLO mail.postel.test" || len(s.messages) != 1 {
		t.Errorf("%q", s.commands)
	}
}

type lmtpRouter struct{ fakeRouter }

func (r lmtpRouter) Route(ctx context.Context, d mail.Domain, from mail.Address) (route.Plan, error) {
	p, err := r.fakeRouter.Route(ctx, d, from)
	for i := range p.Hosts {
		p.Hosts[i].Proto = route.LMTP
	}
	return p, err
}
