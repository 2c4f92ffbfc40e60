package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/profile"
)

const (
	// maxIdentifier is the longest value of an identifier that is looked up, in bytes.
	maxIdentifier = 1024
	// defaultEvents and maxEvents bound the latest events in an answer.
	defaultEvents, maxEvents = 20, 1000
	// concurrent look-ups; more wait for admission as long as admitTimeout, and are then sent away.
	concurrent   = 32
	admitTimeout = time.Second
	// lookUpTimeout bounds the queries of one answer.
	lookUpTimeout = 10 * time.Second
)

// Profile is the answer to GET /v1/profiles/{type}:{value}.
type Profile struct {
	*profile.Profile
	// Touchpoints are the sources that the customer was seen at, most events first.
	Touchpoints []Touchpoint `json:"touchpoints"`
}

// Touchpoint is one source and what it has told about a customer.
type Touchpoint struct {
	Source string    `json:"source"`
	Events int64     `json:"events"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

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
	metrics   *metrics
	logger    *slog.Logger
	slots     chan struct{}
}

func newAPI(cfg Config, objects objects, store *store, metrics *metrics) http.Handler {
	a := &api{tokenFile: cfg.APITokenFile, objects: objects, store: store, metrics: metrics, logger: cfg.Logger, slots: make(chan struct{}, concurrent)}
	return a.handler()
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/profiles/{identifier}", a.profile)
	mux.HandleFunc("GET /v1/identity/explain", a.explain)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, "NoSuchPath", "this API has GET /v1/profiles/{type}:{value}")
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

// profile answers GET /v1/profiles/{type}:{value}?events=20.
func (a *api) profile(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	status := a.answer(w, r)
	a.metrics.lookups.WithLabelValues(strconv.Itoa(status)).Observe(time.Since(began).Seconds())
}

func (a *api) answer(w http.ResponseWriter, r *http.Request) (status int) {
	kind, value, ok := strings.Cut(r.PathValue("identifier"), ":")
	if !ok || kind == "" || value == "" || len(value) > maxIdentifier {
		return refuse(w, http.StatusBadRequest, "BadIdentifier", "write {type}:{value}, such as userId:42 or email:ada@example.com, the value at most 1024 bytes")
	}
	events := defaultEvents
	if text := r.URL.Query().Get("events"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > maxEvents {
			return refuse(w, http.StatusBadRequest, "BadEvents", "events is a number from 0 to 1000")
		}
		events = n
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookUpTimeout)
	defer cancel()
	if !a.admit(ctx) {
		w.Header().Set("Retry-After", "1")
		return refuse(w, http.StatusServiceUnavailable, "Busy", "too many requests at once; try again")
	}
	defer func() { <-a.slots }()
	found, err := a.lookUp(ctx, kind, value, events)
	switch {
	case errors.Is(err, profile.ErrNotFound):
		return refuse(w, http.StatusNotFound, "ProfileNotFound", "no customer is known by this identifier")
	case errors.Is(err, errNoPlatform):
		return refuse(w, http.StatusServiceUnavailable, "NoPlatform", err.Error())
	case err != nil && r.Context().Err() != nil:
		return 499 // whoever asked has gone
	case err != nil:
		a.logger.Warn("answering a request for a profile", "type", kind, "error", err.Error())
		w.Header().Set("Retry-After", "1")
		return refuse(w, http.StatusServiceUnavailable, "WarehouseUnavailable", "the warehouse does not answer; try again")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(found) // nothing is left to tell one who has gone
	return http.StatusOK
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

var errNoPlatform = errors.New("the Platform is not there, so nobody knows how its identifiers are written")

// lookUp reads a profile by an identifier as a person writes it.
func (a *api) lookUp(ctx context.Context, kind, value string, events int) (*Profile, error) {
	platform, err := a.objects.get(ctx)
	if err != nil {
		return nil, err
	}
	if platform == nil {
		return nil, errNoPlatform
	}
	conn, err := a.store.get()
	if err != nil {
		return nil, err
	}
	known, err := profile.Get(ctx, conn, kind, normalised(identityRules(platform), kind, value), events)
	if err != nil {
		return nil, err
	}
	out := &Profile{Profile: known, Touchpoints: []Touchpoint{}}
	query := fmt.Sprintf(`SELECT source, toInt64(count()) AS n, min(occurred), max(occurred) FROM events
		WHERE profile IN (SELECT profile FROM profile_overrides FINAL WHERE survivor = %d UNION ALL SELECT toUInt64(%d))
		GROUP BY source ORDER BY n DESC, source`, known.Ordinal, known.Ordinal)
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("reading the touchpoints of a profile: %w", err)
	}
	for rows.Next() {
		var t Touchpoint
		if err := rows.Scan(&t.Source, &t.Events, &t.First, &t.Last); err != nil {
			return nil, fmt.Errorf("reading the touchpoints of a profile: %w", errors.Join(err, rows.Close()))
		}
		out.Touchpoints = append(out.Touchpoints, t)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return nil, fmt.Errorf("reading the touchpoints of a profile: %w", err)
	}
	return out, nil
}

// normalised writes a value as the Platform's rule of its type compares it.
func normalised(rules []identity.Rule, kind, value string) string {
	for _, rule := range rules {
		if rule.Type == kind {
			return rule.Normalise(value)
		}
	}
	return value
}

func refuse(w http.ResponseWriter, status int, code, message string) int {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]Problem{"error": {Code: code, Message: message}})
	return status
}
