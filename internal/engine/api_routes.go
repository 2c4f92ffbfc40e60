package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/api/v1alpha1"
	"kohort.dev/kohort/internal/profile"
)

// lookUpTimeout bounds the queries of one answer.
const lookUpTimeout = 10 * time.Second

// route is a path of the API. Who adds one adds a line to routes and a file api_<thing>.go with the answer.
type route struct {
	pattern string
	// answer gives what is written as JSON, or a [refusal]. Any other error is the warehouse's.
	answer func(ctx context.Context, r *http.Request) (any, error)
	// timeout of an answer, 0 for lookUpTimeout.
	timeout time.Duration
	// scopes of which a key needs one.
	scopes []v1alpha1.APIScope
}

func (a *api) routes() []route {
	profiles, identity := []v1alpha1.APIScope{v1alpha1.ScopeProfiles}, []v1alpha1.APIScope{v1alpha1.ScopeIdentity}
	audiences := []v1alpha1.APIScope{v1alpha1.ScopeAudiences, v1alpha1.ScopeProfiles}
	preview, quarantine := []v1alpha1.APIScope{v1alpha1.ScopePreview}, []v1alpha1.APIScope{v1alpha1.ScopeQuarantine}
	return []route{
		{pattern: "GET /v1/profiles/{identifier}", answer: a.profile, scopes: profiles},
		{pattern: "GET /v1/profiles/{identifier}/traits", answer: a.traits, scopes: profiles},
		{pattern: "GET /v1/profiles/{identifier}/identifiers", answer: a.identifiers, scopes: profiles},
		{pattern: "GET /v1/profiles/{identifier}/audiences", answer: a.audiences, scopes: audiences},
		{pattern: "GET /v1/profiles/{identifier}/events", answer: a.events, scopes: profiles},
		{pattern: "GET /v1/profiles/{identifier}/links", answer: a.links, scopes: profiles},
		{pattern: "GET /v1/profiles/{identifier}/audiences/{audience}", answer: a.explainAudience, scopes: profiles},
		{pattern: "POST /v1/audiences/preview", answer: a.preview, timeout: previewTimeout, scopes: preview},
		{pattern: "GET /v1/accounts/{account}", answer: a.account, scopes: profiles},
		{pattern: "GET /v1/accounts/{account}/members", answer: a.members, scopes: profiles},
		{pattern: "GET /v1/identity/explain", answer: a.explain, scopes: identity},
		{pattern: "POST /v1/identity/unmerge", answer: a.unmerge, timeout: unmergeTimeout, scopes: identity},
		{pattern: "GET /v1/violations", answer: a.violations, scopes: quarantine},
		{pattern: "GET /v1/quarantine", answer: a.quarantined, scopes: quarantine},
		{pattern: "GET /v1/quarantine/summary", answer: a.summary, scopes: quarantine},
		{pattern: "POST /v1/quarantine/redrive", answer: a.redrive, scopes: quarantine},
	}
}

// refusal is an answer that says what is wrong with the request, or why it cannot be served now.
type refusal struct {
	status        int
	code, message string
}

func (r refusal) Error() string { return r.code + ": " + r.message }

var errBadCursor = refusal{http.StatusBadRequest, "BadCursor", "cursor is next of the answer before, as it was given"}

var errNoPlatform = refusal{http.StatusServiceUnavailable, "NoPlatform", "the Platform is not there, so nobody knows how its identifiers are written"}

// serve answers one request, at most [concurrent] at once.
func (a *api) serve(w http.ResponseWriter, r *http.Request, route route) {
	began := time.Now()
	status := a.respond(w, r, route)
	a.metrics.lookups.WithLabelValues(strconv.Itoa(status)).Observe(time.Since(began).Seconds())
}

func (a *api) respond(w http.ResponseWriter, r *http.Request, route route) (status int) {
	ctx, cancel := context.WithTimeout(r.Context(), cmp.Or(route.timeout, lookUpTimeout))
	defer cancel()
	if route.timeout > 0 { // the server's own is for short answers; one that cannot be told is an answer that is cut off
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(route.timeout + answerTimeout))
	}
	if !a.admit(ctx) {
		w.Header().Set("Retry-After", "1")
		return refuse(w, http.StatusServiceUnavailable, "Busy", "too many requests at once; try again")
	}
	defer func() { <-a.slots }()
	found, err := route.answer(ctx, r)
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return refuse(w, refused.status, refused.code, refused.message)
	case errors.Is(err, profile.ErrNotFound):
		return refuse(w, http.StatusNotFound, "ProfileNotFound", "no customer is known by this identifier")
	case err != nil && r.Context().Err() != nil:
		return 499 // whoever asked has gone
	case err != nil:
		a.logger.Warn("answering a request", "path", route.pattern, "error", err.Error())
		w.Header().Set("Retry-After", "1")
		return refuse(w, http.StatusServiceUnavailable, "WarehouseUnavailable", "the warehouse does not answer; try again")
	}
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(found); err != nil {
		a.logger.Error("writing an answer", "path", route.pattern, "error", err.Error())
		return refuse(w, http.StatusInternalServerError, "BadAnswer", "the engine cannot write what it found; look at its log")
	}
	return respondOnce(w, r, body.Bytes())
}

// respondOnce sends a body, unless the one who asks has it already (RFC 9110, 13.1.2: If-None-Match).
func respondOnce(w http.ResponseWriter, r *http.Request, body []byte) (status int) {
	sum := sha256.Sum256(body)
	tag := `"` + hex.EncodeToString(sum[:16]) + `"`
	w.Header().Set("ETag", tag)
	// A customer's data is for the one who asked alone, who must ask again before using it again.
	w.Header().Set("Cache-Control", "private, no-cache")
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return http.StatusNotModified
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // nothing is left to tell one who has gone
	return http.StatusOK
}

// matches compares weakly, as If-None-Match asks for. The tags are hexadecimal, so a comma only stands between them.
func matches(headers []string, tag string) bool {
	for _, header := range headers {
		for sent := range strings.SplitSeq(header, ",") {
			if sent = strings.TrimSpace(sent); sent == "*" || strings.TrimPrefix(sent, "W/") == tag {
				return true
			}
		}
	}
	return false
}
