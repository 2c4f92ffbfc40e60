package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// Bounds of a connection. An SDK gives up after 10 s; a slow phone may need longer to send 500 KB.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = readTimeout + 15*time.Second // the answer may wait for the stream
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// Server takes events until it is told to stop, and then leaves without cutting anybody off.
type Server struct {
	Handler http.Handler
	// Ready is nil when an event would be stored now.
	Ready    func() error
	Gatherer prometheus.Gatherer
	// MaxConnections at once; more wait to be accepted.
	MaxConnections int
	// DrainDelay is how long connections are still taken after /readyz failed: load balancers need it to notice.
	DrainDelay time.Duration
	// DrainTimeout bounds the wait for requests under way.
	DrainTimeout time.Duration
	Logger       *slog.Logger
}

// Serve serves events on one listener and /healthz, /readyz and /metrics on the other until ctx ends. Then /readyz
// fails first; after DrainDelay nothing is accepted any more, and requests under way are finished.
func (s *Server) Serve(ctx context.Context, events, health net.Listener) error {
	var draining atomic.Bool
	api := &http.Server{
		Handler: s.Handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	probes := &http.Server{
		Handler: s.health(&draining), ReadTimeout: headerTimeout, WriteTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 2)
	var serving sync.WaitGroup
	serve := func(what string, server *http.Server, listener net.Listener) {
		serving.Go(func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serving %s on %s: %w", what, listener.Addr(), err)
			}
		})
	}
	serve("events", api, netutil.LimitListener(events, s.MaxConnections))
	serve("health", probes, health)

	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		draining.Store(true)
		s.Logger.Info("draining", "delay", s.DrainDelay.String())
		time.Sleep(s.DrainDelay)
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.DrainTimeout)
	defer cancel()
	if shutdown := api.Shutdown(ending); shutdown != nil {
		err = errors.Join(err, fmt.Errorf("finishing requests under way: %w", shutdown), api.Close())
	}
	err = errors.Join(err, probes.Close())
	serving.Wait()
	return err
}

func (s *Server) health(draining *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "shutting down", http.StatusServiceUnavailable)
			return
		}
		if err := s.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.Gatherer, promhttp.HandlerOpts{}))
	return mux
}
