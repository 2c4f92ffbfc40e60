package jetstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Serve answers /ping, /ready and /metrics on l until ctx ends or the stream
// breaks, and then closes the Stream.
func (s *Stream) Serve(ctx context.Context, l net.Listener) error {
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newMetrics(s),
	} {
		if err := registry.Register(c); err != nil {
			s.Close()
			return errors.Join(fmt.Errorf("registering metrics: %w", err), l.Close())
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "Ok.\n") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Ready(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, "Ok.\n")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan struct{})
	var err, serveErr error
	go func() {
		defer close(served)
		serveErr = server.Serve(l)
	}()
	select {
	case <-served:
		err = fmt.Errorf("serving on %s: %w", l.Addr(), serveErr)
	case err = <-s.broken:
	case <-ctx.Done():
		s.cfg.Log.InfoContext(ctx, "stopping")
	}
	s.Close()
	if closeErr := server.Close(); err == nil && closeErr != nil {
		err = fmt.Errorf("closing the health server: %w", closeErr)
	}
	<-served
	return err
}
