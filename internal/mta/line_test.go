package mta

import (
	"fmt"
	"testing"
	"time"

	"postel/internal/route"
)

// TestLine: when there are more destinations than sessions, who has waited longest is next, and what waits for one host
// goes over few connections: also where a route bounds the sessions.
func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		all   int
		route route.Limits
		most  int
	}{{4, route.Limits{PerMinute: 600_000}, 4}, {20, route.Limits{Sessions: 3}, 3}, {5, route.Limits{Sessions: 5}, 5}} {
		t.Run(fmt.Sprint(c.all, c.route), func(t *testing.T) {
			t.Parallel()
			bubble(t, func(o *Options) { by(c.route)(o); o.Concurrency.All = c.all }, func(t *testing.T, f *fixture) {
				const hosts, each = 60, 5
				pass(time.Second) // it runs
				f.world.hold = make(chan struct{})
				f.world.pace = func(string) time.Duration { return 50 * time.Millisecond }
				for i := range hosts * each {
					f.mustAccept("x@postel.test", fmt.Sprintf("a@d%d.test", i%hosts))
				}
				pass(time.Second)
				close(f.world.hold)
				pass(time.Minute)
				first := map[string]int{} // message number by host
				for i, d := range f.world.deliveries() {
					if _, ok := first[d.host]; !ok {
						first[d.host] = i
					}
				}
				for h, i := range first {
					var n int
					_, _ = fmt.Sscanf(h, "mx.d%d.test", &n)
					if i > (n+2*c.most)*each {
						t.Errorf("%s had its first message behind %d others", h, i)
					}
				}
				if len(first) != hosts || f.world.sent != hosts*each || len(f.items()) != 0 {
					t.Errorf("%d hosts, %d messages, %d items left", len(first), f.world.sent, len(f.items()))
				}
				if f.world.opened > hosts*3/2 || f.world.most > c.most {
					t.Errorf("%d connections to %d hosts, %d at once", f.world.opened, hosts, f.world.most)
				}
			})
		})
	}
}
