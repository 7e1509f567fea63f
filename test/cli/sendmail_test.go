package cli

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"postel/test/harness"
)

// program is the binary where everyone may run it, under a name. It is a link: a copy that is just written cannot be
// run while another test forks ("text file busy").
func program(t *testing.T, name string) string {
	t.Helper()
	dir := harness.Dir(t)
	if err := os.Link(harness.Binary(t), dir+"/postel"); err != nil {
		t.Fatal(err)
	}
	if name == "postel" {
		return dir + "/postel"
	}
	if err := os.Symlink("postel", dir+"/"+name); err != nil {
		t.Fatal(err)
	}
	return dir + "/" + name
}

// nobody makes a command that runs as an unprivileged user.
func nobody(t *testing.T, input, name string, args ...string) command {
	t.Helper()
	harness.Need(t, "setpriv")
	if os.Getuid() != 0 {
		t.Skip("only root becomes another user")
	}
	return command{name: "setpriv", input: input, args: append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", "--", name}, args...)}
}

// company is a real server with one account, whose users of the machine may write at its domain.
func company(t *testing.T) *harness.Server {
	t.Helper()
	config := harness.WriteConfig(t, "[[domain]]\nname = \"postel.test\"\n[[domain]]\nname = \""+harness.Hostname+"\"\n")
	command{input: password, args: []string{"account", "add", alice, "--password-stdin", "--config", config}}.want(t, 0)
	return harness.ServeFile(t, config)
}

// last gives alice's newest message, of n.
func last(t *testing.T, s *harness.Server, n int) string {
	t.Helper()
	in := s.Inbox(alice, password)
	if len(in) != n {
		t.Fatalf("%d messages, want %d", len(in), n)
	}
	return in[n-1]
}

// TestSendmailAsNobody: any user of the machine submits as itself, and as nobody else.
func TestSendmailAsNobody(t *testing.T) {
	t.Parallel()
	s := company(t)
	sendmail := program(t, "sendmail")
	at := []string{"-C", s.Config}
	nobody(t, "To: Alice <"+alice+">\nBcc: "+alice+"\nSubject: one\n\nfirst\n.\nnot the end\n", sendmail, append(at, "-t", "-i")...).want(t, 0)
	m := last(t, s, 1)
	me := "nobody@" + harness.Hostname
	for _, want := range []string{"Return-Path: <" + me + ">\r\n", "\r\nFrom: " + me + "\r\n", "\r\nDate: ", "\r\nMessage-ID: <", "\r\n\r\nfirst\r\n.\r\nnot the end\r\n", "\r\nSubject: one\r\n"} {
		if !strings.Contains("\r\n"+m, want) {
			t.Errorf("no %q in\n%s", want, m)
		}
	}
	if strings.Contains(m, "Bcc") {
		t.Errorf("Bcc is left:\n%s", m)
	}
	nobody(t, "Subject: two\n\nends here\n.\nnot sent\n", sendmail, append(at, "-F", "No Body", "-f", "nobody@postel.test", alice)...).want(t, 0)
	if m := last(t, s, 2); !strings.HasSuffix(m, "\r\n\r\nends here\r\n") || !strings.Contains(m, "\r\nFrom: No Body <nobody@postel.test>\r\n") {
		t.Errorf("%s", m)
	}
	nobody(t, "no header at all\n", sendmail, append(at, alice)...).want(t, 0)
	if m := last(t, s, 3); !strings.HasSuffix(m, "\r\n\r\nno header at all\r\n") || !strings.Contains(m, "\r\nFrom: "+me+"\r\n") {
		t.Errorf("%s", m)
	}
	for name, one := range map[string]struct {
		code  int
		input string
		args  []string
	}{
		"as another":          {77, "Subject: x\n\nx\n", []string{"-f", alice, alice}},
		"From of another":     {77, "From: " + alice + "\n\nx\n", []string{alice}},
		"unknown user":        {67, "Subject: x\n\nx\n", []string{"nobody-there@postel.test"}},
		"no recipient":        {64, "Subject: x\n\nx\n", nil},
		"-t without any":      {64, "Subject: x\n\nx\n", []string{"-t"}},
		"bad address":         {65, "Subject: x\n\nx\n", []string{"a b@c@d"}},
		"bad header":          {65, "From: nobody@postel.test\nFrom: nobody@postel.test\n\nx\n", []string{alice}},
		"unknown option":      {64, "", []string{"-Z"}},
		"option without word": {64, "", []string{"-f"}},
		"daemon":              {64, "", []string{"-bd"}},
		"no such config":      {78, "Subject: x\n\nx\n", []string{"-C", "/no/such.toml", alice}},
	} {
		r := nobody(t, one.input, sendmail, append(at, one.args...)...).want(t, one.code)
		if strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "sendmail: ") || r.out != "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	last(t, s, 3)
	// The socket takes mail and nothing else: the queue and its commands are the owner's.
	if r := nobody(t, "", sendmail, append(at, "-bp")...).run(t); r.code != 77 && r.code != 69 && r.code != 75 {
		t.Errorf("-bp as nobody: %+v", r)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	r := nobody(t, "Subject: x\n\nx\n", sendmail, append(at, alice)...).want(t, 75)
	if !strings.Contains(r.err, "down") {
		t.Errorf("%+v", r)
	}
}

// TestSendmailNames: the same program under the names that others call.
func TestSendmailNames(t *testing.T) {
	t.Parallel()
	s := company(t)
	at := []string{"-C", s.Config}
	r := command{name: program(t, "mailq"), args: at}.want(t, 0)
	if r.out != "" {
		t.Errorf("%+v", r)
	}
	command{name: program(t, "newaliases"), args: at}.want(t, 0)
	command{name: program(t, "rmail"), input: "From far!user Mon Jul 20 10:00:00 2026 remote from near\nFrom: user@far\nSubject: uucp\n\nx\n.\ny\n", args: append(at, alice)}.want(t, 0)
	if m := last(t, s, 1); !strings.HasPrefix(m, "Return-Path: <user@far>\r\n") || !strings.HasSuffix(m, "\r\n\r\nx\r\n.\r\ny\r\n") {
		t.Errorf("%s", m)
	}
	postel := program(t, "postel")
	command{name: postel, input: "To: " + alice + "\nSubject: sub\n\nx\n", args: append([]string{"sendmail", "-t", "-oi", "-oem", "-r", "root@postel.test"}, at...)}.want(t, 0)
	if m := last(t, s, 2); !strings.HasPrefix(m, "Return-Path: <root@postel.test>\r\n") {
		t.Errorf("%s", m)
	}
	command{name: postel, input: "From: anyone@postel.test\nSubject: null\n\nx\n", args: append([]string{"sendmail", "-f", "<>", alice}, at...)}.want(t, 0)
	if m := last(t, s, 3); !strings.HasPrefix(m, "Return-Path: <>\r\n") {
		t.Errorf("%s", m)
	}
	r = command{name: postel, input: "EHLO me\r\nMAIL FROM:<root@postel.test>\r\nRCPT TO:<" + alice + ">\r\nDATA\r\nFrom: root@postel.test\r\nSubject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n", args: append([]string{"sendmail", "-bs"}, at...)}.want(t, 0)
	if !strings.HasPrefix(r.out, "220 ") || !strings.Contains(r.out, "\r\n250 2.0.0 m-") || !strings.Contains(r.out, "\r\n221 ") {
		t.Errorf("%s", r.out)
	}
	if m := last(t, s, 4); !strings.Contains(m, "Subject: bs") {
		t.Errorf("%s", m)
	}
	run(t, 0, "sendmail", "--help")
}

// TestSendmailFindsDev: without a configuration it is a running dev that takes the mail.
func TestSendmailFindsDev(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	c := command{env: []string{"XDG_RUNTIME_DIR=" + s.Runtime}, input: "Subject: found\n\nx\n", args: []string{"sendmail", alice, "else@where.test"}}
	c.want(t, 0)
	if m := last(t, s, 1); !strings.Contains(m, "Subject: found") {
		t.Errorf("%s", m)
	}
	command{input: "x\n", args: []string{"sendmail", alice}}.want(t, 75)
	command{env: []string{"POSTEL_DATA=" + s.Data}, args: []string{"sendmail", "-bp"}}.want(t, 0)
	command{input: "x\n", args: []string{"sendmail", "--data", filepath.Join(t.TempDir(), "none"), alice}}.want(t, 75)
	for _, mode := range []string{"submit.sock", "control.sock"} {
		st, err := os.Stat(s.Data + "/" + mode)
		if err != nil || st.Mode().Perm() != map[string]os.FileMode{"submit.sock": 0o666, "control.sock": 0o600}[mode] {
			t.Errorf("%s: %v %v", mode, st.Mode(), err)
		}
	}
	if os.Getuid() == 0 { // nobody may submit, but not manage
		postel := program(t, "postel")
		r := nobody(t, "", postel, "account", "list", "--data", s.Data).run(t)
		if r.code == 0 || strings.Contains(r.out, alice) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("nobody lists accounts: %+v", r)
		}
		nobody(t, "Subject: mine\n\nx\n", postel, "sendmail", "--data", s.Data, alice).want(t, 0)
		if m := last(t, s, 2); !strings.HasPrefix(m, "Return-Path: <nobody@postel.test>\r\n") || !strings.Contains(m, "nobody") {
			t.Errorf("%s", m)
		}
	}
	big := strings.Repeat(strings.Repeat("x", 70)+"\n", 20_000)
	command{env: c.env, input: "Subject: big\n\n" + big, args: []string{"sendmail", "-i", alice}}.want(t, 0)
	in := s.Inbox(alice, password)
	if m := in[len(in)-1]; !strings.HasSuffix(m, strings.ReplaceAll(big, "\n", "\r\n")) {
		t.Errorf("%s octets", strconv.Itoa(len(m)))
	}
}
