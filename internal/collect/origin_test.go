package collect

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"kohort.dev/kohort/internal/stream"
)

func TestOnlyTheSitesThatAreNamedMaySend(t *testing.T) {
	origins, err := ParseOrigins([]string{"https://shop.example.com", "https://*.example.org", "http://localhost:3000"})
	if err != nil {
		t.Fatal(err)
	}
	c := newCollector(t, stream.PublisherOptions{}, func(o *HandlerOptions) { o.Origins = origins })
	body := `{"type":"track","event":"A","userId":"u","writeKey":"test-key"}`
	for origin, want := range map[string]bool{
		"":                                true, // not a browser
		"https://shop.example.com":        true,
		"https://SHOP.example.com":        true,
		"http://localhost:3000":           true,
		"https://a.example.org":           true,
		"https://a.b.example.org":         true,
		"https://example.org":             false,
		"https://.example.org":            false,
		"http://a.example.org":            false,
		"https://evil-example.org":        false,
		"https://shop.example.com.evil.x": false,
		"http://localhost:3001":           false,
		"null":                            false, // a page in a sandbox
	} {
		c.records(t)
		got := c.send(t, "POST", "/v1/track", body, "Origin", origin)
		stored := len(c.records(t))
		if want && (got.status != 200 || stored != 1 || got.header.Get("Access-Control-Allow-Origin") != origin) {
			t.Errorf("%s: got %d, %d stored, %v", origin, got.status, stored, got.header)
		}
		if !want && (got.status != 403 || stored != 0 || got.header.Get("Access-Control-Allow-Origin") != "" || !strings.Contains(got.body, "allowedOrigins")) {
			t.Errorf("%s: got %d %s, %d stored", origin, got.status, got.body, stored)
		}
		if preflight := c.send(t, "OPTIONS", "/v1/track", "", "Origin", origin).status; (preflight == 204) != want {
			t.Errorf("%s: preflight got %d", origin, preflight)
		}
	}
}

func TestOriginsThatNoBrowserSends(t *testing.T) {
	for _, text := range []string{"", "*", "shop.example.com", "https://", "ftp://a.b", "https://a.b/", "https://a.*.b", "https://**.a", "https://a b"} {
		if _, err := ParseOrigins([]string{text}); err == nil || !strings.Contains(err.Error(), "https://shop.example.com") {
			t.Errorf("%q: got %v, want an error that shows a right one", text, err)
		}
	}
}

func TestWhatIsKeptOfTheClientsAddress(t *testing.T) {
	for _, test := range []struct {
		policy   ClientIP
		from, ip string
	}{
		{"", "203.0.113.77:1", "203.0.113.77"}, {KeepIP, "[2001:db8:1:2::3]:1", "2001:db8:1:2::3"},
		{AnonymizeIP, "203.0.113.77:1", "203.0.113.0"}, {AnonymizeIP, "[2001:db8:1:2::3]:1", "2001:db8:1::"},
		{AnonymizeIP, "[::ffff:203.0.113.77]:1", "203.0.113.0"}, {AnonymizeIP, "unknown", ""},
		{DropIP, "203.0.113.77:1", ""}, {DropIP, "[2001:db8::1]:1", ""},
	} {
		h := handler{HandlerOptions: HandlerOptions{ClientIP: test.policy}}
		r := httptest.NewRequest("POST", "/v1/track", nil)
		r.RemoteAddr = test.from
		if got := h.client(r); got != test.ip {
			t.Errorf("%s of %s: got %q, want %q", test.policy, test.from, got, test.ip)
		}
	}
	if _, err := ParseClientIP("keep"); err == nil || !strings.Contains(err.Error(), "Anonymize") {
		t.Errorf("got %v, want an error that names the right values", err)
	}
}

func TestRudderStackSDKsAskForTheirSource(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	for _, path := range []string{"/sourceConfig/?p=npm&v=3.0.0&writeKey=test-key", "/sourceConfig?writeKey=test-key"} {
		got := c.send(t, "GET", path, "")
		var answer struct {
			Source struct {
				ID, WriteKey string
				Enabled      bool
				Config       map[string]any
				Destinations []any
			}
		}
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != 200 {
			t.Fatalf("got %d %s: %v", got.status, got.body, err)
		}
		if s := answer.Source; s.ID != "web" || s.WriteKey != "test-key" || !s.Enabled || s.Config == nil || s.Destinations == nil {
			t.Errorf("got %+v", s)
		}
	}
	if got := c.send(t, "GET", "/sourceConfig", "", "Authorization", basic("other:")); got.status != 401 {
		t.Errorf("with another key: got %d", got.status)
	}
}

func TestBatchesMayBeAsLargeAsTheSourceSays(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, func(o *HandlerOptions) { o.MaxBatch = LargestMaxBatch })
	c.records(t)
	body := func(size int) string {
		start, end := `{"writeKey":"test-key","batch":[{"a":"`, `"}]}`
		return start + strings.Repeat("x", size-len(start)-len(end)) + end
	}
	if got := c.send(t, "POST", "/v1/batch", body(LargestMaxBatch)); got.status != 200 || len(c.records(t)) != 1 {
		t.Errorf("the largest: got %d %s", got.status, got.body)
	}
	if got := c.send(t, "POST", "/v1/batch", body(LargestMaxBatch+1)); got.status != 400 || !strings.Contains(got.body, "4096 KiB") {
		t.Errorf("one byte more: got %d %s", got.status, got.body)
	}
	if got := c.send(t, "POST", "/v1/track", body(maxSingle+1)); got.status != 400 {
		t.Errorf("a single event is as small as everywhere: got %d %s", got.status, got.body)
	}
}
