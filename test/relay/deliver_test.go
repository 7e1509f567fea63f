package relay

import (
	"fmt"
	"strings"
	"testing"

	"postel/test/harness"
)

// TestByMX: several recipients in one transaction, byte for byte, hosts in the order of preference, the domain's own
// address without an MX.
func TestByMX(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	id := w.submit(t, alice, "one", "a@sink.test", "b@sink.test", "A@sink.test", "c@sink.test", bob)
	got := taken(t, s, 1)[0]
	if strings.Join(got.To, " ") != "<a@sink.test> <b@sink.test> <A@sink.test> <c@sink.test>" {
		t.Errorf("recipients: %v", got.To)
	}
	if !strings.HasPrefix(got.From, "<"+alice+">") || !strings.Contains(got.From, "BODY=8BITMIME") || !strings.Contains(got.From, "SIZE=") {
		t.Errorf("MAIL FROM:%s", got.From)
	}
	trace, ok := strings.CutSuffix(got.Text, letter("one"))
	if !ok || !strings.HasPrefix(trace, "Received: from client.test ([127.0.0.1])\r\n\tby postel.test with ESMTPSA\r\n") ||
		strings.Count(trace, "\r\nReceived:") > 0 || !strings.HasSuffix(trace, "\r\n") || strings.Contains(trace, "\tfor ") {
		t.Errorf("%q", got.Text)
	}
	if in := w.Inbox(bob, password); len(in) != 1 || !strings.HasSuffix(in[0], letter("one")) {
		t.Errorf("bob: %q", in)
	}
	w.queued(t, 0, 0)
	if k := strings.Join(w.kinds(t, id), " "); k != "received filed"+strings.Repeat(" queued", 4)+strings.Repeat(" relayed", 4) {
		t.Errorf("journey: %s", k)
	}

	w.submit(t, alice, "two", "x@plain.test")
	w.submit(t, alice, "three", "x@order.test")
	w.submit(t, alice, "four", "x@[127.0.0.2]")
	for _, m := range taken(t, s, 4)[1:] {
		if !strings.Contains(m.Text, "\r\n\tfor <x@") {
			t.Errorf("no for: %q", m.Text)
		}
	}
	old := w.sink(t, "127.0.0.3")
	old.Set("EHLO", "502 5.5.1 no EHLO here")
	w.submit(t, alice, "five", "x@old.test")
	if m := taken(t, old, 1)[0]; m.From != "<"+alice+">" { // no extensions
		t.Errorf("after HELO: MAIL FROM:%s", m.From)
	}
}

// TestUnknownHere: dev that relays refuses who is not there, and relays for nobody else.
func TestUnknownHere(t *testing.T) {
	t.Parallel()
	w := open(t)
	c := harness.SMTP(t, w.Addr("smtp"))
	c.Want("250", "MAIL FROM:<x@far.test>")
	c.Want("550 5.1.1 ", "RCPT TO:<nobody@postel.test>")
	c.Want("550 5.7.1 ", "RCPT TO:<x@sink.test>")
	c.Want("250 2.1.5 ", "RCPT TO:<%s>", alice)
}

