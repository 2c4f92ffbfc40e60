package collect

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
)

// collector is a handler on a real stream.
type collector struct {
	*httptest.Server
	js        jetstream.JetStream
	publisher *stream.Publisher
	key       *Key
	read      uint64 // sequence of the newest message that records has given
}

var received1 = time.Date(2026, 11, 23, 15, 24, 1, 123456000, time.UTC)

func newCollector(t testing.TB, options stream.PublisherOptions, change func(*HandlerOptions)) *collector {
	t.Helper()
	url, user, password := storetest.Stream(t)
	credentials := t.TempDir()
	write(t, filepath.Join(credentials, "username"), user)
	write(t, filepath.Join(credentials, "password"), password)
	js, err := stream.Connect(t.Context(), url, credentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	keyFile := filepath.Join(t.TempDir(), "writeKey")
	write(t, keyFile, "test-key\n")
	key, err := ReadKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	metrics := NewMetrics(prometheus.NewRegistry())
	options.Observe = metrics.Commit
	publisher := stream.NewPublisher(js, stream.Subject("web"), options)
	t.Cleanup(func() { publisher.Close(context.Background()) })
	handling := HandlerOptions{Source: "web", Party: "First", Key: key, Log: publisher, Metrics: metrics,
		Now: func() time.Time { return received1 }}
	if change != nil {
		change(&handling)
	}
	server := httptest.NewServer(NewHandler(handling))
	t.Cleanup(server.Close)
	for deadline := time.Now().Add(10 * time.Second); publisher.Ready() != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v", publisher.Ready())
		}
	}
	return &collector{Server: server, js: js, publisher: publisher, key: key}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// records gives what the stream holds since the last call.
