package source

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kohort.dev/kohort/internal/run"
)

const table = "id,email,visits\nu1,a@example.com,3\nu2,b@example.com,4\n"

func TestPullOverHTTP(t *testing.T) {
	b := newBench(t)
	modified := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	parquet := parquetFile(t, make([]everyType, 2000)...)
	var requests atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("/table.csv", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if user, password, _ := r.BasicAuth(); user != "reader" || password != "secret" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		http.ServeContent(w, r, "table.csv", modified, strings.NewReader(table))
	})
	mux.HandleFunc("/unnamed", func(w http.ResponseWriter, _ *http.Request) { // neither a version nor a length
		w.(http.Flusher).Flush()
		_, _ = w.Write([]byte(table))
	})
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/unnamed", http.StatusFound) })
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/data.parquet", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.ServeContent(w, r, "data.parquet", modified, bytes.NewReader(parquet))
	})
	mux.HandleFunc("/plain.parquet", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(parquet) })
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	mux.HandleFunc("/cut", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(table))
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	order := csvOrder(strings.Replace(server.URL, "http://", "http://reader:secret@", 1)+"/table.csv?token=hidden", customers)
	for n, read := range []int64{2, 0} {
		if report := b.pull(t, order); report.Read != read {
			t.Errorf("run %d: got %+v, want %d records", n+1, report, read)
		}
	}
	for _, path := range []string{"/unnamed", "/unnamed", "/moved"} {
		if report := b.pull(t, csvOrder(server.URL+path, customers)); report.Read != 2 {
			t.Errorf("%s: got %+v; without a version it is read each time", path, report)
		}
	}
	requests.Store(0)
	report := b.pull(t, run.PullOrder{Mapping: "root.type = \"track\"\nroot.event = \"A\"\nroot.userId = \"u\"", Files: &run.Files{URL: server.URL + "/data.parquet", Format: "Parquet"}})
	if report.Read != 2000 || report.Published != 2000 || requests.Load() > 3 {
		t.Errorf("Parquet: got %+v with %d requests; it is small enough for one part", report, requests.Load())
	}

	for _, c := range []struct {
		path   string
		fatal  bool
		reason string
		want   string
	}{
		{"/none.csv", true, "SourceUnreachable", "404"},
		{"/table.csv?token=hidden", true, "SourceUnreachable", "401"},
		{"/busy", false, "SourceUnreachable", "503"},
		{"/loop", false, "SourceUnreachable", "redirects"},
		{"/cut", false, "SourceUnreachable", "broke off"},
	} {
		message := b.fail(t, csvOrder(server.URL+c.path, customers), c.reason, c.fatal)
		if !strings.Contains(message, c.want) || strings.Contains(message, "hidden") {
			t.Errorf("%s: the message %q must hold %q and no token", c.path, message, c.want)
		}
	}
	message := b.fail(t, run.PullOrder{Mapping: customers, Files: &run.Files{URL: server.URL + "/plain.parquet", Format: "Parquet"}}, "RunFailed", true)
	if !strings.Contains(message, "Range requests") {
		t.Errorf("Parquet from a server without ranges: %s", message)
	}
	message = b.fail(t, run.PullOrder{Mapping: customers, Files: &run.Files{URL: server.URL + "/unnamed", Format: "Parquet"}}, "RunFailed", true)
	if !strings.Contains(message, "Range requests") {
		t.Errorf("got %s", message)
	}
	closed := httptest.NewServer(mux)
	closed.Close()
	b.fail(t, csvOrder(closed.URL+"/table.csv", customers), "SourceUnreachable", false)
}

func TestAFileInAnotherFormatIsRefusedWithARemedy(t *testing.T) {
	b := newBench(t)
	b.file(t, "a.csv", table)
	b.file(t, "cut.csv", "\x1f\x8b\x08\x00\x00\x00")
	for format, want := range map[string]string{"Parquet": "not Parquet", "JSONL": "not JSON", "XML": "must be CSV, JSONL or Parquet"} {
		reason := "RunFailed"
		if format == "JSONL" {
			reason = "MappingInvalid" // every line is a record that cannot be used
		}
		message := b.fail(t, run.PullOrder{Mapping: customers, Files: &run.Files{URL: "file:///a.csv", Format: format}}, reason, true)
		if !strings.Contains(message, want) || !strings.Contains(message, "a.csv") {
			t.Errorf("%s: got %s", format, message)
		}
	}
	if message := b.fail(t, csvOrder("file:///cut.csv", customers), "RunFailed", true); !strings.Contains(message, "gzip") {
		t.Errorf("got %s", message)
	}
}

func TestARunThatBreaksOffIsDoneAgainWithoutDoubles(t *testing.T) {
	b := newBench(t)
	var whole atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		if whole.Load() {
			_, _ = w.Write([]byte(table))
			return
		}
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write([]byte(table[:len(table)-3]))
	}))
	defer server.Close()
	order := csvOrder(server.URL, strings.Replace(customers, "identify", "track", 1)+"root.event = \"Seen\"\n")
	report, err := Run(t.Context(), b.options(order))
	var failure *run.Failure
	if !errors.As(err, &failure) || failure.Fatal || report.Read != 1 || report.Published != 1 {
		t.Fatalf("got %+v and %v; the first row is whole and published", report, err)
	}
	whole.Store(true)
	if report := b.pull(t, order); report.Read != 2 || report.Published != 2 {
		t.Errorf("got %+v; a file that was not read to its end is read again", report)
	}
	different := map[string]bool{}
	got := b.events(t)
	for _, e := range got.Events {
		different[e.MessageID] = true
	}
	if len(got.Events) != 3 || len(different) != 2 {
		t.Errorf("%d events with %d different ids; the row that was read twice must have one id", len(got.Events), len(different))
	}
	if report := b.pull(t, order); report.Read != 0 || len(b.events(t).Events) != 0 {
		t.Errorf("got %+v; now it is known", report)
	}
}
