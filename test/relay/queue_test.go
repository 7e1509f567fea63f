package relay

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// lists gives how many lines `queue list` prints with some flags.
func (w *world) lists(t *testing.T, want int, flags ...string) []map[string]any {
	t.Helper()
	got := w.objects(t, append([]string{"queue", "list"}, flags...)...)
	if len(got) != want {
		t.Errorf("queue list %v: %d, want %d: %v", flags, len(got), want, got)
	}
	return got
}

// count asks `queue list --count`.
func (w *world) count(t *testing.T, want string, flags ...string) {
	t.Helper()
	if got := fmt.Sprint(w.objects(t, append([]string{"queue", "list", "--count"}, flags...)...)); got != "[map["+want+"]]" {
		t.Errorf("count %v: %s, want %s", flags, got, want)
	}
}

// TestMany: what waits is found by what is known of it, changed many at once after a look at how many these are, and what
// became of each recipient is told.
func TestMany(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "450 4.2.0 not now")
	for i := range 5 {
		w.submit(t, alice, fmt.Sprint("plain", i), fmt.Sprintf("p%d@plain.test", i))
	}
	w.submit(t, "", "sunk", "x@sink.test", "y@sink.test")
	w.queued(t, 6, 1)
	for flags, want := range map[string]int{
		"--domain PLAIN.test": 5, "--from <>": 1, "--to p3": 1, "--error mx.sink": 1, "--error 4.2.0": 6, "--error nonsense": 0,
		"--older 1h": 0, "--younger 1h": 6, "--priority 0": 6, "--priority 3": 0, "--state held": 0, "--domain plain.test --to x@": 0,
	} {
		w.lists(t, want, strings.Fields(flags)...)
	}
	w.count(t, "items:6 recipients:7")
	w.count(t, "items:0 recipients:0", "--state", "held")
	for _, bad := range []string{"--state odd", "--older soon", "--priority 10", "--done --priority 1", "--done --state held"} {
		if out, code := w.Postel(append([]string{"queue", "list"}, strings.Fields(bad)...)...); code != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %d %s", bad, code, out)
		}
	}
	for _, bad := range []string{"hold", "hold --all q-00000000000000", "hold --domain plain.test", "hold --dry-run", "drop --all"} {
		if out, code := w.Postel(append([]string{"queue"}, strings.Fields(bad)...)...); code != 2 {
			t.Errorf("%s: %d %s", bad, code, out)
		}
	}
	if out, code := w.Postel("queue", "hold", "--domain", "plain.test", "--dry-run"); code != 0 || out != "would hold 5 items\n" {
		t.Errorf("%d %s", code, out)
	}
	w.lists(t, 0, "--state", "held")
	if out, code := w.Postel("queue", "hold", "--domain", "plain.test", "--yes"); code != 0 || out != "hold 5 items\n" {
		t.Errorf("%d %s", code, out)
	}
	w.lists(t, 5, "--state", "held")
	if got := w.objects(t, "queue", "retry", "--all", "--dry-run"); got[0]["items"] != 1.0 {
		t.Errorf("what is held would be tried: %v", got)
	}
	w.ok(t, "queue", "drop", "--to", "p0", "--yes")
	s.Set("RCPT", "")
	s.Set("RCPT <p1@plain.test>", "550 5.1.1 unknown")
	w.ok(t, "queue", "release", "--all", "--yes")
	w.ok(t, "queue", "retry", "--all", "--yes")
	taken(t, s, 4)
	w.queued(t, 0, 0)
	w.count(t, "recipients:5", "--done", "--state", "relayed")
	for flags, want := range map[string]int{
		"": 7, "--state bounced": 1, "--state dropped": 1, "--domain sink.test": 2, "--from <>": 2, "--error 5.1.1": 1, "--older 1h": 0, "--younger 1h": 7,
	} {
		w.lists(t, want, append([]string{"--done"}, strings.Fields(flags)...)...)
	}
	bounced := w.lists(t, 1, "--done", "--to", "p1")[0]
	if bounced["state"] != "bounced" || bounced["last"] != "550 5.1.1 unknown" || bounced["attempts"] != 2.0 || bounced["from"] != alice {
		t.Errorf("%v", bounced)
	}
	if ended, err := time.Parse(time.RFC3339, bounced["ended"].(string)); err != nil || time.Since(ended) > time.Minute {
		t.Errorf("%v %v", ended, err)
	}
	if out, code := w.Postel("queue", "list", "--done", "--to", "p1"); code != 0 || !strings.Contains(out, "plain.test said 550 5.1.1 unknown") {
		t.Errorf("%d %s", code, out)
	}
}

