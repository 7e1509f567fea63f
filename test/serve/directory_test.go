package serve

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// objects reads one JSON object a line.
func objects(t *testing.T, out string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for line := range strings.Lines(out) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, v)
	}
	return all
}

// TestDirectory goes through the commands with and without a server: the same words, the same ends.
func TestDirectory(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{false, true} {
		t.Run(fmt.Sprint("running=", running), func(t *testing.T) {
			t.Parallel()
			file := harness.WriteConfig(t, company)
			if running {
				harness.ServeFile(t, file)
			}
			directoryStory(t, file)
		})
	}
}

func directoryStory(t *testing.T, file string) {
	t.Helper()
	addAccounts(t, file)
	want(t, 1, file, "x\n", "account", "add", ann, "--password-stdin")
	want(t, 1, file, "x\n", "account", "add", "ann@not-ours.test", "--password-stdin")
	want(t, 2, file, "\n", "account", "add", "cid@example.test", "--password-stdin")
	want(t, 2, file, "x\n", "account", "add", "no address", "--password-stdin")
	want(t, 2, file, "", "account", "add", "cid@example.test") // no terminal
	want(t, 1, file, "x\n", "account", "passwd", "cid@example.test", "--password-stdin")
	want(t, 0, file, "other\n", "account", "passwd", ben, "--password-stdin")
	list := objects(t, want(t, 0, file, "", "account", "list", "--json"))
	if len(list) != 2 || list[0]["address"] != ann || list[1]["address"] != ben || list[0]["messages"] != 0.0 {
		t.Errorf("%v", list)
	}
	domains := objects(t, want(t, 0, file, "", "domain", "add", "relayed.test", "--kind", "relay", "--json"))
	if domains[0]["name"] != "relayed.test" || domains[0]["kind"] != "relay" {
		t.Errorf("%v", domains)
	}
	want(t, 1, file, "", "domain", "add", "relayed.test")
	want(t, 2, file, "", "domain", "add", "no domain")
	want(t, 2, file, "", "domain", "add", "x.test", "--kind", "odd")
	want(t, 0, file, "", "domain", "add", "bücher.test")
	if out := want(t, 0, file, "", "domain", "list"); !strings.Contains(out, "bücher.test") || !strings.Contains(out, "relayed.test") {
		t.Errorf("%s", out)
	}
	want(t, 0, file, "", "domain", "rm", "bücher.test")
	want(t, 1, file, "", "domain", "rm", "bücher.test")
	want(t, 1, file, "", "domain", "rm", "example.test") // it has accounts

	want(t, 0, file, "", "alias", "add", "all@example.test", "sales@example.test", "far@away.test")
	want(t, 1, file, "", "alias", "add", ann, ben) // an account has that address
	want(t, 1, file, "", "alias", "add", "x@not-ours.test", ben)
	out := objects(t, want(t, 0, file, "", "alias", "resolve", "all@example.test", "--json"))
	if fmt.Sprint(out[0]["to"]) != "[ann@example.test ben@example.test far@away.test]" {
		t.Errorf("%v", out)
	}
	want(t, 1, file, "", "alias", "resolve", "nobody@example.test")
	want(t, 1, file, "", "alias", "rm", "nobody@example.test")
	want(t, 0, file, "", "alias", "rm", "all@example.test")
	if out := want(t, 0, file, "", "alias", "list"); strings.Contains(out, "all@") || !strings.Contains(out, "sales@") {
		t.Errorf("%s", out)
	}
	suppressionStory(t, file)
	want(t, 0, file, "", "account", "rm", ben)
	want(t, 1, file, "", "account", "rm", ben)
	if list := objects(t, want(t, 0, file, "", "account", "list", "--json")); len(list) != 1 {
		t.Errorf("%v", list)
	}
}

