package deep

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"postel/test/harness"
)

// scrape reads /metrics.
func (m *measured) scrape(t *testing.T, s *harness.Server) {
	t.Helper()
	began := time.Now()
	m.Waiting = int(gauge(t, s, `postel_queue_items{state="due"}`))
	m.Scrape = float64(time.Since(began).Milliseconds())
	m.Waiting += int(gauge(t, s, `postel_queue_items{state="deferred"}`))
}

// gauge gives the value of one metric.
func gauge(t *testing.T, s *harness.Server, name string) float64 {
	t.Helper()
	r, err := http.Get("http://" + s.Addr("web") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s in\n%s", name, b)
	return 0
}

// memory reads what the process holds, in MiB.
func (m *measured) memory(t *testing.T, s *harness.Server) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		for name, at := range map[string]*float64{"VmRSS:": &m.Memory, "VmHWM:": &m.Peak, "RssAnon:": &m.Anonymous} {
			if rest, ok := strings.CutPrefix(line, name); ok {
				kib, err := strconv.Atoi(strings.Fields(rest)[0])
				if err != nil {
					t.Fatal(err)
				}
				*at = float64(kib) / 1024
			}
		}
	}
}

// cpuOf gives the seconds that the process has computed.
func cpuOf(t *testing.T, s *harness.Server) float64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, err1 := strconv.Atoi(f[11])
	system, err2 := strconv.Atoi(f[12])
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	const ticks = 100 // USER_HZ
	return float64(user+system) / ticks
}
