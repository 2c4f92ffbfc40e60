package sdk

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// row is an event in the warehouse.
type row struct {
	Type, Event, User, Anonymous, Source, Party string
	Occurred, Received                          time.Time
	Properties, Context                         map[string]any
}

// compare waits for the events of a source and compares them with what the SDK was told and with what it sent.
func (l *lab) compare(t *testing.T, source string, w *wire, sent []call) {
	t.Helper()
	until(t, "all events of "+source+" are stored", func() bool {
		var n uint64
		if err := l.warehouse.QueryRow(t.Context(), "SELECT count() FROM events WHERE source = ?", source).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n >= uint64(len(sent))
	})
	rows := l.rows(t, source)
	if len(rows) != len(sent) {
		t.Errorf("%d events are stored and %d were sent", len(rows), len(sent))
	}
	var refused uint64
	if err := l.warehouse.QueryRow(t.Context(), "SELECT count() FROM quarantine WHERE source = ?", source).Scan(&refused); err != nil {
		t.Fatal(err)
	}
	if refused > 0 {
		t.Errorf("%d events are in quarantine", refused)
	}
	onWire := w.events(t)
	byType := map[string]row{}
	for id, r := range rows {
		byType[r.Type] = r
		if event, ok := onWire[id]; ok {
			compareWithWire(t, source, event, r)
		} else {
			t.Errorf("%s event %s is stored and was not sent", r.Type, id)
		}
	}
	for _, c := range sent {
		compareWithCall(t, c, byType[c["type"].(string)])
	}
	l.compareTraits(t, source, sent[0])
}

