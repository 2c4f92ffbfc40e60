package jetstream

import (
	"fmt"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/store/disk"
)

// metrics reads the server's state at every scrape.
type metrics struct {
	stream *Stream

	clients, dropped                      *prometheus.Desc
	bytes, limit, free                    *prometheus.Desc
	messages, size, first, last, consumed *prometheus.Desc
	pending, unacknowledged               *prometheus.Desc
}

func newMetrics(s *Stream) *metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("kohort_stream_"+name, help, labels, nil)
	}
	return &metrics{
		stream:         s,
		clients:        desc("clients", "Connected clients."),
		dropped:        desc("slow_clients_total", "Clients that were cut off because they did not read."),
		bytes:          desc("bytes", "Bytes that all streams hold on disk."),
		limit:          desc("limit_bytes", "Bytes that all streams may hold."),
		free:           desc("disk_free_bytes", "Free space of the volume."),
		messages:       desc("messages", "Messages that a stream holds.", "stream"),
		size:           desc("stream_bytes", "Bytes that a stream holds.", "stream"),
		first:          desc("first_sequence", "Sequence of a stream's first message.", "stream"),
		last:           desc("last_sequence", "Sequence of a stream's last message.", "stream"),
		consumed:       desc("acknowledged_sequence", "Sequence up to which a consumer has acknowledged all.", "stream", "consumer"),
		pending:        desc("pending_messages", "Messages that a consumer has not been sent.", "stream", "consumer"),
		unacknowledged: desc("unacknowledged_messages", "Messages that a consumer was sent and has not acknowledged.", "stream", "consumer"),
	}
}

// Describe sends every description.
func (m *metrics) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.clients, m.dropped, m.bytes, m.limit, m.free, m.messages, m.size,
		m.first, m.last, m.consumed, m.pending, m.unacknowledged} {
		out <- d
	}
}

// Collect sends the server's state.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ns := m.stream.server
	gauge(m.clients, float64(ns.NumClients()))
	out <- prometheus.MustNewConstMetric(m.dropped, prometheus.CounterValue, float64(ns.NumSlowConsumers()))
	if u, err := disk.Of(m.stream.cfg.Dir); err == nil {
		gauge(m.free, float64(u.Free))
	}
	info, err := ns.Jsz(&server.JSzOptions{Accounts: true, Streams: true, Consumer: true})
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.bytes, fmt.Errorf("reading the streams' state: %w", err))
		return
	}
	gauge(m.bytes, float64(info.Store))
	gauge(m.limit, float64(info.Config.MaxStore))
	for _, account := range info.AccountDetails {
		for _, s := range account.Streams {
			gauge(m.messages, float64(s.State.Msgs), s.Name)
			gauge(m.size, float64(s.State.Bytes), s.Name)
			gauge(m.first, float64(s.State.FirstSeq), s.Name)
			gauge(m.last, float64(s.State.LastSeq), s.Name)
			for _, c := range s.Consumer {
				gauge(m.consumed, float64(c.AckFloor.Stream), s.Name, c.Name)
				gauge(m.pending, float64(c.NumPending), s.Name, c.Name)
				gauge(m.unacknowledged, float64(c.NumAckPending), s.Name, c.Name)
			}
		}
	}
}
