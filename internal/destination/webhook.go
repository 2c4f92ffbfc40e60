package destination

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"kohort.dev/kohort/internal/run"
)

// The webhook's limits. docs/destinations.md tells them to those who write receivers.
const (
	// RequestTimeout is how long a receiver may take for one batch.
	RequestTimeout = 20 * time.Second
	// maxAnswer bounds an answer: 500 rejections of 300 bytes each are 150 KB.
	maxAnswer = 1 << 20
	// maxRedirects within the same host; receivers behind a path change need one.
	maxRedirects = 3
)

// WebhookConfig tells where and in whose name a Webhook posts.
type WebhookConfig struct {
	URL       string
	TokenFile string // the file of the token; empty when the Destination names none
	Audience  string
	Sync      string
	Run       string // what the run is called
}

// Webhook posts batches as JSON. docs/destinations.md describes the body and the answer.
type Webhook struct {
	config WebhookConfig
	host   string // scheme://host:port: all of the URL that may be shown, for the rest may hold a credential
	holder string
	client *http.Client
}

// errRedirect : a redirect that is not followed, because the members would go elsewhere or not at all.
var errRedirect = errors.New("redirect refused")

// NewWebhook makes a Webhook. It fails when the URL cannot be used.
func NewWebhook(config WebhookConfig) (*Webhook, error) {
	parsed, err := url.Parse(config.URL)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https") {
		return nil, run.Refuse(ReasonInvalidSpec, "spec.webhook.url of the Destination is not of the form https://host/path")
	}
	if parsed.User != nil {
		return nil, run.Refuse(ReasonInvalidSpec,
			"spec.webhook.url of the Destination holds a user or password; put a token in a Secret and name it in spec.webhook.tokenSecretRef")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = RequestTimeout
	transport.MaxIdleConnsPerHost = 2
	return &Webhook{
		config: config,
		host:   parsed.Scheme + "://" + parsed.Host,
		holder: config.URL,
		client: &http.Client{Transport: transport, Timeout: RequestTimeout, CheckRedirect: sameHost},
	}, nil
}

// sameHost follows a redirect only if the batch goes to the same host by POST again (307, 308).
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0]
	if next.Method != first.Method || next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme ||
		len(via) > maxRedirects {
		return errRedirect
	}
	return nil
}

// Holder is the URL.
func (w *Webhook) Holder() string { return w.holder }

// Close closes idle connections.
func (w *Webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// webhookBody is the request's body.
type webhookBody struct {
	Audience   string      `json:"audience"`
	Sync       string      `json:"sync"`
	Run        string      `json:"run"`
	Operations []Operation `json:"operations"`
}

// Deliver posts a batch; see Destination.
func (w *Webhook) Deliver(ctx context.Context, batch Batch) ([]Result, error) {
	body, err := json.Marshal(webhookBody{
		Audience: w.config.Audience, Sync: w.config.Sync, Run: w.config.Run, Operations: batch.Operations,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a batch for %s: %w", w.host, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request to %s: %w", w.host, withoutURL(err))
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "kohort")
	request.Header.Set("Idempotency-Key", batch.Key)
	if w.config.TokenFile != "" {
		token, err := readSecret(w.config.TokenFile, "spec.webhook.tokenSecretRef")
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := w.client.Do(request)
	if err != nil {
		return nil, w.unanswered(err)
	}
	defer response.Body.Close() // read to its end, or given up
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, &UnavailableError{Err: fmt.Errorf("%s answered %s and broke off: %w", w.host, response.Status, withoutURL(err))}
	}
	return w.judge(response, answer, batch.Operations)
}

// unanswered tells why a request had no answer.
func (w *Webhook) unanswered(err error) error {
	if errors.Is(err, errRedirect) {
		return run.Refuse(ReasonUnreachable,
			"%s redirects to another host, or in a way that turns POST into GET; members are sent to the host in spec.webhook.url only: set it to the final address", w.host)
	}
	cause := withoutURL(err)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return &UnavailableError{Err: fmt.Errorf("%s did not answer within %s; look at the receiver's log", w.host, RequestTimeout)}
	}
	var dial *net.OpError
	var resolve *net.DNSError
	unconnected := errors.As(err, &dial) && dial.Op == "dial" || errors.As(err, &resolve)
	return &UnavailableError{Unconnected: unconnected, Err: fmt.Errorf("connecting to %s: %w; check that it runs and that spec.webhook.url is right", w.host, cause)}
}

// withoutURL takes the URL out of an error of package net/http: its path and query may hold a credential.
func withoutURL(err error) error {
	var with *url.Error
	if errors.As(err, &with) {
		return with.Err
	}
	return err
}
