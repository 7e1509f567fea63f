package clients

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"postel/test/harness"
)

// door is a protocol as a client that logs in knows it.
type door struct {
	name, starttls, ready, ok string
	hello                     func(c *harness.Conn) string // gives what is offered
	auth                      string                       // with %s for the mechanism
}

func doors() []door {
	smtp := func(c *harness.Conn) string { return c.Say("EHLO client.test") }
	pop3 := func(c *harness.Conn) string {
		c.Put("CAPA\r\n")
		all := ""
		for line := c.Line(); line != "." && line != harness.EOF; line = c.Line() {
			all += line + "\n"
		}
		return all
	}
	imap := func(c *harness.Conn) string {
		_, caps := c.Untagged("CAPABILITY")
		return strings.Join(caps, "\n")
	}
	return []door{
		{"submission", "STARTTLS", "220", "235", smtp, "AUTH %s"},
		{"pop3", "STLS", "+OK", "+OK", pop3, "AUTH %s"},
		{"imap", "a STARTTLS", "a OK", "b OK", imap, "b AUTHENTICATE %s"},
	}
}

// enter connects and starts TLS.
func (d door) enter(t *testing.T, s *harness.Server, version uint16) (c *harness.Conn, offered string) {
	t.Helper()
	c = harness.Dial(t, s.Addr(d.name))
	c.Line()
	if d.name == "submission" {
		d.hello(c)
	}
	c.Put(d.starttls + "\r\n")
	if got := c.Line(); !strings.HasPrefix(got, d.ready) {
		t.Fatalf("%s: %s", d.starttls, got)
	}
	cfg := s.TLS()
	cfg.MaxVersion = version
	if err := c.Upgrade(cfg); err != nil {
		t.Fatal(err)
	}
	return c, d.hello(c)
}

// login plays a conversation of SCRAM and gives the server's last line.
func (d door) login(t *testing.T, c *harness.Conn, mech string, conv *scram.ClientConversation) string {
	t.Helper()
	c.Put(fmt.Sprintf(d.auth, mech) + "\r\n")
	line := c.Line()
	for range 4 {
		text, more := strings.CutPrefix(strings.TrimPrefix(line, "334"), "+ ")
		if !more && !strings.HasPrefix(line, "334") {
			return line
		}
		challenge, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		answer := ""
		if !conv.Done() {
			if answer, err = conv.Step(string(challenge)); err != nil {
				t.Fatal(err)
			}
		}
		c.Put(base64.StdEncoding.EncodeToString([]byte(answer)) + "\r\n")
		line = c.Line()
	}
	return line
}

// leave ends the session and waits for that: a maildrop is free only then.
func leave(c *harness.Conn) {
	c.Put("QUIT\r\n")
	c.Line()
	_ = c.Close()
}

// TestScram logs in with a foreign implementation of SCRAM, bound and unbound, at each protocol under each TLS.
func TestScram(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	for _, d := range doors() {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			if version == tls.VersionTLS12 && d.name != "submission" {
				continue // what binds is the same for all
			}
			for mech, hash := range map[string]scram.HashGeneratorFcn{"SCRAM-SHA-1": scram.SHA1, "SCRAM-SHA-256": scram.SHA256} {
				client, err := hash.NewClient(bob, password, "")
				if err != nil {
					t.Fatal(err)
				}
				c, offered := d.enter(t, s, version)
				if !strings.Contains(offered, mech+"-PLUS") {
					t.Errorf("%s offers %s", d.name, offered)
				}
				if got := d.login(t, c, mech, client.NewConversation()); !strings.HasPrefix(got, d.ok) {
					t.Errorf("%s %s: %s", d.name, mech, got)
				}
				leave(c)
				for kind := range binders() {
					if kind == "tls-exporter" && version != tls.VersionTLS13 {
						continue
					}
					d.bound(t, s, version, mech, kind, client)
				}
			}
		}
	}
}

func binders() map[string]func(*tls.ConnectionState) (scram.ChannelBinding, error) {
	return map[string]func(*tls.ConnectionState) (scram.ChannelBinding, error){
		"tls-exporter": scram.NewTLSExporterBinding, "tls-server-end-point": scram.NewTLSServerEndpointBinding,
	}
}

