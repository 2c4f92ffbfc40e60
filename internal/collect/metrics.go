package collect

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/stream"
)

// Metrics of a collector.
type Metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	events   prometheus.Counter
	bytes    prometheus.Counter

	commits     *prometheus.CounterVec
	commitTook  prometheus.Histogram
	commitSize  prometheus.Histogram
	commitBytes prometheus.Histogram
}

// NewMetrics registers a collector's metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kohort_collector_requests_total",
			Help: "Requests by endpoint and status code; 499 is a client that went away."}, []string{"endpoint", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kohort_collector_request_seconds",
			Help:    "Time from a request's header to its answer.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}}, []string{"endpoint"}),
		events: prometheus.NewCounter(prometheus.CounterOpts{Name: "kohort_collector_events_total",
			Help: "Events acknowledged, which then are on the stream's disk."}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "kohort_collector_bytes_total",
			Help: "Bytes of the bodies of acknowledged requests, unpacked."}),
		commits: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kohort_collector_commits_total",
			Help: "Messages handed to the stream, by result: stored or failed."}, []string{"result"}),
		commitTook: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kohort_collector_commit_seconds",
			Help:    "Time until the stream acknowledged a message, tries included.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}}),
		commitSize: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kohort_collector_commit_requests",
			Help: "Requests that one message holds.", Buckets: prometheus.ExponentialBuckets(1, 2, 10)}),
		commitBytes: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kohort_collector_commit_bytes",
			Help: "Size of a message.", Buckets: prometheus.ExponentialBuckets(1<<10, 4, 7)}),
	}
	registry.MustRegister(m.requests, m.took, m.events, m.bytes, m.commits, m.commitTook, m.commitSize, m.commitBytes)
	return m
}

// Watch registers what is read from the log when metrics are asked for.
func (m *Metrics) Watch(registry prometheus.Registerer, publisher *stream.Publisher) {
	registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kohort_collector_pending_bytes",
			Help: "Bytes that wait for the stream's acknowledgement."}, func() float64 { return float64(publisher.Pending()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kohort_collector_ready",
			Help: "1 when the stream acknowledged the newest message, else 0."}, func() float64 {
			if publisher.Ready() != nil {
				return 0
			}
			return 1
		}),
	)
}

// Commit counts a message; it is a stream.PublisherOptions.Observe.
func (m *Metrics) Commit(c stream.Commit) {
	result := "stored"
	if c.Err != nil {
		result = "failed"
	}
	m.commits.WithLabelValues(result).Inc()
	m.commitTook.Observe(c.Took.Seconds())
	m.commitSize.Observe(float64(c.Records))
	m.commitBytes.Observe(float64(c.Bytes))
}

func (m *Metrics) request(endpoint string, status int, took time.Duration) {
	m.requests.WithLabelValues(endpoint, strconv.Itoa(status)).Inc()
	m.took.WithLabelValues(endpoint).Observe(took.Seconds())
}

func (m *Metrics) stored(events, bytes int) {
	m.events.Add(float64(events))
	m.bytes.Add(float64(bytes))
}
