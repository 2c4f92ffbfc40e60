package engine

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health answers probes. Alive is a process that answers at all: restarting it mends neither the store nor the stream.
// Ready is one whose store and stream answer and, when it leads, whose schema is current and whose ingestion runs.
type health struct {
	store    *store
	stream   *nats.Conn
	lead     *leader
	gatherer prometheus.Gatherer
}

func (h health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.check(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(h.gatherer, promhttp.HandlerOpts{}))
	return mux
}

func (h health) check() error {
	var faults []error
	if err := h.store.check(); err != nil {
		faults = append(faults, fmt.Errorf("warehouse: %w", err))
	}
	if !h.stream.IsConnected() {
		err := h.stream.LastError()
		if err == nil {
			err = errors.New("no server answers")
		}
		faults = append(faults, fmt.Errorf("stream: not connected: %w", err))
	}
	if err := h.lead.check(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}