// suppressionStory is that of the suppression list and of bulk senders.
func suppressionStory(t *testing.T, file string) {
	t.Helper()
	want(t, 0, file, "", "suppression", "add", "Gone@far.test", "--reason", "asked us", "--expires", "90d")
	want(t, 0, file, "", "suppression", "add", "other@far.test")
	want(t, 2, file, "", "suppression", "add", "no address")
	list := objects(t, want(t, 0, file, "", "suppression", "list", "--json"))
	if len(list) != 2 || list[0]["address"] != "gone@far.test" || list[0]["reason"] != "asked us" || list[0]["source"] != "operator" ||
		list[0]["since"] == nil || list[0]["expires"] == nil || list[1]["expires"] != nil {
		t.Errorf("%v", list)
	}
	want(t, 0, file, "", "suppression", "rm", "other@FAR.test")
	want(t, 1, file, "", "suppression", "rm", "other@far.test")
	if out := want(t, 0, file, "", "suppression", "list"); strings.Count(out, "\n") != 1 || !strings.Contains(out, "gone@far.test") || !strings.Contains(out, "until") {
		t.Errorf("%s", out)
	}
	want(t, 0, file, "", "account", "bulk", ben, "--verp")
	if list := objects(t, want(t, 0, file, "", "account", "list", "--json")); list[1]["bulk"] != true || list[1]["verp"] != true || list[0]["bulk"] != nil {
		t.Errorf("%v", list)
	}
	want(t, 0, file, "", "account", "bulk", ben, "--undo")
	want(t, 2, file, "", "account", "bulk", ben, "--undo", "--verp")
	want(t, 1, file, "", "account", "bulk", "nobody@example.test")
}

// TestWhoGetsIt: aliases, subaddresses, case, postmaster, catch-all, quota and loops, by SMTP.
func TestWhoGetsIt(t *testing.T) {
	t.Parallel()
	config := harness.WriteConfig(t, company+"\n[[domain]]\nname = \"caught.test\"\ncatchall = \"ben@example.test\"\n")
	addAccounts(t, config)
	want(t, 0, config, password, "account", "add", "small@example.test", "--password-stdin", "--quota", "2000")
	want(t, 0, config, "", "alias", "add", "to-small@example.test", "small@example.test")
	want(t, 0, config, "", "alias", "add", "one@example.test", "two@example.test")
	want(t, 0, config, "", "alias", "add", "two@example.test", "three@example.test", ann)
	want(t, 0, config, "", "alias", "add", "three@example.test", "one@example.test") // a loop with a way out
	want(t, 0, config, "", "alias", "add", "ping@example.test", "pong@example.test")
	want(t, 0, config, "", "alias", "add", "pong@example.test", "ping@example.test") // and one without
	want(t, 1, config, "", "alias", "resolve", "ping@example.test")
	s := harness.ServeFile(t, config)
	c := harness.SMTP(t, s.Addr("smtp"))
	n := map[string]int{}
	for _, one := range []struct{ to, reply, gets string }{
		{ann, "250 ", ann},
		{"ANN@Example.TEST", "250 ", ann},
		{"ann+lists@example.test", "250 ", ann},
		{"\"ann\"@example.test", "250 ", ann},
		{"sales@example.test", "250 ", ann + " " + ben},
		{"postmaster", "250 ", ann},
		{"Postmaster@example.test", "250 ", ann},
		{"postmaster@caught.test", "250 ", ben},
		{"postmaster@[127.0.0.1]", "250 ", ann},
		{"whoever@caught.test", "250 ", ben},
		{"postmaster@" + harness.Hostname, "250 ", ann},
		{"one@example.test", "250 ", ann},
		{"ping@example.test", "554 5.4.6 ", ""},
		{"nobody@example.test", "550 5.1.1 ", ""},
		{"nobody+ann@example.test", "550 5.1.1 ", ""},
		{"ann@" + harness.Hostname, "550 5.7.1 ", ""},
		{"ann@not-ours.test", "550 5.7.1 ", ""},
	} {
		if r := c.Send("x@far.test", one.to, letter("to "+one.to)); !strings.HasPrefix(r, one.reply) {
			t.Errorf("%s: %s, want %s", one.to, r, one.reply)
		}
		c.Say("RSET")
		for _, who := range strings.Fields(one.gets) {
			n[who]++
		}
	}
	twice(t, c)
	n[ann]++
	quota(t, c)
	for who, n := range n {
		for _, m := range count(t, s, who, n) {
			if !strings.HasPrefix(m, "Return-Path: <x@far.test>\r\nDelivered-To: ") || strings.Count(m, "\r\nReceived: ") != 1 {
				t.Errorf("trace fields:\n%s", m)
			}
		}
	}
}

