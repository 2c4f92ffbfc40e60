package front

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/store/chdb"
)

// metrics are the front's own; the engine's come from its system tables.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	rows     prometheus.Counter
	bytes    prometheus.Counter
	kills    prometheus.Counter
	running  prometheus.GaugeFunc
	waiting  prometheus.GaugeFunc
}

func newMetrics(g *gate) *metrics {
	const ns, sub = "kohort", "warehouse"
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "requests_total",
			Help: "Requests of the query interface by kind and by ClickHouse's error code (0: success)."}, []string{"kind", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "request_seconds",
			Help: "Duration of requests by kind.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"kind"}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "written_rows_total",
			Help: "Rows that acknowledged inserts wrote, materialized views included."}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "written_bytes_total",
			Help: "Bytes that acknowledged inserts wrote, uncompressed."}),
		kills: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "kills_total",
			Help: "Attempts to end a statement whose client went away."}),
		running: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "running_statements",
			Help: "Statements that run now."}, func() float64 { return float64(g.inUse()) }),
		waiting: prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "waiting_requests",
			Help: "Requests that wait for their turn."}, func() float64 { return float64(g.waiting.Load()) }),
	}
}

func (m *metrics) observe(kind string, code int, took time.Duration) {
	m.requests.WithLabelValues(kind, strconv.Itoa(code)).Inc()
	m.seconds.WithLabelValues(kind).Observe(took.Seconds())
}

func (m *metrics) written(s chdb.Stats) {
	m.rows.Add(float64(s.RowsWritten))
	m.bytes.Add(float64(s.BytesWritten))
}

// Register adds the front's metrics to a registry.
func (f *Front) Register(to prometheus.Registerer) error {
	m := f.metrics
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.rows, m.bytes, m.kills, m.running, m.waiting} {
		if err := to.Register(c); err != nil {
			return err
		}
	}
	return nil
}