// history checks what came of the attempts at the only recipient of an item, each with a session that glass knows.
func (w *world) history(t *testing.T, id string, want ...string) {
	t.Helper()
	all := first(w.objects(t, "queue", "show", id)[0])["history"].([]any)
	if len(all) != len(want) {
		t.Fatalf("history: %v, want %q", all, want)
	}
	for i, x := range all {
		a := x.(map[string]any)
		if !strings.Contains(a["reply"].(string), want[i]) {
			t.Errorf("attempt %d: %v, want %q", i, a, want[i])
		}
		if out, code := w.Postel("glass", "show", fmt.Sprint(a["session"])); code != 0 {
			t.Errorf("attempt %d: glass: %d %s", i, code, out)
		}
	}
}

// TestHistory: what each attempt came to is told, also where there was no session to speak of.
func TestHistory(t *testing.T) {
	t.Parallel()
	w := open(t)
	w.submit(t, alice, "history", "x@sink.test")
	id := w.queued(t, 1, 1)[0]["id"].(string)
	w.history(t, id, "connection refused")
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "450 4.2.0 not now")
	for i := range 8 {
		w.ok(t, "queue", "retry", id)
		w.queued(t, 1, float64(i+2))
	}
	w.history(t, id, strings.Split(strings.Repeat("450 4.2.0 not now,", 8), ",")[:8]...)
}

// TestBounceByHand: what an operator returns goes back as if its time were over, held or not, with all that was said.
func TestBounceByHand(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "450 4.2.0 not now")
	w.submit(t, alice, "back", "x@sink.test", "y@sink.test")
	id := w.queued(t, 1, 1)[0]["id"].(string)
	for _, bad := range []string{"two\nlines", strings.Repeat("x", 501), "\x1b[1m"} {
		if out, code := w.Postel("queue", "bounce", id, "--text", bad); code != 2 || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: %d %s", bad, code, out)
		}
	}
	w.ok(t, "queue", "hold", id)
	w.ok(t, "queue", "bounce", id, "--text", "the customer has left")
	r := w.report(t, 1)
	if len(r.rcpts) != 2 || !strings.Contains(r.original, "letter back") {
		t.Fatalf("%v", r)
	}
	for i, to := range []string{"x@sink.test", "y@sink.test"} {
		if got := r.rcpts[i]; got.Get("Status") != "5.4.7" || got.Get("Action") != "failed" || got.Get("Final-Recipient") != "rfc822; "+to {
			t.Errorf("%v", got)
		}
	}
	text := w.Inbox(alice, password)[0]
	if !strings.Contains(text, "the customer has left") || !strings.Contains(text, "450 4.2.0 not now") {
		t.Error(text)
	}
	w.queued(t, 0, 0)
	ended := w.lists(t, 2, "--done", "--state", "bounced")
	if last := ended[0]["last"].(string); !strings.HasPrefix(last, "550 5.4.7 the customer has left; last: 450 ") || len(s.Taken()) != 0 {
		t.Errorf("%v", ended)
	}
	// One whose sender is nobody goes without a report; so do many at once.
	w.submit(t, "", "nobody", "x@sink.test")
	w.submit(t, "", "nobody2", "y@sink.test")
	w.queued(t, 2, 1)
	w.ok(t, "queue", "bounce", "--from", "<>", "--yes")
	w.queued(t, 0, 0)
	w.lists(t, 4, "--done", "--state", "bounced")
	if n := len(w.Inbox(alice, password)); n != 1 {
		t.Errorf("%d reports", n)
	}
}