// TestDisabled: a disabled account gets no mail (RFC 3463 §3.3, 5.2.1) and nobody in; what it has is there afterwards.
func TestDisabled(t *testing.T) {
	t.Parallel()
	config := harness.WriteConfig(t, company)
	addAccounts(t, config)
	s := harness.ServeFile(t, config)
	login := func() string {
		c := harness.SMTP(t, s.Addr("submission"))
		c.Want("220 ", "STARTTLS")
		if err := c.Upgrade(s.TLS()); err != nil {
			t.Fatal(err)
		}
		c.Want("250", "EHLO client.test")
		return c.Say("AUTH PLAIN %s", harness.Plain(ann, password))
	}
	mx := harness.SMTP(t, s.Addr("smtp"))
	for _, x := range []struct{ undo, mail, login string }{{"", "550 5.2.1 ", "535 5.7.8 "}, {"--undo", "250 ", "235 "}} {
		want(t, 0, config, "", append([]string{"account", "disable", ann}, strings.Fields(x.undo)...)...)
		if r := mx.Send("x@far.test", ann, letter("disabled")); !strings.HasPrefix(r, x.mail) {
			t.Errorf("mail: %s, want %s", r, x.mail)
		}
		mx.Say("RSET")
		if r := login(); !strings.HasPrefix(r, x.login) {
			t.Errorf("login: %s, want %s", r, x.login)
		}
	}
	want(t, 1, config, "", "account", "disable", "nobody@example.test")
}

// twice: the same recipient twice is 250 twice and delivered once.
func twice(t *testing.T, c *harness.Conn) {
	t.Helper()
	c.Say("RSET")
	c.Want("250 2.1.0", "MAIL FROM:<x@far.test>")
	c.Want("250 2.1.5", "RCPT TO:<%s>", ann)
	c.Want("250 2.1.5", "RCPT TO:<%s>", strings.ToUpper(ann))
	c.Want("354 ", "DATA")
	c.Want("250 ", "%s.", letter("twice"))
}

// quota is decided at RCPT; who is accepted there may overrun by one message.
func quota(t *testing.T, c *harness.Conn) {
	t.Helper()
	c.Want("250", "MAIL FROM:<x@far.test> SIZE=5000")
	c.Want("552 5.2.2", "RCPT TO:<small@example.test>") // it never will fit
	c.Say("RSET")
	big := letter("overrun") + strings.Repeat("0123456789\r\n", 300)
	if r := c.Send("x@far.test", "small@example.test", big); !strings.HasPrefix(r, "250") {
		t.Errorf("overrun by one message: %s", r)
	}
	if r := c.Send("x@far.test", "small@example.test", letter("more")); !strings.HasPrefix(r, "452 4.2.2") {
		t.Errorf("over quota: %s", r)
	}
	c.Say("RSET")
	c.Want("250", "MAIL FROM:<x@far.test>") // nor is an alias a way around it, or a circle taken and then reported
	c.Want("452 4.2.2", "RCPT TO:<to-small@example.test>")
	c.Want("554 5.4.6", "RCPT TO:<ping@example.test>")
	c.Say("RSET")
}
