package desk

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/test/demo/population"
)

func TestServesTicketsAndFiles(t *testing.T) {
	ticket := population.Ticket{ID: "T-1", Email: "Ada@Example.com", Subject: "Invoice", Priority: "high", Opened: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)}
	handler, err := Handler([]population.Ticket{ticket, ticket}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	get := func(path string) (int, []byte) {
		t.Helper()
		response, err := server.Client().Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, body
	}

	_, export := get("/tickets.jsonl")
	lines := bytes.Split(bytes.TrimSpace(export), []byte("\n"))
	var first map[string]any
	if err := json.Unmarshal(lines[0], &first); err != nil || len(lines) != 2 {
		t.Fatalf("export of %d lines, the first: %v", len(lines), err)
	}
	if first["requester_email"] != ticket.Email || first["opened_at"] != "2026-11-20T09:30:00Z" || first["Profile"] != nil {
		t.Errorf("first line %v: the truth must not be in it, the rest must", first)
	}

	if status, _ := get("/files/a.csv.gz"); status != http.StatusNotFound {
		t.Errorf("a file that nobody put there answers %d", status)
	}
	response, err := server.Client().Post(server.URL+"/files/a.csv.gz", "", strings.NewReader("packed"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if status, body := get("/files/a.csv.gz"); status != http.StatusOK || string(body) != "packed" {
		t.Errorf("the file came back as %d %q", status, body)
	}
}
