package destination

import (
	"encoding/json"
	"fmt"
)

// message tells of one member in a queue; docs/destinations/messages.md describes it. Its key is the customer's id, so that
// what is told of one customer keeps its order.
type message struct {
	Type     string `json:"type"` // entered, updated or exited
	Audience string `json:"audience"`
	Sync     string `json:"sync"`
	ID       string `json:"id"`
	// Version grows with every change of an id: of several messages of one id that with the greatest counts.
	Version uint64 `json:"version"`
	// Entry is Operation.Entry.
	Entry       uint64                     `json:"entry,omitempty"`
	Identifiers map[string][]string        `json:"identifiers"`
	Traits      map[string]json.RawMessage `json:"traits"`
}

// Types of messages.
const (
	messageEntered = "entered"
	messageUpdated = "updated"
	messageExited  = "exited"
)

// queued is a message as it is sent.
type queued struct {
	key  string // the customer's id
	id   string // the same whenever the message is sent again, and of no other
	kind string // entered, updated or exited
	body []byte
}

// Telling is in whose name a queue is told of members.
type Telling struct{ Audience, Sync string }

// messages of a batch, in its order.
func (t Telling) messages(operations []Operation) ([]queued, error) {
	out := make([]queued, len(operations))
	for i, o := range operations {
		m := message{Type: messageUpdated, Audience: t.Audience, Sync: t.Sync, ID: o.ID, Version: o.Version, Entry: o.Entry, Identifiers: o.Identifiers, Traits: o.Traits}
		switch {
		case o.Op == OpRemove:
			m.Type = messageExited
		case o.New:
			m.Type = messageEntered
		}
		body, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encoding a message: %w", err)
		}
		out[i] = queued{key: o.ID, id: fmt.Sprintf("%s/%s/%d", t.Sync, o.ID, o.Version), kind: m.Type, body: body}
	}
	return out, nil
}

// queue writes down messages.
func (t *trace) queue(to string, messages []queued, headers func(queued) []string) error {
	if t == nil {
		return nil
	}
	for _, m := range messages {
		shown := headers(m)
		for i := range shown {
			shown[i] = t.mask.text(shown[i])
		}
		if err := t.say(Exchange{To: "PUBLISH " + to, Headers: shown, Body: t.mask.json(m.body)}); err != nil {
			return err
		}
	}
	return nil
}

// tooLong is the result of a member whose message the queue does not take.
func tooLong(limit string) Result {
	return Result{Rejected: true, Reason: "TooLarge", Message: "the message is larger than " + limit + "; map fewer traits, or let it take more"}
}
