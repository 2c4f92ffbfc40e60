package segment

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"kohort.dev/kohort/test/demo/population"
)

// collector is a server that answers as a test says and keeps what it acknowledged.
type collector struct {
	lock    sync.Mutex
	answers []int // status of the first requests; 200 after them
	kept    []body
	key     string
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.lock.Lock()
	defer c.lock.Unlock()
	reader := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		var err error
		if reader, err = gzip.NewReader(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	var b body
	if err := json.NewDecoder(reader).Decode(&b); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.key, _, _ = r.BasicAuth()
	if len(c.answers) > 0 {
		status := c.answers[0]
		c.answers = c.answers[1:]
		w.Header().Set("Retry-After", "2")
		http.Error(w, "not now", status)
		return
	}
	c.kept = append(c.kept, b)
}

func client(t *testing.T, server *collector, waits *[]time.Duration) *Client {
	t.Helper()
	s := httptest.NewServer(server)
	t.Cleanup(s.Close)
	return &Client{Endpoint: s.URL, Path: "/v1/batch", WriteKey: "key", HTTP: s.Client(), Wait: func(_ context.Context, d time.Duration) error {
		*waits = append(*waits, d)
		return nil
	}}
}

func TestSendTriesAgain(t *testing.T) {
	for _, test := range []struct {
		why     string
		answers []int
		retries int
		refused bool
	}{
		{"an acknowledgement ends it", nil, 0, false},
		{"503 means later", []int{503, 503}, 2, false},
		{"408 means that the body took too long this time", []int{408}, 1, false},
		{"429 means slower", []int{429}, 1, false},
		{"400 will not get better", []int{400}, 0, true},
		{"401 will not get better", []int{401}, 0, true},
	} {
		var waits []time.Duration
		server := &collector{answers: test.answers}
		retries, err := client(t, server, &waits).Send(t.Context(), []byte(`{"batch":[]}`))
		if retries != test.retries || (err != nil) != test.refused {
			t.Errorf("%s: %d retries, error %v", test.why, retries, err)
		}
		for _, wait := range waits {
			if wait < 2*time.Second {
				t.Errorf("%s: waited %s although the collector asked for 2s", test.why, wait)
			}
		}
		if !test.refused && len(server.kept) != 1 {
			t.Errorf("%s: the collector has it %d times", test.why, len(server.kept))
		}
	}
}

func TestSendEndsWithItsContext(t *testing.T) {
	s := httptest.NewServer(&collector{answers: make([]int, 1000)})
	s.Close() // nobody listens
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	c := &Client{Endpoint: s.URL, Path: "/v1/batch", HTTP: &http.Client{}, Wait: Sleep}
	if _, err := c.Send(ctx, nil); err == nil || !strings.Contains(err.Error(), "giving up") {
		t.Errorf("got %v, want the error of somebody who gave up", err)
	}
}

func TestLoadSendsEverythingInOrder(t *testing.T) {
	p, err := population.Generate(population.Config{Seed: 1, Customers: 30, Clock: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	var waits []time.Duration
	server := &collector{}
	c := client(t, server, &waits)
	c.Gzip = true
	report, err := Load(t.Context(), c, p.Web, Options{Library: "analytics.js", Connections: 4, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if server.key != "key" {
		t.Errorf("the write key arrived as %q", server.key)
	}
	at := map[string]int{} // message id -> place of arrival
	for _, b := range server.kept {
		for _, m := range b.Batch {
			at[m.MessageID] = len(at)
		}
	}
	for _, trail := range p.Web {
		last := -1
		for _, session := range trail.Sessions {
			for _, e := range session.Events {
				place, arrived := at[e.MessageID]
				if !arrived || place < last {
					t.Fatalf("%s arrived %t, at place %d after %d", e.MessageID, arrived, place, last)
				}
				last = place
			}
		}
	}
	if int64(len(at)) != report.Events || report.Requests != int64(len(server.kept)) {
		t.Errorf("report %+v, but %d events in %d requests arrived", report, len(at), len(server.kept))
	}
}

func TestEncode(t *testing.T) {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	out, err := Encode(population.Session{Events: []population.Event{
		{Type: population.TypePage, Name: "Home", MessageID: "m1", Time: at, AnonymousID: "a"},
		{Type: population.TypeTrack, Name: "Order Completed", MessageID: "m2", Time: at, UserID: "u", Properties: map[string]any{"total": 50}},
	}}, "analytics.js", at.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	library := `"context":{"library":{"name":"analytics.js","version":"1.0.0"},"locale":"en-GB"}`
	want := `{"batch":[` +
		`{"type":"page","messageId":"m1","timestamp":"2026-11-20T09:30:00.000Z","anonymousId":"a","name":"Home",` + library + `},` +
		`{"type":"track","messageId":"m2","timestamp":"2026-11-20T09:30:00.000Z","userId":"u","event":"Order Completed","properties":{"total":50},` + library + `}` +
		`],"sentAt":"2026-11-20T09:30:01.000Z"}`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}
