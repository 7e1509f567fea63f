package pop3d

import "github.com/prometheus/client_golang/prometheus"

// Describe implements prometheus.Collector.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	out <- commandsDesc()
	out <- sessionsDesc()
}

// Collect gives the number of sessions, and of commands by their replies.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(sessionsDesc(), prometheus.GaugeValue, float64(s.open.Load()))
	for i := range s.counts {
		verb := "?"
		if i < len(s.table) {
			verb = s.table[i].verb
		}
		c := &s.counts[i]
		for result, n := range map[string]uint64{"ok": c.ok.Load(), "err": c.err.Load()} {
			if n > 0 {
				out <- prometheus.MustNewConstMetric(commandsDesc(), prometheus.CounterValue, float64(n), verb, result)
			}
		}
	}
}

func commandsDesc() *prometheus.Desc {
	return prometheus.NewDesc("postel_pop3_commands_total", "POP3 commands by name and reply.",
		[]string{"command", "result"}, nil)
}

func sessionsDesc() *prometheus.Desc {
	return prometheus.NewDesc("postel_pop3_sessions", "POP3 sessions open now.", nil, nil)
}
