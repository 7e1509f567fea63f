package ondemand

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"postel/test/harness"
)

// odmr connects to the port of on-demand mail relay and logs in.
func odmr(t *testing.T, s *harness.Server, user string) *harness.Conn {
	t.Helper()
	c := harness.SMTP(t, s.Addr("odmr"))
	c.Want("235 ", "AUTH PLAIN %s", harness.Plain(user, password))
	return c
}

// takeMail is the customer's side of a session that is turned round, up to QUIT; it gives the recipients of what it
// took. After the given number of messages it vanishes behind the final dot, without an answer; -1 is never.
func takeMail(t *testing.T, c *harness.Conn, vanish int) (taken []string) {
	t.Helper()
	c.Put("220 customer.test ready\r\n")
	for n := 0; ; {
		switch line := c.Line(); {
		case strings.HasPrefix(line, "EHLO "):
			c.Put("250-customer.test\r\n250 8BITMIME\r\n")
		case strings.HasPrefix(line, "MAIL "):
			c.Put("250 ok\r\n")
		case strings.HasPrefix(line, "RCPT "):
			taken = append(taken, strings.Trim(strings.TrimPrefix(line, "RCPT TO:"), "<>"))
			c.Put("250 ok\r\n")
		case line == "DATA":
			c.Put("354 go\r\n")
			for c.Line() != "." {
			}
			if n == vanish {
				_ = c.Close()
				return taken
			}
			n++
			c.Put("250 taken\r\n")
		case line == "QUIT":
			c.Put("221 bye\r\n")
			return taken
		default:
			t.Fatalf("the provider says %q", line)
		}
	}
}

// TestATRN: mail for a customer's domain is taken from anyone in both modes, kept, sent nowhere by itself, and taken
// by its account alone, in clear and under TLS (RFC 2645 §5).
func TestATRN(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"catch", "relay"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := open(t, "--deliver", mode, "--odmr", "customer.test="+bob, "--odmr", "more.test=bob", "--odmr", "other.test=alice")
			sink := harness.StartSink(t, fmt.Sprintf("127.0.0.2:%d", w.port)) // its MX, to which nothing goes
			c := harness.SMTP(t, w.Addr("odmr"))
			if r := c.Say("EHLO c.test"); !strings.Contains(r, "CRAM-MD5") || !strings.Contains(r, "ATRN") || strings.Contains(r, "SIZE") {
				t.Error(r)
			}
			c.Want("530 ", "ATRN customer.test")
			c.Want("502 ", "NOOP")
			c = odmr(t, w.Server, bob)
			c.Want("453 ", "ATRN")
			c.Want("453 ", "ATRN customer.test,more.test")
			c.Want("450 ", "ATRN customer.test,other.test")
			c.Want("450 ", "ATRN postel.test")
			for i := range 5 {
				deliver(t, w.Server, fmt.Sprintf("u%d@customer.test", i), fmt.Sprint(i))
			}
			deliver(t, w.Server, "x@more.test", "more")
			if out, code := w.Postel("queue", "retry", list(t, w.Server)[0].ID); code != 0 {
				t.Error(out)
			}
			smtp := harness.SMTP(t, w.Addr("smtp"))
			smtp.Want("459 ", "ETRN customer.test") // it has its own way
			c.Want("250 ", "ATRN customer.test")
			second := odmr(t, w.Server, bob)
			second.Want("451 ", "ATRN customer.test")
			second.Want("451 ", "ATRN")
			if got := takeMail(t, c, -1); strings.Join(got, " ") != "u0@customer.test u1@customer.test u2@customer.test u3@customer.test u4@customer.test" {
				t.Errorf("%q", got)
			}
			if l := c.Line(); l != harness.EOF {
				t.Error(l)
			}
			c = harness.SMTP(t, w.Addr("odmr"))
			c.Want("220 ", "STARTTLS")
			if err := c.Upgrade(w.TLS()); err != nil {
				t.Fatal(err)
			}
			c.Want("250", "EHLO c.test")
			c.Want("235 ", "AUTH PLAIN %s", harness.Plain(bob, password))
			c.Want("250 ", "ATRN")
			if got := takeMail(t, c, -1); strings.Join(got, " ") != "x@more.test" {
				t.Errorf("%q", got)
			}
			if items := list(t, w.Server); len(items) != 0 || len(sink.Taken()) != 0 {
				t.Errorf("%+v %+v", items, sink.Taken())
			}
			if out, _ := w.Postel("glass", "list"); !strings.Contains(out, "odmr") {
				t.Error(out)
			}
		})
	}
}

