package collect

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"kohort.dev/kohort/internal/stream"
)

// Log is where events are kept: a stream.Publisher.
type Log interface {
	// Publish returns nil once the record is on disk.
	Publish(context.Context, stream.Record) error
	// Ready is nil when a record would be stored now.
	Ready() error
}

// HandlerOptions say whose events a handler takes.
type HandlerOptions struct {
	Source string // name of the Source
	Party  string // First, Second or Third
	Key    *Key
	Log    Log
	// TrustedHops is the number of proxies in front that append to X-Forwarded-For. 0: the header is not looked at, for
	// anybody can send it, and the client is whoever is connected.
	TrustedHops int
	Now         func() time.Time
	Metrics     *Metrics
}

// NewHandler serves the tracking API.
func NewHandler(options HandlerOptions) http.Handler {
	return &handler{HandlerOptions: options, routes: routes()}
}

type handler struct {
	HandlerOptions
	routes map[string]endpoint
	bodies receiver
}

// ServeHTTP answers a request and counts it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := h.Now()
	allowOrigin(w.Header(), r)
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	e, known := h.routes[path]
	switch {
	case r.Method == http.MethodOptions:
		allowMethods(w, r)
	case known && r.Method == http.MethodPost:
		status := h.take(w, r, e)
		h.Metrics.request(e.name, status, h.Now().Sub(start))
	case known:
		methodNotAllowed.answer(w)
		h.Metrics.request(e.name, methodNotAllowed.status, h.Now().Sub(start))
	default:
		status := h.other(w, r, path)
		h.Metrics.request("other", status, h.Now().Sub(start))
	}
}

// take answers a request that brings events and returns its status.
func (h *handler) take(w http.ResponseWriter, r *http.Request, e endpoint) int {
	got, refused := h.bodies.receive(r, e.limit())
	if refused != nil {
		refused.answer(w)
		return refused.status
	}
	defer h.bodies.giveBack(got)
	events, refused := h.check(r, e, got.body)
	if refused != nil {
		refused.answer(w)
		return refused.status
	}
	if events > 0 {
		err := h.Log.Publish(r.Context(), stream.Record{
			Kind: e.kind, Received: h.Now().UTC(), Source: h.Source, Party: h.Party, IP: h.client(r), Body: got.body,
		})
		if clientGone(r.Context(), err) {
			return statusClientGone
		}
		if err != nil {
			refused := refuseFor(err)
			refused.answer(w)
			return refused.status
		}
	}
	h.Metrics.stored(events, len(got.body))
	answerSuccess(w)
	return http.StatusOK
}

// check says how many events a body holds. The key comes first: who has none learns nothing about the body.
func (h *handler) check(r *http.Request, e endpoint, body []byte) (int, *refusal) {
	found, err := scan(body)
	if !h.Key.allows(r, found.writeKey) {
		return 0, unauthorized
	}
	switch {
	case err != nil:
		return 0, invalid("body", "the body is not JSON: "+err.Error())
	case !found.object:
		return 0, invalid("body", "the body must be a JSON object")
	case e.kind != stream.KindBatch:
		return 1, nil
	case !found.batch:
		return 0, invalid("batch", `the body of a batch needs a field "batch" with a list of events`)
	case found.items > maxItems:
		return 0, tooLarge("batch", fmt.Sprintf("the batch holds %d events and may hold %d; send fewer at once", found.items, maxItems))
	}
	return found.items, nil
}

// other answers what does not bring events.
func (h *handler) other(w http.ResponseWriter, r *http.Request, path string) int {
	key, ok := settingsKey(path)
	if !ok || (r.Method != http.MethodGet && r.Method != http.MethodHead) || !h.Key.is(key) {
		notFound.answer(w)
		return notFound.status
	}
	answerSettings(w, r, key, h.TrustedHops > 0)
	return http.StatusOK
}

// client is the address that the request came from.
func (h *handler) client(r *http.Request) string {
	if h.TrustedHops > 0 {
		// Each proxy appends the address that it saw; what stands further left was sent by the client itself.
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if at := len(hops) - h.TrustedHops; at >= 0 {
			if ip := address(strings.TrimSpace(hops[at])); ip != "" {
				return ip
			}
		}
	}
	return address(r.RemoteAddr)
}

// allowOrigin lets a browser's script read the answer, whatever site it is on: the write key is public by nature, and
// nothing here depends on cookies.
func allowOrigin(h http.Header, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Set("Access-Control-Expose-Headers", "Retry-After")
		h.Add("Vary", "Origin")
	}
}

// allowMethods answers a preflight request.
func allowMethods(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	headers := r.Header.Get("Access-Control-Request-Headers")
	if headers == "" || len(headers) > 1024 {
		headers = "Authorization, Content-Type, Content-Encoding, AnonymousId"
	}
	h.Set("Access-Control-Allow-Headers", headers)
	h.Set("Access-Control-Max-Age", strconv.Itoa(int((15 * time.Minute).Seconds())))
	w.WriteHeader(http.StatusNoContent)
}
