// Package segment sends events the way Segment's SDKs do: JSON over HTTP with a write key, in batches, again and again
// until the collector has acknowledged them.
package segment

import (
	"encoding/json"
	"fmt"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

// message is an event as Segment's HTTP API takes it
// (https://segment.com/docs/connections/spec/common/).
type message struct {
	Type        string         `json:"type"`
	MessageID   string         `json:"messageId"`
	Timestamp   string         `json:"timestamp"`
	UserID      string         `json:"userId,omitempty"`
	AnonymousID string         `json:"anonymousId,omitempty"`
	PreviousID  string         `json:"previousId,omitempty"`
	Event       string         `json:"event,omitempty"`
	Name        string         `json:"name,omitempty"`
	Traits      map[string]any `json:"traits,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Context     map[string]any `json:"context"`
}

// body is a request to /v1/batch.
type body struct {
	Batch  []message `json:"batch"`
	SentAt string    `json:"sentAt"`
}

// Encode writes a session as the body of one batch request that is sent at a moment.
func Encode(s population.Session, library string, sentAt time.Time) ([]byte, error) {
	b := body{SentAt: stamp(sentAt), Batch: make([]message, len(s.Events))}
	for i, e := range s.Events {
		m := message{
			Type: e.Type, MessageID: e.MessageID, Timestamp: stamp(e.Time),
			UserID: e.UserID, AnonymousID: e.AnonymousID, PreviousID: e.PreviousID,
			Traits: e.Traits, Properties: e.Properties,
			Context: map[string]any{"library": map[string]any{"name": library, "version": "1.0.0"}, "locale": "en-GB"},
		}
		switch e.Type {
		case population.TypeTrack:
			m.Event = e.Name
		case population.TypePage, population.TypeScreen:
			m.Name = e.Name
		}
		b.Batch[i] = m
	}
	out, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encoding a session: %w", err)
	}
	return out, nil
}

// stamp writes a time as JavaScript's Date does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
