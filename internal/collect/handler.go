package collect

import (
	"context"
	"fmt"
	"net/http"
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
	ClientIP    ClientIP // empty: KeepIP
	Origins     Origins
	MaxBatch    int   // bytes of a batch, unpacked; 0: DefaultMaxBatch
	Rate        *Rate // nil: no limit
	Now         func() time.Time
	Metrics     *Metrics
}

// NewHandler serves the tracking API.
func NewHandler(options HandlerOptions) http.Handler {
	if options.MaxBatch == 0 {
		options.MaxBatch = DefaultMaxBatch
	}
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
	name, status := h.serve(w, r)
	if status != 0 {
		h.Metrics.request(name, status, h.Now().Sub(start))
	}
}

// serve answers a request and says what to count it as; status 0 is not counted.
func (h *handler) serve(w http.ResponseWriter, r *http.Request) (name string, status int) {
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	e, known := h.routes[path]
	if !known {
		e.name = "other"
	}
	if !h.Origins.allow(w.Header(), r) {
		return e.name, originRefused.answer(w)
	}
	switch {
	case r.Method == http.MethodOptions:
		allowMethods(w, r)
		return "", 0
	case known && r.Method == http.MethodPost:
		return e.name, h.take(w, r, e)
	case known:
		return e.name, methodNotAllowed.answer(w)
	case r.Method == http.MethodGet:
		if e, read, ok := h.pixel(path); ok {
			return e.name, h.takePixel(w, r, e, read)
		}
	}
	return e.name, h.other(w, r, path)
}

// take answers a request that brings events and returns its status.
func (h *handler) take(w http.ResponseWriter, r *http.Request, e endpoint) int {
	got, refused := h.bodies.receive(r, e.limit(h.MaxBatch), h.MaxBatch)
	if refused != nil {
		return refused.answer(w)
	}
	defer h.bodies.giveBack(got)
	if refused = h.accept(r, e, got.body); refused == nil {
		answerSuccess(w)
		return http.StatusOK
	}
	if refused != gone {
		refused.answer(w)
	}
	return refused.status
}

// accept returns nil once the events of a body are on the log's disk.
func (h *handler) accept(r *http.Request, e endpoint, body []byte) *refusal {
	events, refused := h.check(r, e, body)
	if refused != nil {
		return refused
	}
	if events > 0 {
		now := h.Now().UTC()
		if wait, ok := h.Rate.take(events, now); !ok {
			return tooFast(wait)
		}
		err := h.Log.Publish(r.Context(), stream.Record{
			Kind: e.kind, Received: now, Source: h.Source, Party: h.Party, IP: h.client(r), Body: body,
		})
		if clientGone(r.Context(), err) {
			return gone
		}
		if err != nil {
			h.Rate.giveBack(events)
			return refuseFor(err)
		}
	}
	h.Metrics.stored(events, len(body))
	return nil
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
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		if path == sourceConfig {
			if !h.Key.allows(r, "") {
				return unauthorized.answer(w)
			}
			answerSourceConfig(w, h.Source, h.Key)
			return http.StatusOK
		}
		if key, ok := settingsKey(path); ok && h.Key.is(key) {
			answerSettings(w, r, key, h.TrustedHops > 0)
			return http.StatusOK
		}
	}
	return notFound.answer(w)
}
