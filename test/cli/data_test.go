package cli

import (
	"strings"
	"testing"

	"postel/test/harness"
)

// TestJSON: the shape of what each reading command prints, and -q.
func TestJSON(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t, "--deliver", "relay", "--dns", "127.0.0.1:1") // nobody resolves: mail waits
	at := func(args ...string) []string { return append(args, "--data", s.Data) }
	c := harness.Dial(t, s.Addr("submission"))
	c.Reply()
	c.Want("250", "EHLO x.test")
	c.Want("235", "AUTH PLAIN %s", harness.Plain(alice, password))
	if r := c.Send(alice, "x@far.test", "From: "+alice+"\r\nMessage-ID: <one@x>\r\n\r\nx\r\n"); r[0] != '2' {
		t.Fatal(r)
	}
	run(t, 0, at("alias", "add", "team@postel.test", alice, bob)...)
	hasKeys(t, "account list", objects(t, run(t, 0, at("account", "list", "--json")...).out), "address", "addresses", "used", "messages")
	hasKeys(t, "domain list", objects(t, run(t, 0, at("domain", "list", "--json")...).out), "name", "kind")
	hasKeys(t, "alias list", objects(t, run(t, 0, at("alias", "list", "--json")...).out), "address", "to")
	hasKeys(t, "alias resolve", objects(t, run(t, 0, at("alias", "resolve", "team@postel.test", "--json")...).out), "address", "to")
	queued := objects(t, run(t, 0, at("queue", "list", "--json")...).out)
	hasKeys(t, "queue list", queued, "id", "message", "destination", "from", "size", "received", "state", "recipients")
	id := queued[0]["id"].(string)
	hasKeys(t, "queue show", objects(t, run(t, 0, at("queue", "show", id, "--json")...).out), "id", "recipients")
	hasKeys(t, "queue hold", objects(t, run(t, 0, at("queue", "hold", id, "--json")...).out), "id", "done")
	if r := run(t, 0, at("queue", "release", id, "-q")...); r.out+r.err != "" {
		t.Errorf("-q says %+v", r)
	}
	for filter, n := range map[string]int{"--from alice": 1, "--from bob": 0, "--to far": 1, "--domain far.test": 1, "--domain other.test": 0, "--state held": 0, "--from <>": 0} {
		if got := objects(t, run(t, 0, at(append([]string{"queue", "list", "--json"}, strings.Fields(filter)...)...)...).out); len(got) != n {
			t.Errorf("%s: %d items, want %d", filter, len(got), n)
		}
	}
	sessions := objects(t, run(t, 0, at("glass", "list", "--json", "-n", "1")...).out)
	hasKeys(t, "glass list", sessions, "id", "protocol", "outbound", "local", "remote", "start")
	if len(sessions) != 1 {
		t.Errorf("-n 1: %d", len(sessions))
	}
	hasKeys(t, "glass show", objects(t, run(t, 0, at("glass", "show", sessions[0]["id"].(string), "--json")...).out), "id", "lines")
	hasKeys(t, "journey", objects(t, run(t, 0, at("journey", "<one@x>", "--json")...).out), "message", "time", "kind")
	run(t, 1, at("journey", "<unknown@x>")...)
	run(t, 0, at("queue", "drop", id)...)
	for _, verb := range []string{"account rm nobody@postel.test", "alias rm nobody@postel.test", "domain rm nowhere.test", "queue show " + id} {
		if r := run(t, 1, at(strings.Fields(verb)...)...); strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "postel: ") {
			t.Errorf("%s: %+v", verb, r)
		}
	}
}

// TestInbox: what the catcher caught, as a list and whole.
func TestInbox(t *testing.T) {
	t.Parallel()
	s := harness.Dev(t)
	if r := run(t, 0, "inbox", "list", "--data", s.Data); r.out != "" {
		t.Errorf("%q", r.out)
	}
	text := "From: Me <me@here.test>\r\nTo: You <you@there.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\ncaught\r\n"
	send(t, s, "me@here.test", "you@there.test", text)
	send(t, s, "me@here.test", "unknown@postel.test", "Subject: second\r\n\r\nx\r\n")
	list := objects(t, run(t, 0, "inbox", "list", "--json", "--data", s.Data).out)
	hasKeys(t, "inbox list", list, "id", "message", "from", "to", "subject", "size", "received")
	if len(list) != 2 || list[0]["subject"] != "Grüße" || list[0]["to"] != "You <you@there.test>" {
		t.Fatalf("%v", list)
	}
	raw := run(t, 0, "inbox", "show", list[0]["id"].(string), "--data", s.Data).out
	if !strings.HasSuffix(raw, text) || !strings.Contains(raw, "Delivered-To: you@there.test") {
		t.Errorf("%q", raw)
	}
	hasKeys(t, "inbox show", objects(t, run(t, 0, "inbox", "show", list[0]["id"].(string), "--json", "--data", s.Data).out), "id", "raw")
	run(t, 1, "inbox", "show", "99", "--data", s.Data)
	run(t, 2, "inbox", "show", "first", "--data", s.Data)
	c := harness.Dial(t, s.Addr("pop3"))
	c.Line()
	c.Say("USER catch@postel.test")
	if r := c.Say("PASS anything"); !strings.HasPrefix(r, "+OK") {
		t.Errorf("%s", r)
	}
	if r := c.Say("STAT"); !strings.HasPrefix(r, "+OK 2 ") {
		t.Errorf("%s", r)
	}
}
