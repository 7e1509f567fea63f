package imapd

import "github.com/prometheus/client_golang/prometheus"

// Describe makes a Server a prometheus.Collector.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{commandsDesc(), sessionsDesc()} {
		out <- d
	}
}

// Collect gives the number of sessions and of commands by their outcome.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(sessionsDesc(), prometheus.GaugeValue, float64(s.open.Load()))
	desc := commandsDesc()
	for i := range s.counts {
		c := &s.counts[i]
		for result, n := range map[string]uint64{"ok": c.ok.Load(), "no": c.no.Load(), "bad": c.bad.Load()} {
			if n > 0 {
				out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), s.table[i].name, result)
			}
		}
	}
}

func commandsDesc() *prometheus.Desc {
	return prometheus.NewDesc("postel_imap_commands_total", "IMAP commands by name and result.",
		[]string{"command", "result"}, nil)
}

func sessionsDesc() *prometheus.Desc {
	return prometheus.NewDesc("postel_imap_sessions", "IMAP sessions open now.", nil, nil)
}
