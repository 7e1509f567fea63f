package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postel/internal/dns/dnstest"
	"postel/test/harness"
)

// TestSendPhases: the exit code says how far it came.
func TestSendPhases(t *testing.T) {
	t.Parallel()
	const hello = "250-sink.test\n250-AUTH PLAIN\n250 8BITMIME"
	for name, one := range map[string]struct {
		code   int
		phase  string
		server string            // instead of the sink
		args   string            // beside --to
		input  string            // standard input
		says   map[string]string // of the sink
	}{
		"done":             {code: 0},
		"resolve":          {code: 20, phase: "resolve", server: "no-such-host.invalid"},
		"port":             {code: 20, phase: "resolve", server: "127.0.0.1:nonsense"},
		"connect":          {code: 21, phase: "connect", server: "127.0.0.1:1"},
		"greeting":         {code: 22, phase: "greeting", says: map[string]string{"": "554 5.7.1 go away"}},
		"no greeting":      {code: 22, phase: "greeting", says: map[string]string{"": "close"}},
		"EHLO and HELO":    {code: 22, phase: "greeting", says: map[string]string{"EHLO": "550 5.7.1 no", "HELO": "550 5.7.1 no"}},
		"gone after EHLO":  {code: 22, phase: "greeting", says: map[string]string{"EHLO": "close"}},
		"TLS not offered":  {code: 23, phase: "tls", args: "--tls must"},
		"TLS refused":      {code: 23, phase: "tls", args: "--tls must", says: map[string]string{"EHLO": "250-x\n250 STARTTLS", "STARTTLS": "454 4.7.0 not now"}},
		"TLS broken":       {code: 23, phase: "tls", args: "--tls must", says: map[string]string{"EHLO": "250-x\n250 STARTTLS", "STARTTLS": "220 go"}},
		"TLS implicit":     {code: 23, phase: "tls", args: "--tls implicit"},
		"login":            {code: 24, phase: "auth", args: "--user " + alice + " --password-stdin", input: "wrong\n", says: map[string]string{"EHLO": hello, "AUTH": "535 5.7.8 no"}},
		"no login offered": {code: 24, phase: "auth", args: "--user " + alice + " --password-stdin", input: "x\n"},
		"MAIL":             {code: 25, phase: "mail", says: map[string]string{"MAIL": "550 5.7.1 not you"}},
		"gone at MAIL":     {code: 25, phase: "mail", says: map[string]string{"MAIL": "close"}},
		"RCPT":             {code: 26, phase: "rcpt", says: map[string]string{"RCPT": "550 5.1.1 nobody"}},
		"one RCPT":         {code: 26, phase: "rcpt", args: "--to two@sink.test", says: map[string]string{"RCPT <two@sink.test>": "450 4.2.0 later"}},
		"DATA":             {code: 27, phase: "data", says: map[string]string{"DATA": "451 4.3.0 later"}},
		"gone at DATA":     {code: 27, phase: "data", says: map[string]string{"DATA": "close"}},
		"final":            {code: 28, phase: "final", says: map[string]string{".": "554 5.7.1 spam"}},
		"gone at final":    {code: 28, phase: "final", says: map[string]string{".": "close"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.StartSink(t, "127.0.0.1:0")
			for k, v := range one.says {
				s.Set(k, v)
			}
			server := one.server
			if server == "" {
				server = s.Addr
			}
			args := append([]string{"send", "--to", "one@sink.test", "--server", server}, strings.Fields(one.args)...)
			r := command{args: args, input: one.input}.want(t, one.code)
			if one.code != 0 && (strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "postel: ")) {
				t.Errorf("%q", r.err)
			}
			if one.code > 21 && !strings.Contains(r.out, "=== connected to "+server) {
				t.Errorf("%s", r.out)
			}
			v := objects(t, command{args: append(args, "--json"), input: one.input}.want(t, one.code).out)[0]
			if v["ok"] != (one.code == 0) || one.phase != "" && v["phase"] != one.phase {
				t.Errorf("%v", v)
			}
			hasKeys(t, name, []map[string]any{v}, "ok", "server", "dialogue")
			if r := (command{args: append(args, "-q"), input: one.input}).want(t, one.code); r.out != "" {
				t.Errorf("-q prints %q", r.out)
			}
		})
	}
}

