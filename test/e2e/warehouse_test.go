//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"kohort.dev/kohort/test/demo/world"
)

// ask runs a query in the Platform's warehouse, as an analyst with its Secret would, and reads its rows into a slice.
func ask[Row any](t *testing.T, w world.World, query string) []Row {
	t.Helper()
	user, err := w.Kubectl.Secret(t.Context(), "shop-warehouse", "username")
	must(t, err)
	password, err := w.Kubectl.Secret(t.Context(), "shop-warehouse", "password")
	must(t, err)
	address, stop, err := w.Kubectl.Forward(t.Context(), "service/shop-warehouse", 8123)
	must(t, err)
	defer stop()

	target := "http://" + address + "/?" + url.Values{"database": {"kohort"}, "default_format": {"JSONEachRow"}}.Encode()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(query))
	must(t, err)
	request.Header.Set("X-ClickHouse-User", strings.TrimSpace(user))
	request.Header.Set("X-ClickHouse-Key", strings.TrimSpace(password))
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the warehouse answered %s: %s", response.Status, body)
	}
	var rows []Row
	for decoder := json.NewDecoder(strings.NewReader(string(body))); decoder.More(); {
		var row Row
		must(t, decoder.Decode(&row))
		rows = append(rows, row)
	}
	return rows
}

// counted is a number of events and of different message ids among them.
type counted struct {
	Source string      `json:"source"`
	Events json.Number `json:"events"` // ClickHouse writes 64 bits as text unless told otherwise; both are read
	IDs    json.Number `json:"ids"`
}

// storedEvents counts what is in the warehouse by Source.
func storedEvents(t *testing.T, w world.World) map[string]counted {
	t.Helper()
	out := map[string]counted{}
	for _, row := range ask[counted](t, w, "SELECT source, count() AS events, uniqExact(message_id) AS ids FROM events GROUP BY source") {
		out[row.Source] = row
	}
	return out
}

// expectStored checks that a Source's events are each there exactly once.
func expectStored(t *testing.T, stored map[string]counted, source string, want int) {
	t.Helper()
	row := stored[source]
	if n := fmt.Sprint(want); row.Events.String() != n || row.IDs.String() != n {
		t.Errorf("source %s: %s events with %s message ids are stored, want %s of both", source, row.Events, row.IDs, n)
	}
}
