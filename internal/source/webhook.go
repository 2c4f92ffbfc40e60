package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
)

const (
	// secretWebhook is what an order calls the secret of a webhook.
	secretWebhook = "WEBHOOK_SECRET"
	// hooksAtOnce bounds the bodies in memory; more requests are told to come again.
	hooksAtOnce = 64
	// hookPatience is how long the stream may be away before the sender is told to send again: less than senders wait.
	hookPatience = 8 * time.Second
)

// WebhookOptions of a Webhook.
type WebhookOptions struct {
	Order      run.ListenOrder
	Secrets    Secrets
	Log        Log
	Logger     *slog.Logger
	Registerer prometheus.Registerer
	Now        func() time.Time
}

// Webhook takes requests with any JSON, or a form, and publishes what the mapping makes of them. A request is answered
// with 200 once its events, or its place in quarantine, are on the stream's disk. One that is sent again has the same
// message ids, and counts once.
type Webhook struct {
	options  WebhookOptions
	mappings chan *mapping.Mapping // one for each request that may be mapped at once
	slots    chan struct{}
	metrics  *ListenMetrics
	requests *prometheus.CounterVec
}

// NewWebhook makes a Webhook. It fails with a *run.Failure that names the field when the mapping or the secret cannot be
// used.
func NewWebhook(options WebhookOptions) (*Webhook, error) {
	w := &Webhook{
		options: options, mappings: make(chan *mapping.Mapping, runtime.GOMAXPROCS(0)), slots: make(chan struct{}, hooksAtOnce),
		metrics: NewListenMetrics(options.Registerer),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kohort_webhook_requests_total", Help: "Requests, by status code of the answer.",
		}, []string{"code"}),
	}
	options.Registerer.MustRegister(w.requests)
	for range cap(w.mappings) {
		m, err := compile(options.Order.Mapping)
		if err != nil {
			return nil, err
		}
		w.mappings <- m
	}
	if _, err := options.Secrets.Value(secretWebhook); err != nil {
		return nil, err
	}
	return w, nil
}

// hookRefusal is an answer other than 200.
type hookRefusal struct {
	status  int
	message string
}

func (r hookRefusal) Error() string { return r.message }

// ServeHTTP takes a request at any path.
func (w *Webhook) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	err := w.serve(response, request)
	status, answer := http.StatusOK, map[string]any{"success": true}
	if err != nil {
		refusal := hookRefusal{http.StatusServiceUnavailable, "the request was not stored; send it again"}
		if !errors.As(err, &refusal) {
			w.options.Logger.Warn("a request was not stored", "error", err.Error())
		}
		status, answer = refusal.status, map[string]any{"success": false, "message": refusal.message}
	}
	header := response.Header()
	switch status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Bearer realm="kohort"`)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "5")
	}
	header.Set("Content-Type", "application/json")
	response.WriteHeader(status)
	_ = json.NewEncoder(response).Encode(answer) // who has gone is told nothing
	w.requests.WithLabelValues(strconv.Itoa(status)).Inc()
}

func (w *Webhook) serve(response http.ResponseWriter, request *http.Request) error {
	if request.Method != http.MethodPost {
		return hookRefusal{http.StatusMethodNotAllowed, "send the event with POST"}
	}
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	default:
		return hookRefusal{http.StatusServiceUnavailable, "too many requests at once; send it again"}
	}
	if encoding := request.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return hookRefusal{http.StatusUnsupportedMediaType, "send the body without Content-Encoding"}
	}
	body, err := io.ReadAll(http.MaxBytesReader(response, request.Body, maxRecord))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return hookRefusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxRecord)}
	case err != nil:
		return hookRefusal{http.StatusBadRequest, "the body ends too early"}
	}
	secret, err := w.options.Secrets.Value(secretWebhook) // each time: a secret that is replaced counts at once
	if err != nil {
		return err
	}
	if !verify(*w.options.Order.Webhook, secret, request.Header, body, w.options.Now()) {
		return hookRefusal{http.StatusUnauthorized, "the request does not show that its sender has the secret of this Source; see docs/sources/webhook.md"}
	}
	return w.take(request, body)
}

// take publishes what the mapping makes of a request, or why it makes nothing.
func (w *Webhook) take(request *http.Request, body []byte) error {
	ctx, cancel := context.WithTimeout(request.Context(), hookPatience)
	defer cancel()
	order := w.options.Order
	r := record{raw: string(body)}
	r.Number, r.Format, r.Metadata = 1, formatOf(request.Header.Get("Content-Type")), metadataOf(request)
	where := delivery(request.Header)
	r.Origin, r.Numbered = append([]string{"webhook", order.Source}, where...), len(where) > 0
	r.value, r.fault = r.Value(r.raw)

	var m *mapping.Mapping
	select {
	case m = <-w.mappings:
	case <-ctx.Done():
		return ctx.Err()
	}
	out := newOutlet(ctx, w.options.Log, order.Source, order.Party, w.options.Now)
	p := &pull{Options: Options{Order: run.PullOrder{Source: order.Source, Party: order.Party}, Log: w.options.Log, Now: w.options.Now}, mapping: m, out: out, released: true}
	err := p.take(request.URL.Path)(ctx, r)
	w.mappings <- m
	if drained := out.drain(ctx); err != nil || drained != nil {
		return errors.Join(err, drained)
	}
	w.metrics.count(p, w.options.Now())
	return nil
}

// deliveries are headers in which senders number what they send, the same when they send it again.
var deliveries = []string{"Webhook-Id", "Svix-Id", "X-Github-Delivery", "X-Shopify-Event-Id", "X-Shopify-Webhook-Id", "Idempotency-Key"}

// delivery gives the header that numbers a request, and its value; nothing when there is none.
func delivery(header http.Header) []string {
	for _, name := range deliveries {
		if value := header.Get(name); value != "" {
			return []string{name, value}
		}
	}
	return nil
}

// secretHeaders are not shown to mappings, whose results anybody may read who reads events.
var secretHeaders = map[string]bool{"Authorization": true, "Cookie": true, "Proxy-Authorization": true}

// metadataOf is what a mapping sees beside the body: the headers by their names in lower case, and the path.
func metadataOf(request *http.Request) map[string]string {
	out := map[string]string{"path": request.URL.Path}
	for name, values := range request.Header {
		if !secretHeaders[name] {
			out[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	return out
}

// formatOf is how the body of a request is read unless it is JSON.
func formatOf(contentType string) mapping.Format {
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && kind == "application/x-www-form-urlencoded" {
		return mapping.Form
	}
	return mapping.Text
}
