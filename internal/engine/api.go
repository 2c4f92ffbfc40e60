package engine

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/nats-io/nats.go/jetstream"

	"kohort.dev/kohort/internal/profile"
)

const (
	// concurrent look-ups; more wait for admission as long as admitTimeout, and are then sent away.
	concurrent   = 32
	admitTimeout = time.Second
)

// Problem is the answer to a request that cannot be served.
type Problem struct {
	// Code is a CamelCase word, Message says what happened and what to do.
	Code    string `json:"code"`
	Message string `json:"message"`
}

// api serves profiles to those who hold the Platform's token.
type api struct {
	tokenFile string
	keysDir   string
	objects   objects
	store     interface{ get() (driver.Conn, error) }
	stream    jetstream.JetStream
	metrics   *metrics
	logger    *slog.Logger
	finder    *profile.Finder
	slots     chan struct{}
	previews  chan struct{}
}

func newAPI(cfg Config, objects objects, store *store, js jetstream.JetStream, metrics *metrics) http.Handler {
	a := &api{tokenFile: cfg.APITokenFile, keysDir: cfg.APIKeysDir, objects: objects, store: store, stream: js, metrics: metrics, logger: cfg.Logger, finder: profile.NewFinder(), slots: make(chan struct{}, concurrent), previews: make(chan struct{}, 1)}
	return a.handler()
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, request *http.Request) {
			if a.opens(w, request, r.scopes) {
				a.serve(w, request, r)
			}
		})
	}
	mux.HandleFunc("GET "+documentPath, serveDocument)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if a.opens(w, r, anyScope) {
			refuse(w, http.StatusNotFound, "NoSuchPath", "GET "+documentPath+" describes what this API has")
		}
	})
	return mux
}

func (a *api) admit(ctx context.Context) bool {
	timer := time.NewTimer(admitTimeout)
	defer timer.Stop()
	select {
	case a.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	case <-ctx.Done():
		return false
	}
}

func refuse(w http.ResponseWriter, status int, code, message string) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]Problem{"error": {Code: code, Message: message}})
	return status
}