// bound logs in bound to the channel; then to another, and as a client that was told there is no -PLUS.
func (d door) bound(t *testing.T, s *harness.Server, version uint16, mech, kind string, client *scram.Client) {
	t.Helper()
	for _, right := range []bool{true, false} {
		c, _ := d.enter(t, s, version)
		state := c.Conn.(*tls.Conn).ConnectionState()
		b, err := binders()[kind](&state)
		if err != nil {
			t.Fatal(err)
		}
		if !right {
			b.Data = append([]byte{^b.Data[0]}, b.Data[1:]...)
		}
		got := d.login(t, c, mech+"-PLUS", client.NewConversationWithChannelBinding(b))
		if strings.HasPrefix(got, d.ok) != right {
			t.Errorf("%s %s %s, right %v: %s", d.name, mech, kind, right, got)
		}
		leave(c)
	}
	c, _ := d.enter(t, s, version)
	if got := d.login(t, c, mech, client.NewConversationAdvertisingChannelBinding()); strings.HasPrefix(got, d.ok) {
		t.Errorf("%s %s: a client that says y is let in", d.name, mech)
	}
}

// TestOurClientBinds: `postel send` takes the best there is.
func TestOurClientBinds(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	for _, c := range []struct {
		tls, want string
	}{
		{"must", "AUTH SCRAM-SHA-256-PLUS"}, {"implicit", "AUTH SCRAM-SHA-256-PLUS"}, {"never", "AUTH SCRAM-SHA-256 "},
	} {
		name := "submission"
		if c.tls == "implicit" {
			name = "submissions"
		}
		out := run(t, password+"\n", harness.Binary(t), "send", "--to", alice, "--user", bob, "--password-stdin", "--tls", c.tls,
			"--ca", filepath.Join(s.Data, "ca.pem"), "--server", "localhost:"+port(s, name))
		if c.tls == "never" && !strings.Contains(out, "AUTH SCRAM-SHA-256") || c.tls != "never" && !strings.Contains(out, c.want) {
			t.Errorf("%s:\n%s", c.tls, out)
		}
	}
}

// TestSharedSecrets: dev's accounts carry every kind of secret, and programs of their day use them.
func TestSharedSecrets(t *testing.T) {
	t.Parallel()
	harness.Need(t, "swaks", "msmtp", "python3", "curl")
	s := harness.Dev(t)
	ca := filepath.Join(s.Data, "ca.pem")
	run(t, "", "swaks", "--to", alice, "--server", "127.0.0.1", "--port", port(s, "submission"), "--from", bob, "--tls",
		"--auth", "CRAM-MD5", "-au", bob, "-ap", password)
	conf := write(t, "msmtprc", fmt.Sprintf("account default\nhost localhost\nport %s\nfrom %s\nauth cram-md5\nuser %s\npassword %s\ntls on\ntls_trust_file %s\n",
		port(s, "submission"), bob, bob, password, ca))
	run(t, "Subject: x\n\nhello\n", "msmtp", "-C", conf, alice)
	for _, p := range []string{"imap://localhost:" + port(s, "imap") + "/", "pop3://localhost:" + port(s, "pop3") + "/"} {
		run(t, "", "curl", "-sS", "--ssl-reqd", "--cacert", ca, "--login-options", "AUTH=CRAM-MD5", "-u", bob+":"+password, p)
		if out, code := harness.Run(t, "", "curl", "-sS", "--ssl-reqd", "--cacert", ca, "--login-options", "AUTH=CRAM-MD5", "-u", bob+":wrong", p); code != 67 {
			t.Errorf("%s: a wrong secret: exit %d\n%s", p, code, out)
		}
	}
	// smtplib takes CRAM-MD5 before all else; poplib's APOP.
	run(t, fmt.Sprintf(`
import smtplib, poplib
for p in (%s, %s):
    c = smtplib.SMTP("localhost", p)
    c.ehlo()
    assert "CRAM-MD5" in c.esmtp_features["auth"], c.esmtp_features
    c.login("%s", "%s")
    c.sendmail("%s", ["%s"], "From: %s\r\nSubject: x\r\n\r\nhello\r\n")
    c.quit()
c = poplib.POP3("localhost", %s)
c.apop("%s", "%s")
assert c.stat()[0] == 4, c.stat()
c.quit()
`, port(s, "submission"), port(s, "smtp"), bob, password, bob, alice, bob, port(s, "pop3"), alice, password), "python3", "-")
}

