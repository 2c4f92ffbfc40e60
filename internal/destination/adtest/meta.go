package adtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// MetaToken is the one access token that a Meta takes.
const MetaToken = "EAAB-token"

// Meta is the edge /{custom_audience_id}/users of the Graph API:
// https://developers.facebook.com/docs/marketing-api/reference/custom-audience/users
type Meta struct {
	URL      string
	Audience string // the id of the one audience that there is

	mu       sync.Mutex
	rows     map[string]map[string]string
	requests int
	// Refuse answers a request in its own way when it gives true. It is called under a lock.
	Refuse func(w http.ResponseWriter, request int) bool
}

var (
	sha256Hex = regexp.MustCompile(`^[0-9a-f]{64}$`)
	metaKeys  = []string{"EXTERN_ID", "EMAIL", "PHONE", "MADID", "FN", "LN", "FI", "GEN", "DOBY", "DOBM", "DOBD", "CT", "ST", "ZIP", "COUNTRY"}
)

// NewMeta starts a Meta that ends with the test.
func NewMeta(t *testing.T) *Meta {
	t.Helper()
	m := &Meta{Audience: "23851234567890", rows: map[string]map[string]string{}}
	server := httptest.NewServer(m)
	t.Cleanup(server.Close)
	m.URL = server.URL
	return m
}

// Rows gives what the audience holds, each row as KEY=value in the order of keys.
func (m *Meta) Rows() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for text := range m.rows {
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

// Requests counts the requests that came.
func (m *Meta) Requests() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests
}

// ServeHTTP adds rows or removes them.
func (m *Meta) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests++
	if m.Refuse != nil && m.Refuse(w, m.requests) {
		return
	}
	switch {
	case r.Header.Get("Authorization") != "Bearer "+MetaToken:
		GraphError(w, http.StatusUnauthorized, 190, 463, "Error validating access token")
		return
	case r.URL.Path != "/v25.0/"+m.Audience+"/users":
		GraphError(w, http.StatusBadRequest, 100, 33, "Unsupported request. Object with ID does not exist")
		return
	case r.Method != http.MethodPost && r.Method != http.MethodDelete:
		GraphError(w, http.StatusBadRequest, 100, 0, "Unsupported method")
		return
	}
	var body struct {
		Payload struct {
			Schema []string   `json:"schema"`
			Data   [][]string `json:"data"`
		} `json:"payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Payload.Data) == 0 || len(body.Payload.Data) > 10_000 {
		GraphError(w, http.StatusBadRequest, 100, 0, "Invalid parameter")
		return
	}
	for _, key := range body.Payload.Schema {
		if !slices.Contains(metaKeys, key) {
			GraphError(w, http.StatusBadRequest, 100, 0, "Invalid schema")
			return
		}
	}
	invalid := 0
	for _, values := range body.Payload.Data {
		row, ok := metaRow(body.Payload.Schema, values)
		switch {
		case !ok:
			invalid++
		case r.Method == http.MethodPost:
			m.rows[metaText(row)] = row
		default:
			m.remove(row)
		}
	}
	_, _ = fmt.Fprintf(w, `{"audience_id":%q,"session_id":"1","num_received":%d,"num_invalid_entries":%d,"invalid_entry_samples":{}}`,
		m.Audience, len(body.Payload.Data), invalid)
}

// metaRow checks a row: Meta takes hashes alone, but for ids of devices and one's own.
func metaRow(schema, values []string) (map[string]string, bool) {
	if len(values) != len(schema) {
		return nil, false
	}
	row := map[string]string{}
	for i, key := range schema {
		if values[i] == "" {
			continue
		}
		if key != "EXTERN_ID" && key != "MADID" && !sha256Hex.MatchString(values[i]) {
			return nil, false
		}
		row[key] = values[i]
	}
	return row, len(row) > 0
}

// remove takes out every row that shares an identifier.
func (m *Meta) remove(of map[string]string) {
	for text, row := range m.rows {
		for _, key := range metaKeys[:4] {
			if row[key] != "" && row[key] == of[key] {
				delete(m.rows, text)
			}
		}
	}
}

func metaText(row map[string]string) string {
	var parts []string
	for _, key := range metaKeys {
		if row[key] != "" {
			parts = append(parts, key+"="+row[key])
		}
	}
	return strings.Join(parts, " ")
}

// GraphError answers as the Graph API does.
func GraphError(w http.ResponseWriter, status, code, subcode int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"error":{"message":%q,"type":"OAuthException","code":%d,"error_subcode":%d,"is_transient":false,"fbtrace_id":"A"}}`, message, code, subcode)
}