// rows of a source by message id. One that is stored twice fails the test.
func (l *lab) rows(t *testing.T, source string) map[string]row {
	t.Helper()
	result, err := l.warehouse.Query(t.Context(), `SELECT message_id, type, event, user_id, anonymous_id, source, party, occurred, received, properties, context
		FROM events WHERE source = ?`, source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	rows := map[string]row{}
	for result.Next() {
		var r row
		var id, properties, context string
		if err := result.Scan(&id, &r.Type, &r.Event, &r.User, &r.Anonymous, &r.Source, &r.Party, &r.Occurred, &r.Received, &properties, &context); err != nil {
			t.Fatal(err)
		}
		r.Properties, r.Context = object(t, properties), object(t, context)
		if _, twice := rows[id]; twice {
			t.Errorf("event %s is stored twice", id)
		}
		rows[id] = r
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// events that a collector has acknowledged, by message id, with what their batch says for all of them.
func (w *wire) events(t *testing.T) map[string]map[string]any {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	events := map[string]map[string]any{}
	for _, body := range w.taken {
		one := object(t, string(body))
		items, batch := one["batch"].([]any)
		if !batch {
			items = []any{one}
		}
		for _, item := range items {
			event := item.(map[string]any)
			if _, own := event["sentAt"]; batch && !own {
				event["sentAt"] = one["sentAt"]
			}
			if common, ok := one["context"].(map[string]any); batch && ok {
				merged := maps.Clone(common)
				own, _ := event["context"].(map[string]any)
				maps.Copy(merged, own)
				event["context"] = merged
			}
			id, _ := event["messageId"].(string)
			if id == "" {
				t.Errorf("an event without a message id was sent: %v", event)
			}
			events[id] = event
		}
	}
	return events
}

var names = map[string]string{"identify": "Identify", "page": "Page Viewed", "screen": "Screen Viewed", "group": "Group", "alias": "Alias"}

// compareWithWire compares all fields of a stored event with those that the SDK sent.
func compareWithWire(t *testing.T, source string, sent map[string]any, got row) {
	t.Helper()
	text := func(name string) string {
		s, _ := sent[name].(string)
		return s
	}
	want := row{
		Type: text("type"), Event: text("event"), User: text("userId"), Anonymous: text("anonymousId"), Source: source, Party: "First",
		Received: got.Received, Context: map[string]any{"ip": "127.0.0.1"}, Properties: map[string]any{},
	}
	if want.Type != "track" {
		want.Event = names[want.Type]
	}
	context, _ := sent["context"].(map[string]any)
	maps.Copy(want.Context, context)
	// What stands beside the properties is stored among them, and does not replace one of them.
	besides, from := []string{"category", "name"}, "properties"
	switch want.Type {
	case "track":
		besides = nil
	case "identify":
		besides, from = nil, "traits"
	case "group":
		besides, from = []string{"groupId"}, "traits"
	case "alias":
		besides = []string{"previousId"}
	}
	for _, name := range besides {
		if value := text(name); value != "" {
			want.Properties[name] = value
		}
	}
	properties, _ := sent[from].(map[string]any)
	maps.Copy(want.Properties, properties)

	// The sender's clock error is taken out: between an event and its sending there is as much time by any clock.
	stamped, err := time.Parse(time.RFC3339Nano, text("timestamp"))
	if err != nil {
		stamped, err = time.Parse(time.RFC3339Nano, text("originalTimestamp"))
	}
	if err != nil {
		t.Errorf("%s: no timestamp was sent: %v", want.Type, err)
	}
	want.Occurred = stamped
	if at := text("sentAt"); at != "" {
		sentAt, err := time.Parse(time.RFC3339Nano, at)
		if err != nil {
			t.Errorf("sentAt: %v", err)
		}
		want.Occurred = got.Received.Add(stamped.Sub(sentAt))
	}
	if want.Occurred.After(got.Received) {
		want.Occurred = got.Received
	}
	want.Occurred = want.Occurred.Truncate(time.Millisecond)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s of %s: what was sent and what is stored (-sent +stored):\n%s", want.Type, source, diff)
	}
}

// compareWithCall compares what was handed to the SDK with what is stored. SDKs add properties and never change them.
func compareWithCall(t *testing.T, c call, got row) {
	t.Helper()
	name := c["type"].(string)
	want := map[string]any{}
	for _, field := range []string{"properties", "traits"} {
		values, _ := c[field].(map[string]any)
		maps.Copy(want, values)
	}
	for _, field := range []string{"category", "name", "groupId", "previousId"} {
		if value, ok := c[field]; ok {
			want[field] = value
		}
	}
	for field, value := range want {
		if diff := cmp.Diff(value, got.Properties[field]); diff != "" {
			t.Errorf("%s: %s as given and as stored (-given +stored):\n%s", name, field, diff)
		}
	}
	context, _ := c["context"].(map[string]any)
	for field, value := range context {
		if diff := cmp.Diff(value, got.Context[field]); diff != "" {
			t.Errorf("%s: context.%s as given and as stored (-given +stored):\n%s", name, field, diff)
		}
	}
	if event, ok := c["event"]; ok && event != got.Event {
		t.Errorf("event is %q and was given as %q", got.Event, event)
	}
	if c["userId"] != got.User {
		t.Errorf("%s: userId is %q and was given as %q", name, got.User, c["userId"])
	}
	at, err := time.Parse(time.RFC3339Nano, c["timestamp"].(string))
	if err != nil {
		t.Fatal(err)
	}
	// The correction leaves the time that the request was under way, or was tried again.
	if late := got.Occurred.Sub(at); late < -time.Millisecond || late > time.Minute {
		t.Errorf("%s: it occurred at %s and was given as %s", name, got.Occurred, at)
	}
}

// compareTraits compares the traits of an identify with those of the customer.
func (l *lab) compareTraits(t *testing.T, source string, identify call) {
	t.Helper()
	// The tables of a batch are written one after the other.
	until(t, "the traits of "+source+" are stored", func() bool {
		var n uint64
		if err := l.warehouse.QueryRow(t.Context(), "SELECT count() FROM traits FINAL WHERE source = ?", source).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	})
	result, err := l.warehouse.Query(t.Context(), "SELECT name, value FROM traits FINAL WHERE source = ?", source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = result.Close() }()
	got := map[string]any{}
	for result.Next() {
		var name, value string
		if err := result.Scan(&name, &value); err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			t.Fatalf("trait %s: %v", name, err)
		}
		got[name] = v
	}
	if err := result.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(identify["traits"], any(got)); diff != "" {
		t.Errorf("traits as given and as stored (-given +stored):\n%s", diff)
	}
}

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%.200s: %v", text, err)
	}
	return o
}