// TestReroute: an operator's host takes the place of the destination's own, and gives it back.
func TestReroute(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT", "450 4.2.0 not now")
	other := w.sink(t, "127.0.0.3")
	other.Set("RCPT", "450 4.3.0 nor here")
	w.submit(t, alice, "one", "x@sink.test")
	w.submit(t, alice, "two", "y@sink.test")
	items := w.queued(t, 2, 1)
	id := items[0]["id"].(string)
	for host, want := range map[string]int{
		"not a host": 2, "old.test:0": 2, "127.0.0.1:99999": 2, // no host
		fmt.Sprintf("127.0.0.1:%d", w.port): 1, "[127.0.0.1]:" + fmt.Sprint(w.Ports["submission"]): 1, "gone.test": 1, // ourselves; nobody
	} {
		if out, code := w.Postel("queue", "reroute", id, host); code != want || strings.Count(out, "\n") != 1 {
			t.Errorf("%s: %d, want %d: %s", host, code, want, out)
		}
	}
	by := fmt.Sprintf("old.test:%d", w.port)
	w.ok(t, "queue", "reroute", id, by)
	w.queued(t, 2, 2)
	w.history(t, id, "450 4.2.0 not now", "450 4.3.0 nor here")
	if out, code := w.Postel("queue", "show", id); code != 0 || !strings.Contains(out, by) || !strings.Contains(out, "an operator says old.test") {
		t.Errorf("%d %s", code, out)
	}
	s.Set("RCPT", "")
	other.Set("RCPT", "")
	w.ok(t, "queue", "retry", "--all", "--yes")
	if got := taken(t, other, 1)[0]; strings.Join(got.To, "") != "<x@sink.test>" {
		t.Errorf("%v", got)
	}
	if got := taken(t, s, 1)[0]; strings.Join(got.To, "") != "<y@sink.test>" {
		t.Errorf("%v", got)
	}
	s.Set("RCPT", "450 4.2.0 not now")
	w.submit(t, alice, "three", "z@sink.test")
	w.queued(t, 1, 1)
	other.Set("RCPT", "450 4.3.0 nor here")
	w.ok(t, "queue", "reroute", "--domain", "sink.test", "--yes", by)
	w.queued(t, 1, 2)
	s.Set("RCPT", "")
	w.ok(t, "queue", "reroute", "--clear", "--all", "--yes")
	taken(t, s, 2)
	w.queued(t, 0, 0)
}

// TestRoute: where mail would go is told by the server that would send it, by its rules and its listeners.
func TestRoute(t *testing.T) {
	t.Parallel()
	w := open(t)
	for to, want := range map[string]struct {
		code int
		text string
	}{
		"x@sink.test":        {0, "mx.sink.test (preference 10), TLS may"},
		"x@order.test":       {0, "1. dead.test"},
		alice:                {0, "delivered here"},
		"nobody@postel.test": {1, "5.1.1"},
		"x@null.test":        {1, "5.1.10"},
		"x@loop.test":        {1, "5.4.6"},
		"x@nowhere.nowhere":  {1, "5.1.2"},
		"no address":         {2, "address"},
		"x@[127.0.0.2]":      {0, "address literal"},
		"x@":                 {2, "address"},
	} {
		if out, code := w.Postel("queue", "route", to); code != want.code || !strings.Contains(out, want.text) {
			t.Errorf("%s: %d %s, want %v", to, code, out, want)
		}
	}
	got := w.objects(t, "queue", "route", "x@sink.test")[0]
	if got["destination"] != "sink.test" || got["address"] != "x@sink.test" || len(got["hosts"].([]any)) != 1 || len(got["steps"].([]any)) < 2 {
		t.Errorf("%v", got)
	}
}

