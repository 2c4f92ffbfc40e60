package warehouse

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/store/chdb"
	"kohort.dev/kohort/internal/store/disk"
)

// engineTables are the engine's own figures, under the names that ClickHouse's
// Prometheus endpoint gives them, so that its dashboards work.
var engineTables = [...]struct {
	sql, prefix string
	kind        prometheus.ValueType
}{
	{"SELECT metric, toFloat64(value) FROM system.metrics", "ClickHouseMetrics_", prometheus.GaugeValue},
	{"SELECT event, toFloat64(value) FROM system.events", "ClickHouseProfileEvents_", prometheus.CounterValue},
}

// engineMetrics reads the engine's tables at every scrape.
type engineMetrics struct{ engine *chdb.Engine }

// Describe sends nothing: which metrics there are, the engine decides.
func (m *engineMetrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends every figure of the engine.
func (m *engineMetrics) Collect(out chan<- prometheus.Metric) {
	if err := m.collect(out); err != nil {
		out <- prometheus.NewInvalidMetric(prometheus.NewDesc("kohort_warehouse_engine_metrics", "The engine's own figures.", nil, nil), err)
	}
}

func (m *engineMetrics) collect(out chan<- prometheus.Metric) error {
	conn, err := m.engine.Connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, t := range engineTables {
		raw, _, err := conn.Query(t.sql, "TSVRaw")
		if err != nil {
			return fmt.Errorf("reading the engine's metrics: %w", err)
		}
		for line := range strings.Lines(string(raw)) {
			name, text, ok := strings.Cut(strings.TrimRight(line, "\n"), "\t")
			if !ok {
				return fmt.Errorf("reading the engine's metrics: the line %q has no value", line)
			}
			value, err := strconv.ParseFloat(text, 64)
			if err != nil || math.IsNaN(value) {
				continue // a figure that the engine does not have at the moment
			}
			desc := prometheus.NewDesc(t.prefix+metricName(name), "A figure of the engine.", nil, nil)
			out <- prometheus.MustNewConstMetric(desc, t.kind, value)
		}
	}
	return nil
}

// metricName replaces what Prometheus does not allow in a name.
func metricName(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, s)
}

// diskMetrics tells how much room the data directory's volume has.
type diskMetrics struct {
	path              string
	floor             uint64
	total, free, need *prometheus.Desc
}

func newDiskMetrics(path string, floor uint64) *diskMetrics {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("kohort_warehouse_disk_"+name+"_bytes", help, nil, nil)
	}
	return &diskMetrics{path: path, floor: floor,
		total: desc("total", "Size of the data directory's volume."),
		free:  desc("free", "Free space of the data directory's volume."),
		need:  desc("floor", "Free space under which inserts are refused."),
	}
}

// Describe sends the descriptions of the three figures.
func (m *diskMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.total
	out <- m.free
	out <- m.need
}

// Collect reads the volume's state.
func (m *diskMetrics) Collect(out chan<- prometheus.Metric) {
	u, err := disk.Of(m.path)
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.free, err)
		return
	}
	floor := m.floor
	if floor == 0 {
		floor = u.Floor()
	}
	for desc, v := range map[*prometheus.Desc]uint64{m.total: u.Total, m.free: u.Free, m.need: floor} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v))
	}
}
