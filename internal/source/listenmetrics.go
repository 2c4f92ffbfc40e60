package source

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ListenMetrics tell how a listener is doing.
type ListenMetrics struct {
	read, published prometheus.Counter
	rejected        *prometheus.CounterVec
	last            prometheus.Gauge
}

// NewListenMetrics registers them.
func NewListenMetrics(registry prometheus.Registerer) *ListenMetrics {
	m := &ListenMetrics{
		read:      prometheus.NewCounter(prometheus.CounterOpts{Name: "kohort_listener_messages_total", Help: "Messages that were read and acknowledged."}),
		published: prometheus.NewCounter(prometheus.CounterOpts{Name: "kohort_listener_events_total", Help: "Events that the stream acknowledged."}),
		rejected:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kohort_listener_rejected_total", Help: "Messages and events sent to quarantine, by reason."}, []string{"reason"}),
		last:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "kohort_listener_last_message_seconds", Help: "When the newest message was acknowledged, in Unix seconds; 0: none was."}),
	}
	registry.MustRegister(m.read, m.published, m.rejected, m.last)
	return m
}

func (m *ListenMetrics) count(p *pull, now time.Time) {
	m.read.Add(float64(p.read))
	m.published.Add(float64(p.out.published.Load()))
	for reason, r := range p.rejected.reasons {
		m.rejected.WithLabelValues(reason).Add(float64(r.Count))
	}
	m.last.Set(float64(now.Unix()))
}
