package destination

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// WebhookConfig tells where and in whose name a Webhook posts.
type WebhookConfig struct {
	URL       string
	TokenFile string // the file of the token; empty when the Destination names none
	// KeyFiles are the files of the keys that requests are signed with; empty: they are not signed.
	KeyFiles []string
	Audience string
	Sync     string
	Run      string           // what the run is called
	Now      func() time.Time // for the timestamp that is signed; nil: the system's clock
}

// Webhook posts batches as JSON. docs/destinations/webhook.md describes the body, the signature and the answer.
type Webhook struct {
	endpoint
	config WebhookConfig
}

// NewWebhook makes a Webhook. It fails when the URL cannot be used.
func NewWebhook(config WebhookConfig) (*Webhook, error) {
	login := ""
	if config.TokenFile != "" {
		login = webhookToken
	}
	to, err := newEndpoint(config.URL, "spec.webhook.url", login, webhookToken)
	if err != nil {
		return nil, err
	}
	to.hidden = true
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Webhook{endpoint: to, config: config}, nil
}

const webhookToken = "spec.webhook.tokenSecretRef"

// Holder is the URL.
func (w *Webhook) Holder() string { return w.config.URL }

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
	header := http.Header{}
	header.Set("Idempotency-Key", batch.Key)
	if w.config.TokenFile != "" {
		token, err := readSecret(w.config.TokenFile, webhookToken)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token)
	}
	if err := w.sign(header, batch.Key, body); err != nil {
		return nil, err
	}
	response, answer, err := w.post(ctx, w.config.URL, header, body) //nolint:bodyclose // post has read and closed it
	if err != nil {
		return nil, err
	}
	return w.judge(response, answer, batch.Operations)
}
