// Package deep is the story of a long queue: a server starts on it, serves, and delivers what is due, in bounded memory and
// at the same pace however much waits.
package deep

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"postel/test/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

var text = strings.Repeat("a line of a newsletter that is about as long as they are\r\n", 16)

// number reads a number of the environment.
func number(name string, or int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return or
}

// measured is a row of docs/benchmarks.md.
type measured struct {
	Queued    int     `json:"queued"`      // items, but for those that are delivered
	Ready     float64 `json:"ready_s"`     // from launch to /readyz
	First     float64 `json:"first_s"`     // from launch to the first message at the living destination
	Drain     float64 `json:"drain_per_s"` // messages to the living destination
	Enqueue   float64 `json:"enqueue_per_s"`
	Memory    float64 `json:"rss_mib"`      // at the end
	Peak      float64 `json:"rss_peak_mib"` // of all
	Anonymous float64 `json:"anon_mib"`
	CPU       float64 `json:"cpu_s_per_1000"` // of the drain
	Scrape    float64 `json:"metrics_ms"`
	Filled    float64 `json:"fill_per_s"`
	Waiting   int     `json:"waiting"` // at the end, as /metrics counts
}

// TestDeepQueue: POSTEL_QUEUED items wait, nine in ten deferred, the others due for a destination whose connections hang;
// mail for a living one comes through at once. It prints what docs/benchmarks.md shows.
func TestDeepQueue(t *testing.T) {
	n, due := number("POSTEL_QUEUED", 5000), number("POSTEL_DUE", 1000)
	live := harness.StartSink(t, "127.0.0.1:0")
	dead, err := net.Listen("tcp", "127.0.0.1:0") // whose greeting never comes
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dead.Close() }()
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	config := harness.WriteConfig(t, fmt.Sprintf(`
[[domain]]
name = "dead.test"
kind = "relay"
[[route]]
domain = "dead.test"
host = "127.0.0.1"
port = %s
[[route]]
host = "127.0.0.1"
port = %s
`, port(dead.Addr().String()), port(live.Addr)))
	s := harness.ServeFile(t, config)
	s.Forget() // it is looked at once more at the end
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	m := measured{Queued: n}
	began := time.Now()
	fill(t, s.Data, func(f *filler) {
		later := func(i int) time.Time { return began.Add(24*time.Hour + time.Duration(i)*time.Millisecond) }
		now := func(int) time.Time { return began }
		f.add(n-n/10, func(i int) string { return fmt.Sprintf("d%d.later.test", i%1000) }, later)
		f.add(n/10, func(int) string { return "dead.test" }, now)
		f.add(due, func(i int) string { return fmt.Sprintf("d%d.live.test", i%20) }, now)
	})
	m.Filled = float64(n+due) / time.Since(began).Seconds()
	launched := time.Now()
	s = harness.ServeFile(t, config)
	if n > 5000 {
		s.Forget() // without a recount of all at the end
	}
	m.Ready = ready(t, s).Sub(launched).Seconds()
	cpu := cpuOf(t, s)
	got := drained(t, live, due)
	m.CPU = (cpuOf(t, s) - cpu) / float64(due) * 1000
	first, last := got[0].At, got[len(got)-1].At
	m.First, m.Drain = first.Sub(launched).Seconds(), float64(due)/last.Sub(first).Seconds()
	const more = 1000
	m.Enqueue = enqueue(t, s, more)
	m.scrape(t, s)
	m.memory(t, s)
	line, _ := json.Marshal(m)
	fmt.Printf("queue-depth %s\n", line)
	if m.Waiting != n+more {
		t.Errorf("/metrics counts %d items, want %d", m.Waiting, n+more)
	}
	if m.Ready > 5 || m.First > 10 || m.Peak > 200 {
		t.Errorf("ready after %.1f s, first delivery after %.1f s, %.0f MiB", m.Ready, m.First, m.Peak)
	}
}

// ready waits for /readyz.
func ready(t *testing.T, s *harness.Server) time.Time {
	t.Helper()
	harness.Eventually(t, func() error {
		r, err := http.Get("http://" + s.Addr("web") + "/readyz")
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		if r.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", r.Status)
		}
		return nil
	})
	return time.Now()
}

// drained waits for n messages.
func drained(t *testing.T, sink *harness.Sink, n int) (got []harness.Taken) {
	t.Helper()
	for end := time.Now().Add(time.Minute); len(got) < n; time.Sleep(20 * time.Millisecond) {
		got = append(got, sink.Drain()...)
		if time.Now().After(end) {
			t.Fatalf("%d of %d came within a minute", len(got), n)
		}
	}
	return got
}

// enqueue sends n messages over 20 sessions for the dead destination, and gives how many are accepted in a second.
func enqueue(t *testing.T, s *harness.Server, n int) float64 {
	t.Helper()
	const sessions = 20
	began := time.Now()
	var wg sync.WaitGroup
	for range sessions {
		wg.Go(func() {
			c := harness.SMTP(t, s.Addr("smtp"))
			for range n / sessions {
				if r := c.Send("news@elsewhere.test", "reader@dead.test", "Subject: x\r\n\r\n"+text); r[:3] != "250" {
					t.Error(r)
					return
				}
			}
			c.Say("QUIT")
		})
	}
	wg.Wait()
	return float64(n) / time.Since(began).Seconds()
}
