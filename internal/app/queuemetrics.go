package app

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postel/internal/queue"
)

const (
	maxDestinations = 20 // destinations that are told, those with most to do
	countedFor      = 50 // times as long as counting took its result serves: counting takes 2 % of a processor at most
)

// countAttempts counts what comes of attempts, and how long mail takes that arrives.
func (n *node) countAttempts() func(fate string, after time.Duration) {
	attempts := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postel_queue_attempts_total",
		Help: "Recipients in attempts at what was queued, by what became of them: delivered, relayed, deferred or bounced.",
	}, []string{"result"})
	latency := prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "postel_queue_latency_seconds",
		Help:    "From the acceptance of queued mail to its delivery here or its relay, a recipient.",
		Buckets: []float64{0.1, 0.5, 1, 5, 30, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600},
	})
	n.collectors = append(n.collectors, attempts, latency, newQueueCollector(n))
	return func(fate string, after time.Duration) {
		attempts.WithLabelValues(fate).Inc()
		if fate == "delivered" || fate == "relayed" {
			latency.Observe(after.Seconds())
		}
	}
}

// queueCollector looks at the queue when it is asked.
type queueCollector struct {
	n                                        *node
	depth                                    counted
	items, oldest, sessions, window, waiting *prometheus.Desc
}

func newQueueCollector(n *node) *queueCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("postel_queue_"+name, help, labels, nil)
	}
	return &queueCollector{
		n:        n,
		items:    desc("items", "Items in the queue: due, deferred to a later time, or held; a count serves for 50 times as long as it took.", "state"),
		oldest:   desc("oldest_seconds", "Age of the oldest item in the queue."),
		sessions: desc("destination_sessions", "Sessions at work, of the 20 destinations with most to do.", "destination"),
		window:   desc("destination_window", "Sessions that the destination may have; 0 while it is taken for dead.", "destination"),
		waiting:  desc("destination_waiting", "Items read from the queue that wait for a session.", "destination"),
	}
}

// counted is what the last count of the queue came to.
type counted struct {
	mu    sync.Mutex
	depth queue.Depth
	until time.Time // it serves
}

// get counts, or gives what was counted lately.
func (c *counted) get(q *queue.Queue) (queue.Depth, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if began.Before(c.until) {
		return c.depth, nil
	}
	d, err := q.Depth(context.Background())
	if err != nil {
		return d, err
	}
	took := time.Since(began)
	c.depth, c.until = d, began.Add(countedFor*took)
	return d, nil
}

// Describe is prometheus.Collector's.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.items, c.oldest, c.sessions, c.window, c.waiting} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if depth, err := c.depth.get(c.n.queue); err == nil {
		gauge(c.items, float64(depth.Due), "due")
		gauge(c.items, float64(depth.Deferred), "deferred")
		gauge(c.items, float64(depth.Held), "held")
		age := 0.0
		if !depth.Oldest.IsZero() {
			age = max(0, c.n.clock().Sub(depth.Oldest).Seconds())
		}
		gauge(c.oldest, age)
	}
	for _, d := range c.n.mta.Destinations(maxDestinations) {
		name := strings.ToValidUTF8(d.Name, "?")
		window := d.Window
		if d.Dead {
			window = 0
		}
		gauge(c.sessions, float64(d.Sessions), name)
		gauge(c.window, float64(window), name)
		gauge(c.waiting, float64(d.Ready), name)
	}
}
