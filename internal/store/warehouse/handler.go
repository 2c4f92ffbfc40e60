package warehouse

import (
	"fmt"
	"io"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// handler serves the query interface at / and, without credentials, /ping
// (the process answers), /ready (it can store data) and /metrics.
func (w *Warehouse) handler() (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		&engineMetrics{engine: w.engine}, newDiskMetrics(w.cfg.Path, w.cfg.MinFree),
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("registering metrics: %w", err)
		}
	}
	if err := w.front.Register(registry); err != nil {
		return nil, fmt.Errorf("registering metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(rw http.ResponseWriter, _ *http.Request) {
		// The answer of ClickHouse, for clients that compare it.
		_, _ = io.WriteString(rw, "Ok.\n")
	})
	mux.HandleFunc("GET /ready", func(rw http.ResponseWriter, r *http.Request) {
		if err := w.health.check.Ready(r.Context()); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(rw, "Ok.\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	mux.Handle("/{$}", w.front)
	return mux, nil
}
