package sdk

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/internal/collect"
)

// call is a call of an SDK. The server SDKs take it as it stands.
type call map[string]any

// calls are one of each method, with values that are easily bent on their way: texts beyond ASCII, numbers, nulls, depth.
func calls(user string) []call {
	day := func(hour int) string {
		return time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(hour) * time.Hour).Format("2006-01-02T15:04:05.678Z")
	}
	return []call{
		{"type": "identify", "userId": user, "timestamp": day(6), "traits": map[string]any{
			"email": user + "@example.org", "name": "Zoë O'Neil", "age": 41.0, "vip": true, "address": map[string]any{"city": "Köln"}, "tags": []any{"a", "b"},
		}},
		{"type": "track", "userId": user, "timestamp": day(5), "event": "Order Completed", "properties": map[string]any{
			"total": 18.99, "quantity": 9007199254740991.0, "note": "\"Grüße\" \\ \u2028 😀 </script>", "coupon": nil, "gift": false,
			"items": []any{map[string]any{"sku": "A-1", "n": 2.0}, map[string]any{"sku": "B-2", "n": 0.0}},
		}, "context": map[string]any{"campaign": map[string]any{"name": "autumn", "medium": "email"}}},
		{"type": "page", "userId": user, "timestamp": day(4), "category": "Shop", "name": "Cart", "properties": map[string]any{"step": 3.0}},
		{"type": "screen", "userId": user, "timestamp": day(3), "category": "App", "name": "Welcome", "properties": map[string]any{"dark": true}},
		{"type": "group", "userId": user, "timestamp": day(2), "groupId": "g-" + user, "traits": map[string]any{"plan": "pro", "seats": 12.0}},
		{"type": "alias", "timestamp": day(1), "userId": user, "previousId": "old-" + user},
	}
}

var drivers = []string{"segment-node", "segment-browser", "rudder-node"}

// Every method of every SDK, sent in batches and one by one, is stored as it was sent.
func TestEveryMethodIsStoredAsSent(t *testing.T) {
	l := newLab(t)
	for _, name := range drivers {
		for _, single := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/single=%t", name, single), func(t *testing.T) {
				source := sourceName(name, "plain", single)
				w := l.collector(t, source, nil)
				sent := calls("user-" + source)
				done := drive(t, name+".mjs", order{URL: w.url, Key: writeKey, Single: single, Calls: sent})
				defer done()
				l.compare(t, source, w, sent)
			})
		}
	}
}

// What is refused because the stream is away comes again by the SDK itself once the stream is back, and is stored once.
func TestSentAgainAfter503(t *testing.T) {
	l := newLab(t)
	wires := map[string]*wire{}
	for _, name := range drivers {
		wires[name] = l.collector(t, sourceName(name, "away", true), nil)
	}
	l.stream.Kill(t)
	for _, name := range drivers {
		source := sourceName(name, "away", true)
		t.Cleanup(drive(t, name+".mjs", order{URL: wires[name].url, Key: writeKey, Single: true, Calls: calls("user-" + source)}))
	}
	for _, name := range drivers {
		until(t, name+" was answered with 503", func() bool { return wires[name].count(http.StatusServiceUnavailable) > 0 })
	}
	l.stream.Start(t)
	for _, name := range drivers {
		source := sourceName(name, "away", true)
		l.compare(t, source, wires[name], calls("user-"+source))
	}
}

// What comes too fast comes again after the time that the answer names, and is stored once.
func TestSentAgainAfter429(t *testing.T) {
	l := newLab(t)
	for _, name := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := sourceName(name, "fast", true)
			w := l.collector(t, source, collect.NewRate(1, 2))
			sent := calls("user-" + source)
			done := drive(t, name+".mjs", order{URL: w.url, Key: writeKey, Single: true, Calls: sent})
			defer done()
			l.compare(t, source, w, sent)
			if w.count(http.StatusTooManyRequests) == 0 {
				t.Error("nothing was refused: this tested no second try")
			}
		})
	}
}

func sourceName(driver, test string, single bool) string {
	return strings.Join([]string{driver, test, fmt.Sprint(single)}, "-")
}
