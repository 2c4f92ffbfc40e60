package source

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/mapping"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/stream"
)

const ticketMapping = `root.type = "track"
root.event = "Ticket " + this.status.capitalize()
root.userId = this.requester
root.properties.topic = metadata("x-topic")
root.properties.seen = metadata("authorization").or("hidden")`

// hook serves a Webhook with the secret "hush".
func (b *bench) hook(t *testing.T, text string, log Log) *httptest.Server {
	t.Helper()
	if err := stream.EnsureStream(t.Context(), b.js, 0); err != nil {
		t.Fatal(err)
	}
	w, err := NewWebhook(WebhookOptions{
		Order:   run.ListenOrder{Platform: "shop", Source: "crm", Party: "Second", Mapping: text, Webhook: &run.Hook{Verify: run.VerifyToken}},
		Secrets: texts{secretWebhook: "hush"}, Log: log, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(), Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return server
}

// post sends a body, with headers after the token's, and gives status and answer.
func post(t *testing.T, url, body string, headers ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer hush")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestWebhook(t *testing.T) {
	b := newBench(t)
	server := b.hook(t, ticketMapping, b.log)
	const ticket = `{"status":"open","requester":"u1"}`
	for _, c := range []struct {
		why, body string
		headers   []string
		status    int
		events    int
		reason    string // of the rejection
	}{
		{"an event", ticket, []string{"X-Topic", "billing"}, 200, 1, ""},
		{"the same again", ticket, []string{"X-Topic", "billing"}, 200, 1, ""},
		{"the same body as another delivery", ticket, []string{"Webhook-Id", "d1"}, 200, 1, ""},
		{"a form", "status=solved&requester=u2&requester=u3", []string{"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"}, 200, 1, ""},
		{"JSON that is sent as a form, as curl does", `{"status":"curled","requester":"u4"}`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 200, 1, ""},
		{"what the mapping cannot use is kept", `{"status":5}`, nil, 200, 0, "MappingFailed"},
		{"no JSON", `hello`, nil, 200, 0, "MappingFailed"},
		{"an event of nobody", `{"status":"open","requester":""}`, nil, 200, 0, "NoIdentifier"},
		{"nothing", ``, nil, 200, 0, "MappingFailed"},
		{"a wrong token", ticket, []string{"Authorization", "Bearer x"}, 401, 0, ""},
		{"too much", strings.Repeat("x", maxRecord+1), nil, 413, 0, ""},
		{"packed", ticket, []string{"Content-Encoding", "gzip"}, 415, 0, ""},
	} {
		status, answer := post(t, server.URL+"/any/path", c.body, c.headers...)
		got := b.events(t)
		reason := ""
		if len(got.Rejections) > 0 {
			reason = got.Rejections[0].Reason
		}
		if status != c.status || len(got.Events) != c.events || reason != c.reason {
			t.Errorf("%s: status %d %s, %d events, rejection %q", c.why, status, answer, len(got.Events), reason)
		}
		if (status == 200) != strings.Contains(answer, `"success":true`) {
			t.Errorf("%s: status %d and %s", c.why, status, answer)
		}
	}
	response, err := http.Get(server.URL)
	if err != nil || response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "POST" {
		t.Errorf("GET gives %v, %v", response, err)
	}
	_ = response.Body.Close()
}

// What waits in quarantine becomes, once the mapping is corrected, the event that it would have been.
func TestWebhookRecordsAreMappedAgain(t *testing.T) {
	b := newBench(t)
	corrected, err := mapping.Compile(strings.Replace(ticketMapping, "this.status.capitalize()", `this.status.or("unknown").capitalize()`, 1))
	if err != nil {
		t.Fatal(err)
	}
	server, better := b.hook(t, ticketMapping, b.log), b.hook(t, strings.Replace(ticketMapping, "this.status.capitalize()", `this.status.or("unknown").capitalize()`, 1), b.log)
	for why, sent := range map[string]struct {
		body    string
		headers []string
	}{
		"JSON": {`{"requester":"u1"}`, []string{"X-Topic", "billing"}}, "a form": {"requester=u1", []string{"Content-Type", "application/x-www-form-urlencoded"}},
		"one with a number": {`{"requester":"u1"}`, []string{"Webhook-Id", "d1", "X-Topic", "billing"}},
	} {
		for _, url := range []string{server.URL, better.URL} {
			if status, answer := post(t, url, sent.body, sent.headers...); status != 200 {
				t.Fatal(status, answer)
			}
		}
		got := b.events(t)
		if len(got.Rejections) != 1 || len(got.Events) != 1 {
			t.Fatalf("%s: %+v", why, got)
		}
		again, err := corrected.Again(got.Rejections[0].Record, got.Rejections[0].Original)
		if want := "[" + got.Events[0].Original + "]"; err != nil || string(again) != want {
			t.Errorf("%s: mapped again it is %s, %v, want %s", why, again, err, want)
		}
		if strings.Contains(got.Rejections[0].Record, "hush") {
			t.Errorf("%s: the secret is kept with the record: %s", why, got.Rejections[0].Record)
		}
	}
}

// What was sent twice is one event, and what only looks alike is two; no secret gets into an event.
func TestWebhookMessageIDs(t *testing.T) {
	b := newBench(t)
	server := b.hook(t, ticketMapping, b.log)
	const ticket = `{"status":"open","requester":"u1"}`
	for _, headers := range [][]string{nil, nil, {"Webhook-Id", "d1"}, {"Webhook-Id", "d1"}, {"Webhook-Id", "d2"}} {
		if status, answer := post(t, server.URL, ticket, headers...); status != 200 {
			t.Fatal(status, answer)
		}
	}
	got := b.events(t)
	if n := len(distinct(got)); n != 3 || len(got.Events) != 5 {
		t.Errorf("%d ids of %d events, want 3 of 5", n, len(got.Events))
	}
	e := got.Events[0]
	if e.Name != "Ticket Open" || e.Party != "Second" || e.Source != "crm" || e.UserID != "u1" || e.Properties != `{"seen":"hidden","topic":null}` {
		t.Errorf("the event is %+v", e)
	}
}

// A 200 means that the stream has it: while it is away the sender is told to send again.
func TestWebhookWithoutTheStream(t *testing.T) {
	b := newBench(t)
	away := &moody{Log: b.log, fails: 1 << 30}
	server := b.hook(t, ticketMapping, away)
	status, answer := post(t, server.URL, `{"status":"open","requester":"u1"}`)
	if status != 503 || len(b.events(t).Events) != 0 {
		t.Errorf("status %d, %s", status, answer)
	}
	away.mu.Lock()
	away.fails = 0
	away.mu.Unlock()
	if status, answer = post(t, server.URL, `{"status":"open","requester":"u1"}`); status != 200 || len(b.events(t).Events) != 1 {
		t.Errorf("with the stream again: status %d, %s", status, answer)
	}
}

// Requests at the same time do not see each other's records or headers.
func TestWebhookAtOnce(t *testing.T) {
	b := newBench(t)
	server := b.hook(t, ticketMapping, b.log)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			for { // more than there is room for are told to come again
				status, answer := post(t, server.URL, fmt.Sprintf(`{"status":"open","requester":"u%d"}`, i), "X-Topic", fmt.Sprintf("t%d", i))
				if status == 200 {
					return
				}
				if status != 503 {
					t.Errorf("status %d, %s", status, answer)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, e := range b.events(t).Events {
		seen[e.UserID] = true
		if want := `"topic":"t` + strings.TrimPrefix(e.UserID, "u") + `"`; !bytes.Contains([]byte(e.Properties), []byte(want)) {
			t.Errorf("%s has %s", e.UserID, e.Properties)
		}
	}
	if len(seen) != 200 {
		t.Errorf("%d of 200 events", len(seen))
	}
}

func TestWebhookRefusesWhatItCannotUse(t *testing.T) {
	for why, options := range map[string]WebhookOptions{
		"spec.mapping does not parse": {Order: run.ListenOrder{Mapping: "root = ", Webhook: &run.Hook{}}, Secrets: texts{secretWebhook: "x"}},
		secretWebhook:                 {Order: run.ListenOrder{Mapping: "root = this", Webhook: &run.Hook{}}, Secrets: texts{}},
	} {
		options.Registerer = prometheus.NewRegistry()
		if _, err := NewWebhook(options); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want an error that names %s", err, why)
		}
	}
}
