package mta

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"postel/internal/mail"
	"postel/internal/route"
)

// loginRouter has a login for every host.
type loginRouter struct {
	fakeRouter
	user, password string
	tokens         route.Tokens
}

func (r loginRouter) Route(ctx context.Context, d mail.Domain, from mail.Address) (route.Plan, error) {
	p, err := r.fakeRouter.Route(ctx, d, from)
	for i := range p.Hosts {
		p.Hosts[i].User, p.Hosts[i].Password, p.Hosts[i].Tokens = r.user, r.password, r.tokens
	}
	return p, err
}

// freshTokens gives token after token, the next one for each that is refused.
type freshTokens struct {
	mu sync.Mutex
	n  int
}

func (f *freshTokens) Token(_ context.Context, refused string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if refused == fmt.Sprintf("secret%d", f.n) {
		f.n++
	}
	return fmt.Sprintf("secret%d", f.n), nil
}

// TestTokenAnew: a token that the host refuses is got anew, once in a session, and the mail goes (RFC 7628 §3.2.3).
func TestTokenAnew(t *testing.T) {
	t.Parallel()
	for refusals, sent := range []bool{true, true, false} {
		s := &sink{ehlo: []string{"250-AUTH PLAIN XOAUTH2"}}
		left := refusals
		s.bad = func(k *talk, stage, _ string) (did, goOn bool) {
			if stage != "AUTH" || left == 0 {
				return false, true
			}
			left--
			fmt.Fprint(k.conn, "334 eyJzdGF0dXMiOiI0MDEifQ==\r\n")
			_, _ = k.r.ReadString('\n')
			fmt.Fprint(k.conn, "535 5.7.8 Username and Password not accepted\r\n")
			return true, true
		}
		f := withSink(t, s, func(o *Options) { o.Router = loginRouter{user: "me@remote.test", tokens: &freshTokens{}} })
		f.mustAccept("alice@postel.test", "a@remote.test")
		until(t, "the attempt", func() bool {
			i := f.items()
			return len(i) == 0 || i[0].Recipients[0].Attempts == 1
		})
		left2 := f.items()
		if (len(left2) == 0) != sent {
			t.Errorf("%d refusals: %d items", refusals, len(left2))
		}
		s.mu.Lock()
		var logins []string
		for _, c := range s.commands {
			if word, ok := strings.CutPrefix(c, "AUTH XOAUTH2 "); ok {
				text, _ := base64.StdEncoding.DecodeString(word)
				logins = append(logins, string(text))
			}
		}
		s.mu.Unlock()
		want := []string{"user=me@remote.test\x01auth=Bearer secret0\x01\x01", "user=me@remote.test\x01auth=Bearer secret1\x01\x01"}
		if got := strings.Join(logins, "|"); got != strings.Join(want[:min(2, refusals+1)], "|") {
			t.Errorf("%d refusals: %q", refusals, logins)
		}
	}
}

// TestLoginRefused: mail waits when our login is refused, for whatever reason, and says why; neither the queue nor the
// transcript has the password.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, offer, reply, last string }{
		{"refused", "PLAIN", "535 5.7.8 bad credentials", "454 4.7.8 our login was refused: 535 5.7.8 bad credentials"},
		{"nonsense", "PLAIN", "550 5.1.1 what?", "454 4.7.8 our login was refused: 550 5.1.1 what?"},
		{"repeated", "PLAIN", "535 5.7.8 not AUTH PLAIN AG1lAGh1c2gtaHVzaA== nor hush-hush", "454 4.7.8 our login was refused: 535 5.7.8 not AUTH PLAIN (secret) nor (secret)"},
		{"later", "PLAIN", "454 4.7.0 try later", "454 4.7.0 try later"},
		{"no mechanism", "GSSAPI", "235 in", "451 4.7.0 no login is possible: the server offers no mechanism that we have a secret for"},
		{"SCRAM without proof", "SCRAM-SHA-256", "235 2.7.0 in", "454 4.7.8 our login failed: the server did not prove that it knows the password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &sink{ehlo: []string{"250-AUTH " + c.offer}, replies: map[string]string{"AUTH": c.reply}}
			f := withSink(t, s, func(o *Options) { o.Router = loginRouter{user: "me", password: "hush-hush"} })
			f.mustAccept("alice@postel.test", "a@remote.test")
			until(t, "the attempt", func() bool { i := f.items(); return len(i) == 1 && i[0].Recipients[0].Attempts == 1 })
			r := f.items()[0].Recipients[0]
			if r.Last.String() != c.last || len(f.mailbox(alice, "INBOX")) > 0 {
				t.Error(r.Last)
			}
			var all strings.Builder
			for _, x := range f.o.Glass.List(10) {
				tr, _ := f.o.Glass.Show(x.ID)
				fmt.Fprintf(&all, "%+v", tr)
			}
			if text := all.String(); strings.Contains(text, "hush") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("\x00me\x00hush-hush"))) || !strings.Contains(text, "MAIL") && !strings.Contains(text, "EHLO") {
				t.Error(text)
			}
		})
	}
}

// TestLoginForgotten: mail waits also where a host that took our login wants one at MAIL (RFC 4954 §6).
func TestLoginForgotten(t *testing.T) {
	t.Parallel()
	for _, user := range []string{"me", ""} {
		s := &sink{ehlo: []string{"250-AUTH PLAIN"}, replies: map[string]string{"AUTH": "235 2.7.0 in", "MAIL": "530 5.7.57 not authenticated"}}
		f := withSink(t, s, func(o *Options) { o.Router = loginRouter{user: user, password: "hush-hush"} })
		f.mustAccept("alice@postel.test", "a@remote.test")
		if user == "" { // who says so of us without a login means it
			until(t, "the report", func() bool { return len(f.mailbox(alice, "INBOX")) == 1 })
			continue
		}
		until(t, "the attempt", func() bool { i := f.items(); return len(i) == 1 && i[0].Recipients[0].Attempts == 1 })
		if got := f.items()[0].Recipients[0].Last.String(); got != "454 4.7.8 the host wants a login after ours: 530 5.7.57 not authenticated" {
			t.Error(got)
		}
	}
}