// TestSend: what it sends, and the dialogue.
func TestSend(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	ca := filepath.Join(s.Data, "ca.pem")
	r := command{args: []string{"send", "--to", alice, "--from", bob, "--subject", "Grüße", "--body", "line\n.dot\n", "--header", "X-One: 1", "--server", s.Addr("smtp")}}.want(t, 0)
	for _, want := range []string{"<-  220 postel.test", " -> EHLO ", " -> STARTTLS", " ~> MAIL FROM:<" + bob + ">", "<~  354 ", "<~  250 2.0.0 m-", " ~> QUIT"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("no %q in\n%s", want, r.out)
		}
	}
	r = command{input: password + "\n", args: []string{"send", "--to", alice, "--user", bob, "--password-stdin", "--tls", "must", "--ca", ca, "--server", "localhost:" + fmt.Sprint(s.Ports["submission"])}}.want(t, 0)
	if strings.Contains(r.out, "AGJvYkB") || !strings.Contains(r.out, "••••") {
		t.Errorf("the login is shown:\n%s", r.out)
	}
	command{input: password + "\n", args: []string{"send", "--to", alice, "--user", bob, "--password-stdin", "--tls", "implicit", "--ca", ca, "--server", "localhost:" + fmt.Sprint(s.Ports["submissions"])}}.want(t, 0)
	command{args: []string{"send", "--to", alice, "--tls", "must", "--server", s.Addr("smtp")}}.want(t, 23) // nobody trusts that CA
	command{args: []string{"send", "--to", alice, "--tls", "must", "--insecure", "--server", s.Addr("smtp")}}.want(t, 0)
	command{input: "Subject: raw\n\nas it is\n", args: []string{"send", "--to", alice, "--from", "<>", "--file", "-", "--server", s.Addr("smtp")}}.want(t, 0)
	command{args: []string{"send", "--to", alice, "--to", bob, "--lmtp", "--server", s.Addr("lmtp")}}.want(t, 0)
	file := filepath.Join(t.TempDir(), "m.eml")
	if err := os.WriteFile(file, []byte("Subject: file\r\n\r\nfrom a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	command{args: []string{"send", "--to", alice, "--file", file, "--server", s.Addr("smtp")}}.want(t, 0)
	command{args: []string{"send", "--to", alice, "--file", file + ".absent", "--server", s.Addr("smtp")}}.want(t, 2)
	command{args: []string{"send", "--to", alice, "--data", s.Data}}.want(t, 0)
	in := s.Inbox(alice, password)
	if len(in) != 8 {
		t.Fatalf("%d messages, want 8", len(in))
	}
	if !strings.Contains(in[0], "\r\nSubject: =?utf-8?") || !strings.Contains(in[0], "\r\nX-One: 1\r\n") || !strings.Contains(in[0], "\r\n\r\nline\r\n.dot\r\n") {
		t.Errorf("%s", in[0])
	}
	if !strings.HasPrefix(in[4], "Return-Path: <>\r\n") || !strings.HasSuffix(in[4], "\r\nSubject: raw\r\n\r\nas it is\r\n") || !strings.HasSuffix(in[6], "\r\n\r\nfrom a file\r\n") ||
		!strings.Contains(in[5], "with LMTP") {
		t.Errorf("%s\n%s\n%s", in[4], in[5], in[6])
	}
}

// TestMX: where mail goes, by a DNS of our own.
func TestMX(t *testing.T) {
	t.Parallel()
	d := dnstest.Start(t, "a.test MX 20 two.test\na.test MX 10 one.test\none.test A 192.0.2.1\none.test AAAA 2001:db8::1\ntwo.test A 192.0.2.2\nnull.test MX 0 .\nplain.test A 192.0.2.3\nbroken.test MX 10 nowhere.test\n")
	r := run(t, 0, "mx", "a.test", "--dns", d.Addr)
	one, two := strings.Index(r.out, "1. one.test (preference 10)"), strings.Index(r.out, "2. two.test (preference 20)")
	if one < 0 || two < one || !strings.Contains(r.out, "192.0.2.1:25") || !strings.Contains(r.out, "[2001:db8::1]:25") || !strings.Contains(r.out, "RFC 5321 §5.1") {
		t.Errorf("%s", r.out)
	}
	if out := run(t, 0, "mx", "someone@a.test", "--dns", d.Addr).out; !strings.Contains(out, "one.test") {
		t.Errorf("%s", out)
	}
	v := objects(t, run(t, 0, "mx", "plain.test", "--dns", d.Addr, "--json").out)
	hasKeys(t, "mx", v, "domain", "hosts", "steps")
	for name, says := range map[string]string{"null.test": "null MX", "absent.test": "does not exist", "broken.test": "no route to broken.test: host nowhere.test does not exist"} {
		r := run(t, 1, "mx", name, "--dns", d.Addr)
		if !strings.Contains(r.err+r.out, says) || strings.Count(r.err, "\n") != 1 || strings.Contains(r.err, "route: ") {
			t.Errorf("%s: %+v", name, r)
		}
		objects(t, run(t, 1, "mx", name, "--dns", d.Addr, "--json").out)
	}
	d.Fail("a.test", "MX", dnstest.Fault{Rcode: 2})
	if r := run(t, 1, "mx", "a.test", "--dns", d.Addr); !strings.Contains(r.out+r.err, "later") && !strings.Contains(r.err, "cannot") {
		t.Errorf("%+v", r)
	}
	run(t, 2, "mx", "no domain", "--dns", d.Addr)
	run(t, 2, "mx", "a.test", "--dns", "nonsense")
}
