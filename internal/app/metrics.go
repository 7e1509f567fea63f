package app

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// countReplies counts a listener's SMTP replies by verb and class.
func (n *node) countReplies(listener string) func(verb string, code int) {
	if n.replies == nil {
		n.replies = prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postel_smtp_replies_total",
			Help: "Replies by command; the verb ? is an unknown one.",
		}, []string{"listener", "verb", "class"})
		n.collectors = append(n.collectors, n.replies)
	}
	return func(verb string, code int) {
		n.replies.WithLabelValues(listener, verb, strconv.Itoa(code/100)+"xx").Inc()
	}
}

// metrics gives what /metrics tells.
func (n *node) metrics() prometheus.Gatherer {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &collector{
		n:        n,
		open:     prometheus.NewDesc("postel_connections_open", "Connections open now.", []string{"listener"}, nil),
		accepted: prometheus.NewDesc("postel_connections_accepted_total", "Connections served.", []string{"listener"}, nil),
		refused:  prometheus.NewDesc("postel_connections_refused_total", "Connections refused by limits.", []string{"listener"}, nil),
		panics:   prometheus.NewDesc("postel_panics_total", "Sessions ended by a bug.", []string{"listener"}, nil),
		free:     prometheus.NewDesc("postel_disk_free_bytes", "Room on the disk of the data directory, the ballast not counted.", nil, nil),
		shut:     prometheus.NewDesc("postel_disk_full", "1 while new mail is refused for want of room on the disk.", nil, nil),
	})
	r.MustRegister(n.collectors...)
	return r
}

// collector reads the counts when it is asked.
type collector struct {
	n                                           *node
	open, accepted, refused, panics, free, shut *prometheus.Desc
}

// Describe is prometheus.Collector's.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.open, c.accepted, c.refused, c.panics, c.free, c.shut} {
		ch <- d
	}
}

// Collect is prometheus.Collector's.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	for _, s := range c.n.servers {
		if s.stats == nil {
			continue
		}
		st := s.stats()
		ch <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(st.Open), s.name)
		ch <- prometheus.MustNewConstMetric(c.accepted, prometheus.CounterValue, float64(st.Accepted), s.name)
		ch <- prometheus.MustNewConstMetric(c.refused, prometheus.CounterValue, float64(st.Refused), s.name)
		ch <- prometheus.MustNewConstMetric(c.panics, prometheus.CounterValue, float64(st.Panics), s.name)
	}
	if c.n.space != nil {
		st := c.n.space.Status()
		shut := 0.0
		if st.Shut {
			shut = 1
		}
		ch <- prometheus.MustNewConstMetric(c.free, prometheus.GaugeValue, float64(st.Free))
		ch <- prometheus.MustNewConstMetric(c.shut, prometheus.GaugeValue, shut)
	}
}
