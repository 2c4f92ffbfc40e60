package engine

import (
	"github.com/prometheus/client_golang/prometheus"
	controllerruntime "sigs.k8s.io/controller-runtime/pkg/metrics"

	"kohort.dev/kohort/internal/ingest"
)

// metrics of everything but ingestion, which registers its own. No label holds anything about a customer; those with the
// name of an Audience, Source or policy are gauges that go with it.
type metrics struct {
	registry    prometheus.Registerer
	evaluations *prometheus.CounterVec
	evaluation  prometheus.Histogram
	size        *prometheus.GaugeVec
	evaluated   *prometheus.GaugeVec
	held        *prometheus.GaugeVec
	violating   *prometheus.GaugeVec
	overdue     *prometheus.GaugeVec
	deleted     *prometheus.CounterVec
	writes      *prometheus.CounterVec
	lookups     *prometheus.HistogramVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		registry: registry,
		evaluations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kohort_audience_evaluations_total", Help: "Audiences evaluated, by result.",
		}, []string{"result"}),
		evaluation: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kohort_evaluation_duration_seconds", Help: "Time of one refresh of all due audiences.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 15),
		}),
		size: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kohort_audience_members", Help: "Members of an audience.",
		}, []string{"audience"}),
		evaluated: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kohort_audience_evaluated_timestamp_seconds", Help: "When an audience was last evaluated, Unix time.",
		}, []string{"audience"}),
		held: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kohort_audience_held_changes", Help: "Customers who would enter or leave an audience by the change that its guard keeps back; 0 when it keeps none back.",
		}, []string{"audience"}),
		violating: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kohort_source_violating_events", Help: "Events of the last 24 hours that broke the tracking plan of a Source, by what became of them.",
		}, []string{"source", "action"}),
		overdue: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "kohort_retention_overdue_rows", Help: "Rows that a policy should have deleted and that are still there.",
		}, []string{"policy"}),
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kohort_retention_deleted_rows_total", Help: "Rows deleted because of their age, by table.",
		}, []string{"table"}),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kohort_status_writes_total", Help: "Writes of a status to the API server, by kind and result.",
		}, []string{"kind", "result"}),
		lookups: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kohort_profile_request_duration_seconds", Help: "Time to answer a request for a profile, by status code.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 13),
		}, []string{"code"}),
	}
	registry.MustRegister(m.evaluations, m.evaluation, m.size, m.evaluated, m.held, m.violating, m.overdue, m.deleted, m.writes, m.lookups)
	return m
}

// controllerMetrics are those of the process, the API server's client and the lease.
func controllerMetrics() prometheus.Gatherer { return controllerruntime.Registry }

// ingestCollector shows the counters of the Ingest that runs.
type ingestCollector struct {
	stats func() (ingest.Stats, bool)
}

// Describe names nothing: which metrics there are depends on whether this process leads.
func (c ingestCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the counters.
func (c ingestCollector) Collect(to chan<- prometheus.Metric) {
	stats, running := c.stats()
	if !running {
		return
	}
	for _, m := range []struct {
		name, help string
		kind       prometheus.ValueType
		value      uint64
	}{
		{"kohort_ingest_events_total", "Events stored.", prometheus.CounterValue, stats.Stored},
		{"kohort_ingest_duplicates_total", "Events whose messageId was stored before.", prometheus.CounterValue, stats.Duplicates},
		{"kohort_ingest_quarantined_total", "Events and records put into quarantine.", prometheus.CounterValue, stats.Quarantined},
		{"kohort_ingest_dropped_total", "Events that a tracking plan has dropped.", prometheus.CounterValue, stats.Dropped},
		{"kohort_ingest_violating_total", "Events that broke their tracking plan, whatever became of them.", prometheus.CounterValue, stats.Violating},
		{"kohort_ingest_batches_total", "Batches stored.", prometheus.CounterValue, stats.Batches},
		{"kohort_ingest_failures_total", "Interruptions of ingestion.", prometheus.CounterValue, stats.Failures},
		{"kohort_ingest_lag_messages", "Messages of the stream that are not stored yet.", prometheus.GaugeValue, stats.Lag},
		{"kohort_ingest_done_sequence", "Sequence number in the stream up to which all is stored.", prometheus.GaugeValue, stats.Done},
	} {
		to <- prometheus.MustNewConstMetric(prometheus.NewDesc(m.name, m.help, nil, nil), m.kind, float64(m.value))
	}
}