// metrics reads what the server tells of its queue.
func (w *world) metrics(t *testing.T) string {
	t.Helper()
	resp, err := http.Get(w.Web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMetrics: the queue's depth, what comes of attempts, and what each destination has.
func TestMetrics(t *testing.T) {
	t.Parallel()
	w := open(t)
	s := w.sink(t, "127.0.0.2")
	s.Set("RCPT <later@sink.test>", "450 4.2.0 not now")
	s.Set("RCPT <later@plain.test>", "450 4.2.0 not now")
	s.Set("RCPT <no@sink.test>", "550 5.1.1 unknown")
	w.submit(t, alice, "metrics", "yes@sink.test", "no@sink.test", "later@sink.test")
	id := w.queued(t, 1, 1)[0]["id"].(string)
	w.submit(t, alice, "held", "later@plain.test")
	w.submit(t, alice, "dead", "x@dead.test")
	w.queued(t, 3, 1)
	w.ok(t, "queue", "hold", id)
	w.report(t, 1)
	harness.Eventually(t, func() error {
		got := w.metrics(t)
		for _, want := range []string{
			`postel_queue_items{state="deferred"} 2`, `postel_queue_items{state="due"} 0`, `postel_queue_items{state="held"} 1`, `postel_queue_oldest_seconds `,
			`postel_queue_attempts_total{result="relayed"} 1`, `postel_queue_attempts_total{result="bounced"} 1`, `postel_queue_attempts_total{result="deferred"} `,
			`postel_queue_latency_seconds_count 1`, `postel_queue_destination_window{destination="dead.test"} `,
		} {
			if !strings.Contains(got, "\n"+want) {
				return fmt.Errorf("no %s in\n%s", want, got)
			}
		}
		return nil
	})
}

// TestWithoutServer: the queue is looked into and steered with no server running, but for what only a server knows; what
// was said then comes about when it is back.
func TestWithoutServer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	w := open(t, "--data", data)
	w.submit(t, alice, "back", "x@sink.test")
	w.submit(t, alice, "on", "y@sink.test")
	w.queued(t, 2, 1)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	w.lists(t, 2, "--error", "refused")
	id := w.lists(t, 1, "--to", "x@")[0]["id"].(string)
	if show := w.objects(t, "queue", "show", id)[0]; show["way"] != nil || len(first(show)["history"].([]any)) != 1 {
		t.Errorf("%v", show)
	}
	if out, code := w.Postel("queue", "route", "x@sink.test"); code != 3 || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %s", code, out)
	}
	w.ok(t, "queue", "bounce", id, "--text", "while nobody was there")
	if out, code := w.Postel("queue", "bounce", id); code != 1 {
		t.Errorf("returned twice: %d %s", code, out)
	}
	w.ok(t, "queue", "reroute", "--to", "y@", "--yes", fmt.Sprintf("127.0.0.3:%d", w.port))
	w.ok(t, "queue", "hold", "--to", "y@", "--yes")
	w.lists(t, 1, "--state", "held")

	back := open(t, "--data", data)
	s := back.sink(t, "127.0.0.3")
	if text := back.report(t, 1); len(text.rcpts) != 1 || text.rcpts[0].Get("Status") != "5.4.7" {
		t.Errorf("%v", text)
	}
	back.ok(t, "queue", "reroute", "--all", "--yes", fmt.Sprintf("127.0.0.3:%d", back.port))
	back.ok(t, "queue", "release", "--all", "--yes")
	taken(t, s, 1)
	back.queued(t, 0, 0)
}

// TestAsks: on a terminal many are not changed before somebody says yes.
func TestAsks(t *testing.T) {
	t.Parallel()
	harness.Need(t, "script")
	w := open(t)
	w.submit(t, alice, "asks", "x@sink.test")
	w.queued(t, 1, 1)
	ask := func(answer string) string {
		out, _ := harness.Run(t, answer+"\n", "script", "-qec", harness.Binary(t)+" queue hold --all --data "+w.Data, "/dev/null")
		return out
	}
	if out := ask("n"); !strings.Contains(out, "hold 1 item? [y/N]") {
		t.Errorf("%q", out)
	}
	w.lists(t, 0, "--state", "held")
	ask("y")
	w.lists(t, 1, "--state", "held")
}