// TestOddExchanges: what may go wrong in a login ends the attempt with a coded refusal, and leaves the session as it was;
// alike at each protocol.
func TestOddExchanges(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	b64 := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	long := strings.Repeat("A", 12_300)
	for _, d := range doors() {
		c, _ := d.enter(t, s, tls.VersionTLS13)
		prompt, refusals := "+", "-ERR"
		switch d.name {
		case "submission":
			prompt, refusals = "334 ", "5"
		case "imap":
			refusals = "b "
		}
		for _, x := range []struct {
			mech, smtp string
			answers    []string // to challenges; the last is refused
		}{
			{"PLAIN", "501 5.7.0", []string{"*"}},                                // cancelled
			{"PLAIN", "501 5.5.2", []string{"AGFsa"}},                            // not whole
			{"PLAIN", "501 5.5.2", []string{"!!!!"}},                             // not base64
			{"PLAIN", "501 5.5.2", []string{"="}},                                // which only a command may say
			{"PLAIN", "500 5.5.", []string{long}},                                // more than 12,288 octets
			{"PLAIN " + b64("no NUL at all"), "501 5.5.", nil},                   // not a message of PLAIN
			{"PLAIN =", "501 5.5.", nil},                                         // an empty one
			{"LOGIN", "501 5.", []string{b64(bob), "*"}},                         // cancelled halfway
			{"CRAM-MD5 " + b64("x"), "501 5.5.", nil},                            // it has no initial response
			{"CRAM-MD5", "501 5.5.", []string{b64("no digest")}},                 //
			{"SCRAM-SHA-256 " + b64("p=tls-exporter,,n=x,r=y"), "501 5.5.", nil}, // bound, without -PLUS
			{"SCRAM-SHA-1", "501 5.5.", []string{b64("n,,m=x,n=x,r=y")}},         // an extension that nobody has
			{"SCRAM-SHA-256-PLUS", "501 5.5.", []string{b64("p=x,,n=x,r=y")}},    // a binding that nobody has
			{"GSSAPI", "504 5.5.4", nil},
			{"EXTERNAL =", "504 5.5.4", nil}, // without a certificate
			{"OAUTHBEARER", "504 5.5.4", nil},
		} {
			c.Put(fmt.Sprintf(d.auth, x.mech) + "\r\n")
			line := c.Line()
			for _, a := range x.answers {
				if !strings.HasPrefix(line, prompt) {
					t.Fatalf("%s %s: %q", d.name, x.mech, line)
				}
				c.Put(a + "\r\n")
				line = c.Line()
			}
			want := refusals
			if d.name == "submission" {
				want = x.smtp
			}
			if !strings.HasPrefix(line, want) || strings.HasPrefix(line, "b OK") {
				t.Errorf("%s %s %.40q: %q, want %s", d.name, x.mech, x.answers, line, want)
			}
		}
		c.Put(fmt.Sprintf(d.auth, "PLAIN "+harness.Plain(bob, password)) + "\r\n")
		if got := c.Line(); !strings.HasPrefix(got, d.ok) {
			t.Errorf("%s: after all that %q", d.name, got)
		}
		c.Put(fmt.Sprintf(d.auth, "PLAIN "+harness.Plain(bob, password)) + "\r\n")
		if got := c.Line(); !strings.HasPrefix(got, refusals) || strings.HasPrefix(got, d.ok) || d.name == "submission" && !strings.HasPrefix(got, "503 5.5.1") {
			t.Errorf("%s: twice: %q", d.name, got)
		}
		if offered := d.hello(c); strings.Contains(offered, "AUTH ") || strings.Contains(offered, "AUTH=") {
			t.Errorf("%s offers logins to who is logged in: %s", d.name, offered)
		}
		leave(c)
	}
}

// TestFailedLogins: the tenth ends a connection, whatever the mechanism.
func TestFailedLogins(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	for _, d := range doors() {
		c, _ := d.enter(t, s, tls.VersionTLS13)
		line, n := "", 0
		for ; n < 12 && line != harness.EOF && !strings.HasPrefix(line, "421") && !strings.HasPrefix(line, "* BYE"); n++ {
			c.Put(fmt.Sprintf(d.auth, "PLAIN "+harness.Plain(bob, "wrong")) + "\r\n")
			line = c.Line()
		}
		if n < 10 || n > 11 {
			t.Errorf("%s: %d failed logins, then %q", d.name, n, line)
		}
	}
}
