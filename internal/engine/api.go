package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
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
	a := &api{tokenFile: cfg.APITokenFile, objects: objects, store: store, stream: js, metrics: metrics, logger: cfg.Logger, finder: profile.NewFinder(), slots: make(chan struct{}, concurrent), previews: make(chan struct{}, 1)}
	return a.handler()
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range a.routes() {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, request *http.Request) { a.serve(w, request, r) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "NoSuchPath", "this API has GET /v1/profiles/{type}:{value}, below it /traits, /identifiers, /audiences, /audiences/{audience}, /events and /links, POST /v1/audiences/preview, GET /v1/accounts/{groupId}, below it /members, GET /v1/identity/explain, POST /v1/identity/unmerge, GET /v1/violations, GET /v1/quarantine, below it /summary, and POST /v1/quarantine/redrive")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The file is read for each request, so that a rotated Secret counts at once.
		token, err := readToken(a.tokenFile)
		if err != nil {
			a.logger.Warn("refusing a request", "error", err.Error())
			refuse(w, http.StatusServiceUnavailable, "TokenUnreadable", "the engine cannot read its token; look at its log")
			return
		}
		if !bears(r, token) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="kohort"`)
			refuse(w, http.StatusUnauthorized, "Unauthorized", "send the header Authorization: Bearer with the token of the Platform's Secret <platform>-api")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// bears compares the token of a request in constant time.
func bears(r *http.Request, token string) bool {
	sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	wanted, got := sha256.Sum256([]byte(token)), sha256.Sum256([]byte(sent))
	return ok && subtle.ConstantTimeCompare(wanted[:], got[:]) == 1
}

func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the API token: %w", err)
	}
	token := strings.TrimSpace(string(content))
	if token == "" {
		return "", fmt.Errorf("reading the API token: file %s is empty", path)
	}
	return token, nil
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
