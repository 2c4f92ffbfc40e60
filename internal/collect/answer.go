package collect

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"kohort.dev/kohort/internal/stream"
)

// refusal is an answer other than 200. SDKs retry 5xx and 408; older ones retry everything but 400, so 400 stands for
// all that will not be better the next time, also for what is too large.
type refusal struct {
	status     int
	code       string // for programs
	field      string // of the request that is wrong; empty when none is
	message    string // for people: what is wrong and the remedy
	retryAfter int    // seconds; 0 when a retry does not help
}

func invalid(field, message string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "Invalid", field: field, message: message}
}

func tooLarge(field, message string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: "TooLarge", field: field, message: message}
}

var (
	unauthorized = &refusal{status: http.StatusUnauthorized, code: "Unauthorized", field: "writeKey",
		message: "the write key is missing or wrong; send this source's key as the user of Basic authentication or as writeKey in the body"}
	notFound = &refusal{status: http.StatusNotFound, code: "NotFound",
		message: "no such endpoint; events go to POST /v1/batch, /v1/track, /v1/identify, /v1/page, /v1/screen, /v1/group or /v1/alias"}
	methodNotAllowed = &refusal{status: http.StatusMethodNotAllowed, code: "MethodNotAllowed",
		message: "events are sent with POST"}
	timedOut = &refusal{status: http.StatusRequestTimeout, code: "Timeout", field: "body",
		message: "the body did not arrive in time; send it again", retryAfter: 1}
	busy = &refusal{status: http.StatusServiceUnavailable, code: "Overloaded",
		message: "too many bytes are being received; nothing of this request was stored, send it again", retryAfter: 1}
	overloaded = &refusal{status: http.StatusServiceUnavailable, code: "Overloaded",
		message: "too much waits to be stored; nothing of this request was stored, send it again", retryAfter: 1}
	originRefused = &refusal{status: http.StatusForbidden, code: "OriginNotAllowed", field: "Origin",
		message: "this site may not send; add it to spec.http.cors.allowedOrigins of the Source"}
	gone        = &refusal{status: statusClientGone}
	unavailable = &refusal{status: http.StatusServiceUnavailable, code: "Unavailable",
		message: "the store does not take events at present; send them again", retryAfter: 5}
)

// tooFast is the answer to events beyond the rate of the key.
func tooFast(wait int) *refusal {
	return &refusal{status: http.StatusTooManyRequests, code: "TooManyEvents", retryAfter: wait,
		message: "this source sends more than spec.http.limits.eventsPerSecond; nothing of this request was stored, send it again later"}
}

// refuseFor is the answer to an error of publishing.
func refuseFor(err error) *refusal {
	switch {
	case errors.Is(err, stream.ErrTooLarge):
		return tooLarge("body", "the body is larger than the stream takes; send fewer events at once")
	case errors.Is(err, stream.ErrOverloaded):
		return overloaded
	default:
		return unavailable
	}
}

// statusClientGone is written to metrics only, as nginx does: nobody is there to read an answer.
const statusClientGone = 499

func clientGone(ctx context.Context, err error) bool {
	return errors.Is(err, context.Canceled) && ctx.Err() != nil
}

var success = []byte(`{"success":true}`)

func answerSuccess(w http.ResponseWriter) {
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(success) // the client may be gone; the event is stored either way
}

var jsonType = []string{"application/json"}

// answer writes the refusal and returns its status.
func (r *refusal) answer(w http.ResponseWriter) int {
	h := w.Header()
	h["Content-Type"] = jsonType
	h.Set("Cache-Control", "no-store")
	r.setHeaders(h)
	w.WriteHeader(r.status)
	body := struct {
		Success bool   `json:"success"`
		Code    string `json:"code"`
		Field   string `json:"field,omitempty"`
		Message string `json:"message"`
	}{false, r.code, r.field, r.message}
	_ = json.NewEncoder(w).Encode(body)
	return r.status
}

// setHeaders says when to try again, and how. Older browser SDKs read X-RateLimit-Reset, which is in seconds as well.
func (r *refusal) setHeaders(h http.Header) {
	if r.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	switch r.status {
	case http.StatusTooManyRequests:
		h.Set("X-RateLimit-Reset", strconv.Itoa(r.retryAfter))
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "POST, OPTIONS")
	}
}