// TestKillInATRN: after kill -9 in the middle of a session everything that was not answered with 250 is still there,
// and nothing else; what was on its way is named, before the kill or at the next start.
func TestKillInATRN(t *testing.T) {
	t.Parallel()
	for _, answered := range []int{0, 2} {
		t.Run(fmt.Sprint(answered), func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(harness.Dir(t), "data")
			w := open(t, "--data", data, "--odmr", "customer.test="+bob)
			for i := range 4 {
				deliver(t, w.Server, fmt.Sprintf("u%d@customer.test", i), fmt.Sprint(i))
			}
			c := odmr(t, w.Server, bob)
			c.Want("250 ", "ATRN")
			if got := takeMail(t, c, answered); len(got) != answered+1 {
				t.Fatalf("%q", got)
			}
			w.Kill()
			killed := w
			w = open(t, "--data", data, "--odmr", "customer.test="+bob)
			c = odmr(t, w.Server, bob)
			c.Want("250 ", "ATRN")
			got := takeMail(t, c, -1)
			if want := fmt.Sprintf("u%d@customer.test", answered); len(got) != 4-answered || got[0] != want {
				t.Errorf("%q, first of all %s", got, want)
			}
			if log := killed.Log() + w.Log(); !strings.Contains(log, "it may arrive twice") {
				t.Errorf("nothing tells of %s: %s", got[0], log)
			}
		})
	}
}

// TestVanishedCustomer: who goes without an answer behind the final dot gets that message again, and the log says so.
func TestVanishedCustomer(t *testing.T) {
	t.Parallel()
	w := open(t, "--odmr", "customer.test="+bob)
	deliver(t, w.Server, "x@customer.test", "1")
	c := odmr(t, w.Server, bob)
	c.Want("250 ", "ATRN")
	takeMail(t, c, 0)
	harness.Eventually(t, func() error {
		if log := w.Log(); !strings.Contains(log, "it may arrive twice") {
			return fmt.Errorf("%s", log)
		}
		return nil
	})
	if items := queued(t, w.Server, 1); !strings.Contains(items[0].Recipients[0].Last, "connection lost in FINAL") {
		t.Errorf("%+v", items)
	}
	c = odmr(t, w.Server, bob)
	c.Want("250 ", "ATRN")
	if got := takeMail(t, c, -1); len(got) != 1 {
		t.Error(got)
	}
}

// TestFetchmailODMR: fetchmail takes the mail by CRAM-MD5 and hands it to an SMTP server, another Postel.
func TestFetchmailODMR(t *testing.T) {
	t.Parallel()
	home := harness.Dev(t, "--domain", "customer.test", "--account", "x@customer.test:"+password)
	w := open(t, "--odmr", "customer.test="+bob)
	rc := fmt.Sprintf("poll 127.0.0.1 service %d proto odmr auth cram-md5\n user '%s' password '%s' sslproto '' smtphost '127.0.0.1/%d' fetchdomains customer.test\n",
		w.Ports["odmr"], bob, password, home.Ports["smtp"])
	if out, code := fetchmail(t, rc); code != 0 || !strings.Contains(out, "453 ") || !strings.Contains(out, "You have no mail") {
		t.Errorf("nothing waits: exit %d\n%s", code, out)
	}
	for i := range 3 {
		deliver(t, w.Server, "x@customer.test", fmt.Sprint(i))
	}
	out, code := fetchmail(t, rc)
	if code != 0 {
		t.Errorf("exit %d\n%s", code, out)
	}
	inbox := home.Inbox("x@customer.test", password)
	if len(inbox) != 3 || len(list(t, w.Server)) != 0 {
		t.Fatalf("%d messages came\n%s", len(inbox), out)
	}
	for i, m := range inbox {
		if !strings.HasSuffix(m, fmt.Sprintf("\r\n. a dot\r\nthe end of %d\r\n", i)) {
			t.Errorf("%q", m)
		}
	}
	if out, code := fetchmail(t, strings.Replace(rc, password, "wrong", 1)); code == 0 || !strings.Contains(out, "535 ") {
		t.Errorf("a wrong password: exit %d\n%s", code, out)
	}
}