func (c *collector) records(t testing.TB) []stream.Record {
	t.Helper()
	s, err := c.js.Stream(context.Background(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	var records []stream.Record
	for last := s.CachedInfo().State.LastSeq; c.read < last; {
		c.read++
		m, err := s.GetMsg(context.Background(), c.read)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Decode(m.Data, func(_ int, r stream.Record) error {
			records = append(records, r)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	return records
}

// answered is what a client sees.
type answered struct {
	status int
	header http.Header
	body   string
	raw    string
}

func (c *collector) send(t testing.TB, method, path, body string, header ...string) answered {
	t.Helper()
	request, err := http.NewRequest(method, c.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := c.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{response.StatusCode, response.Header, strings.TrimSpace(string(text)), string(text)}
}

func basic(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

func zip(text string) string {
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, _ = w.Write([]byte(text)) // a bytes.Buffer takes everything
	_ = w.Close()
	return packed.String()
}

func TestEveryEndpointStoresTheBodyAsItCame(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	kinds := map[string]stream.Kind{
		"batch": stream.KindBatch, "track": stream.KindTrack, "identify": stream.KindIdentify, "page": stream.KindPage,
		"screen": stream.KindScreen, "group": stream.KindGroup, "alias": stream.KindAlias,
		"b": stream.KindBatch, "t": stream.KindTrack, "i": stream.KindIdentify, "p": stream.KindPage,
		"s": stream.KindScreen, "g": stream.KindGroup, "a": stream.KindAlias,
	}
	paths := map[string]stream.Kind{"/batch/b": stream.KindBatch, "/v1/batch/b": stream.KindBatch, "/beacon/v1/batch": stream.KindBatch, "/v1/track/": stream.KindTrack}
	for name, kind := range kinds {
		paths["/"+name], paths["/v1/"+name] = kind, kind
	}
	c.records(t)
	for path, kind := range paths {
		body := fmt.Sprintf(`{ "path":%q, "batch":[{"type":"track"}], "n":1.50 }`, path)
		got := c.send(t, "POST", path, body, "Authorization", basic("test-key:"))
		if got.status != 200 || got.body != `{"success":true}` {
			t.Errorf("%s: got %d %s", path, got.status, got.body)
			continue
		}
		want := []stream.Record{{Kind: kind, Received: received1, Source: "web", Party: "First", IP: "127.0.0.1", Body: []byte(body)}}
		if diff := cmp.Diff(want, c.records(t)); diff != "" {
			t.Errorf("%s (-want +stored):\n%s", path, diff)
		}
	}
}

func TestWaysToSendTheKeyAndTheBody(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	plain := `{"type":"track","event":"A"}`
	keyed := `{"type":"track","event":"A","writeKey":"test-key"}`
	wrong := `{"type":"track","event":"A","writeKey":"other"}`
	cases := []struct {
		why, path, body string
		header          []string
		status          int
		stored          string // empty: as sent
	}{
		{"Basic as the SDKs for servers send it", "/v1/track", plain, []string{"Authorization", basic("test-key:")}, 200, ""},
		{"Basic without a colon, as old clients send it", "/v1/track", plain, []string{"Authorization", basic("test-key")}, 200, ""},
		{"the scheme's name has no case (RFC 9110, 11.1)", "/v1/track", plain, []string{"Authorization", strings.Replace(basic("test-key:"), "Basic", "basic", 1)}, 200, ""},
		{"the key in the body, as browsers and phones send it", "/v1/track", keyed, []string{"Content-Type", "text/plain"}, 200, ""},
		{"the key in the query, as a beacon sends it", "/v1/track?writeKey=test-key", plain, nil, 200, ""},
		{"a bearer token goes with the key in the body", "/v1/track", keyed, []string{"Authorization", "Bearer abc"}, 200, ""},
		{"gzip, as the Kotlin SDK sends it", "/v1/track", zip(keyed), []string{"Content-Encoding", "gzip"}, 200, keyed},
		{"a wrong key in Basic is not mended by the body's", "/v1/track", keyed, []string{"Authorization", basic("other:")}, 401, ""},
		{"a key that is longer", "/v1/track", plain, []string{"Authorization", basic("test-key2:")}, 401, ""},
		{"a wrong key in the body", "/v1/track", wrong, nil, 401, ""},
		{"no key at all", "/v1/track", plain, nil, 401, ""},
		{"an empty key", "/v1/track", `{"writeKey":""}`, []string{"Authorization", basic(":")}, 401, ""},
		{"Basic that is not base64", "/v1/track", plain, []string{"Authorization", "Basic %%%"}, 401, ""},
		{"a byte order mark is taken off", "/v1/track", "\xef\xbb\xbf" + keyed, nil, 200, keyed},
		{"what is not UTF-8 is replaced, not refused", "/v1/track", strings.Replace(keyed, `"A"`, "\"M\xfcller\"", 1), nil, 200, strings.Replace(keyed, `"A"`, `"M�ller"`, 1)},
	}
	c.records(t)
	for _, test := range cases {
		t.Run(test.why, func(t *testing.T) {
			got := c.send(t, "POST", test.path, test.body, test.header...)
			stored := c.records(t)
			if got.status != test.status {
				t.Fatalf("got %d %s, want %d", got.status, got.body, test.status)
			}
			if got.status != 200 {
				if len(stored) != 0 {
					t.Errorf("a refused request was stored: %s", stored[0].Body)
				}
				return
			}
			want := test.stored
			if want == "" {
				want = test.body
			}
			if len(stored) != 1 || string(stored[0].Body) != want {
				t.Errorf("stored %q, want %q", stored, want)
			}
		})
	}
}

func TestRefusalsNameTheFieldAndStoreNothing(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	items := func(n int) string { return `{"batch":[` + strings.Repeat("{},", n-1) + `{}]}` }
	pad := func(n int) string { return `{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}` }
	cases := []struct {
		why, method, path, body, encoding string
		status                            int
		code, field                       string
	}{
		{"a body that is not JSON", "POST", "/v1/track", `{"a":`, "", 400, "Invalid", "body"},
		{"a list where an object is needed", "POST", "/v1/track", `[]`, "", 400, "Invalid", "body"},
		{"a batch without its list", "POST", "/v1/batch", `{"events":[]}`, "", 400, "Invalid", "batch"},
		{"a batch that is an object", "POST", "/v1/batch", `{"batch":{}}`, "", 400, "Invalid", "batch"},
		{"one event too many", "POST", "/v1/batch", items(maxItems + 1), "", 400, "TooLarge", "batch"},
		{"a single event of one byte too many", "POST", "/v1/track", pad(maxSingle + 1), "", 400, "TooLarge", "body"},
		{"a batch of one byte too many", "POST", "/v1/batch", pad(DefaultMaxBatch + 1), "", 400, "TooLarge", "body"},
		{"a few packed bytes that unpack to 20 MiB", "POST", "/v1/batch", zip(strings.Repeat(" ", 20<<20)), "gzip", 400, "TooLarge", "body"},
		{"gzip that is none", "POST", "/v1/batch", items(1), "gzip", 400, "Invalid", "body"},
		{"gzip that was cut off", "POST", "/v1/batch", zip(items(100))[:40], "gzip", 400, "Invalid", "body"},
		{"an encoding that is not known", "POST", "/v1/batch", items(1), "br", 400, "Invalid", "Content-Encoding"},
		{"an unknown path", "POST", "/v1/unknown", `{}`, "", 404, "NotFound", ""},
		{"an image of a batch", "GET", "/v1/pixel/batch?data=e30", ``, "", 404, "NotFound", ""},
		{"the root", "GET", "/", ``, "", 404, "NotFound", ""},
		{"events by GET", "GET", "/v1/track", ``, "", 405, "MethodNotAllowed", ""},
		{"settings of another key", "GET", "/v1/projects/other/settings", ``, "", 404, "NotFound", ""},
	}
	for _, test := range cases {
		t.Run(test.why, func(t *testing.T) {
			got := c.send(t, test.method, test.path, test.body, "Authorization", basic("test-key:"), "Content-Encoding", test.encoding)
			var answer struct {
				Success              *bool
				Code, Field, Message string
			}
			if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
				t.Fatalf("the answer %q is not JSON: %v", got.body, err)
			}
			if got.status != test.status || answer.Code != test.code || answer.Field != test.field ||
				answer.Success == nil || *answer.Success || answer.Message == "" || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s, want %d, code %s, field %q", got.status, got.body, test.status, test.code, test.field)
			}
		})
	}
	for why, body := range map[string]string{
		"the largest batch by number": items(maxItems), "the largest batch by size": `{"batch":[` + pad(DefaultMaxBatch-len(`{"batch":[]}`)) + `]}`,
	} {
		if got := c.send(t, "POST", "/v1/batch", body, "Authorization", basic("test-key:")); got.status != 200 {
			t.Errorf("%s: got %d %s", why, got.status, got.body)
		}
	}
	if got := c.send(t, "POST", "/v1/track", pad(maxSingle), "Authorization", basic("test-key:")); got.status != 200 {
		t.Errorf("the largest single event: got %d %s", got.status, got.body)
	}
	if stored := c.records(t); len(stored) != 3 {
		t.Errorf("%d requests were stored; only the three at the limits may be", len(stored))
	}
	if got := c.send(t, "POST", "/v1/batch", `{"batch":[]}`, "Authorization", basic("test-key:")); got.status != 200 || len(c.records(t)) != 0 {
		t.Errorf("an empty batch: got %d %s; it is fine and nothing is stored", got.status, got.body)
	}
}

func TestBrowsersMaySendFromAnySite(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	got := c.send(t, "OPTIONS", "/v1/track", "", "Origin", "https://shop.example.com", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "authorization,content-type,anonymousid")
	want := map[string]string{
		"Access-Control-Allow-Origin": "https://shop.example.com", "Access-Control-Allow-Headers": "authorization,content-type,anonymousid",
		"Access-Control-Allow-Methods": "GET, POST, OPTIONS", "Access-Control-Allow-Credentials": "true", "Vary": "Origin",
	}
	if got.status != http.StatusNoContent {
		t.Errorf("preflight: got %d", got.status)
	}
	for name, value := range want {
		if got.header.Get(name) != value {
			t.Errorf("preflight: %s is %q, want %q", name, got.header.Get(name), value)
		}
	}
	got = c.send(t, "POST", "/v1/track", `{}`, "Origin", "https://shop.example.com")
	if got.status != 401 || got.header.Get("Access-Control-Allow-Origin") != "https://shop.example.com" {
		t.Errorf("a script must be able to read a refusal: got %d with %v", got.status, got.header)
	}
}

func TestSettingsTellAnSDKWhereToSend(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{}, nil)
	got := c.send(t, "GET", "/v1/projects/test-key/settings", "")
	var settings struct {
		Integrations map[string]struct{ APIKey, APIHost, Protocol string }
	}
	if err := json.Unmarshal([]byte(got.body), &settings); err != nil || got.status != 200 {
		t.Fatalf("got %d %s: %v", got.status, got.body, err)
	}
	segment := settings.Integrations["Segment.io"]
	if segment.APIKey != "test-key" || segment.APIHost != strings.TrimPrefix(c.URL, "http://")+"/v1" || segment.Protocol != "http" {
		t.Errorf("got %+v", segment)
	}
}

func TestTheClientsAddressIsNotWhatTheClientSays(t *testing.T) {
	cases := []struct {
		why       string
		hops      int
		forwarded string
		want      string
	}{
		{"without proxies the header is anybody's claim", 0, "198.51.100.7", "127.0.0.1"},
		{"one proxy: the last address is what it saw", 1, "198.51.100.7, 203.0.113.9", "203.0.113.9"},
		{"two proxies: the last but one", 2, "198.51.100.7, 203.0.113.9, 10.0.0.1", "203.0.113.9"},
		{"fewer addresses than proxies: the request came another way", 2, "203.0.113.9", "127.0.0.1"},
		{"an address with a port, and IPv6", 1, "[2001:db8::1]:443", "2001:db8::1"},
		{"no address at all", 1, "unknown", "127.0.0.1"},
	}
	for _, test := range cases {
		h := handler{HandlerOptions: HandlerOptions{TrustedHops: test.hops}}
		r := httptest.NewRequest("POST", "/v1/track", nil)
		r.RemoteAddr = "127.0.0.1:1234"
		r.Header.Set("X-Forwarded-For", test.forwarded)
		if got := h.client(r); got != test.want {
			t.Errorf("%s: got %s, want %s", test.why, got, test.want)
		}
	}
}