// TestLater: what is refused for now waits, is shown, and goes when it is told to.
func TestLater(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "450 4.2.0 not now")
	m := w.submit(t, alice, "later", "x@sink.test")
	item := w.queued(t, 1, 1)[0]
	id := item["id"].(string)
	r := first(item)
	if item["message"] != m || item["destination"] != "sink.test" || item["from"] != alice || item["state"] != "waiting" ||
		r["address"] != "x@sink.test" || r["state"] != "waiting" || r["last"] != "450 4.2.0 not now" || r["last_host"] != "mx.sink.test" {
		t.Errorf("%v", item)
	}
	show := w.objects(t, "queue", "show", id)
	if history := first(show[0])["history"].([]any); len(history) != 1 {
		t.Errorf("history: %v", history)
	}
	if way := show[0]["way"].(map[string]any); !strings.Contains(fmt.Sprint(way["hosts"]), "mx.sink.test") {
		t.Errorf("way: %v", way)
	}
	delete(show[0], "way")
	if delete(first(show[0]), "history"); fmt.Sprint(show[0]) != fmt.Sprint(item) {
		t.Errorf("show: %v\nlist: %v", show, item)
	}
	if out, code := w.Postel("queue", "show", id); code != 0 || !strings.Contains(out, "450 4.2.0 not now") || !strings.Contains(out, "said by mx.sink.test (postel glass show s-") {
		t.Errorf("%d %s", code, out)
	}
	s.Set("RCPT", "451 4.7.1 greylisted")
	w.ok(t, "queue", "retry", id)
	w.queued(t, 1, 2)
	w.history(t, id, "450 4.2.0 not now", "451 4.7.1 greylisted")
	w.ok(t, "queue", "hold", id)
	if it := w.objects(t, "queue", "list", "--state", "held"); len(it) != 1 || it[0]["state"] != "held" {
		t.Errorf("held: %v", it)
	}
	s.Set("RCPT", "")
	if out, code := w.Postel("queue", "retry", id); code != 1 || !strings.Contains(out, "held") {
		t.Errorf("retry of a held one: %d %s", code, out)
	}
	w.ok(t, "queue", "release", id)
	taken(t, s, 1)
	w.queued(t, 0, 0)
	for _, verb := range []string{"show", "retry", "hold", "release", "drop", "bounce"} {
		if out, code := w.Postel("queue", verb, id); code != 1 || strings.Count(out, "\n") != 1 {
			t.Errorf("%s of what is gone: %d %s", verb, code, out)
		}
		if out, code := w.Postel("queue", verb, "rubbish"); code != 2 {
			t.Errorf("%s rubbish: %d %s", verb, code, out)
		}
	}
	k := strings.Join(w.kinds(t, "<later@letters.test>"), " ")
	if k != "received queued attempted attempted held released relayed" {
		t.Errorf("journey: %s", k)
	}
}

// TestDrop: given up by hand, without a report.
func TestDrop(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.sink(t, "127.0.0.2").Set("MAIL", "451 4.3.0 busy")
	w.submit(t, alice, "drop", "x@sink.test")
	id := w.queued(t, 1, 1)[0]["id"].(string)
	w.ok(t, "queue", "drop", id)
	w.queued(t, 0, 0)
	if in := w.Inbox(alice, password); len(in) != 0 {
		t.Errorf("a report: %q", in)
	}
	if k := w.kinds(t, "<drop@letters.test>"); k[len(k)-1] != "dropped" {
		t.Errorf("%v", k)
	}
}

// TestServerBack: a server that was down takes its mail when the queue is told to try.
func TestServerBack(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.submit(t, alice, "down", "x@sink.test")
	item := w.queued(t, 1, 1)[0]
	if !strings.HasPrefix(first(item)["last"].(string), "451 4.4.1 ") {
		t.Errorf("%v", item)
	}
	s := w.sink(t, "127.0.0.2")
	w.ok(t, "queue", "retry", item["id"].(string))
	taken(t, s, 1)
	w.queued(t, 0, 0)
}

// TestRestart: what waits outlives the server, and goes when it is back.
func TestQueueOutlivesKill(t *testing.T) {
	t.Parallel()
	w := &world{}
	w.port = harness.FreePort(t)
	data := harness.Dir(t) + "/data"
	start := func() {
		w.Server = harness.Dev(t, "--deliver", "relay", "--dns", w.dns.Addr, "--mx-port", fmt.Sprint(w.port), "--data", data, "--account", alice+":"+password)
	}
	w.dns = startDNS(t)
	start()
	s := w.sink(t, "127.0.0.2")
	s.Set("DATA", "452 4.3.1 full")
	w.submit(t, alice, "kept", "x@sink.test", "y@sink.test")
	w.queued(t, 1, 1)
	w.Kill()
	s.Set("DATA", "")
	if items := w.objects(t, "queue", "list"); len(items) != 1 || len(items[0]["recipients"].([]any)) != 2 { // no server: the data itself
		t.Errorf("%v", items)
	}
	start()
	w.ok(t, "queue", "retry", w.queued(t, 1, 1)[0]["id"].(string))
	if m := taken(t, s, 1)[0]; len(m.To) != 2 || !strings.HasSuffix(m.Text, letter("kept")) {
		t.Errorf("%v", m)
	}
}

// ok runs a command that must end with 0.
func (w *world) ok(t *testing.T, args ...string) string {
	t.Helper()
	out, code := w.Postel(args...)
	if code != 0 {
		t.Fatalf("postel %s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}
