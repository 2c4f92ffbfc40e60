package collect

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/stream"
)

// hostile is a handler whose log is not reached by what these tests send, or counts it.
func hostile(t testing.TB) (http.Handler, *countingLog) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "writeKey")
	if err := os.WriteFile(file, []byte("test-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ReadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	log := &countingLog{}
	return NewHandler(HandlerOptions{
		Source: "web", Party: "First", Key: key, Log: log, Now: time.Now, Metrics: NewMetrics(prometheus.NewRegistry()),
	}), log
}

type countingLog struct{ records []stream.Record }

// Publish keeps what a stream would be given.
func (l *countingLog) Publish(_ context.Context, r stream.Record) error {
	r.Body = bytes.Clone(r.Body)
	l.records = append(l.records, r)
	return nil
}

// Ready says that it always is.
func (*countingLog) Ready() error { return nil }

// allocated is how many bytes do allocates.
func allocated(do func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// zeros is a stream of n bytes.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.n))
	clear(p[:n])
	z.n -= int64(n)
	return n, nil
}

// What unpacks to 10 GB is refused after the bytes that a batch may have, in the memory of one. The bomb itself is made
// while it is read: the collector stops reading, so almost none of it is.
func TestBombIsRefusedInConstantMemory(t *testing.T) {
	handler, log := hostile(t)
	reading, writing := io.Pipe()
	made := make(chan struct{})
	go func() {
		defer close(made)
		packer := gzip.NewWriter(writing)
		_, err := io.Copy(packer, &zeros{n: 10 << 30})
		_ = writing.CloseWithError(err) // the reader has gone
	}()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/batch", reading)
	request.SetBasicAuth("test-key", "")
	request.Header.Set("Content-Encoding", "gzip")
	request.ContentLength = 10 << 10 // what a client may claim
	answer := httptest.NewRecorder()
	bytes := allocated(func() {
		handler.ServeHTTP(answer, request)
		_ = reading.Close()
		<-made
	})
	if answer.Code != http.StatusBadRequest || !strings.Contains(answer.Body.String(), "larger than 500 KiB") {
		t.Errorf("answered with %d %s", answer.Code, answer.Body)
	}
	if bytes > 8<<20 {
		t.Errorf("it took %d KiB of memory", bytes>>10)
	}
	if len(log.records) > 0 {
		t.Error("it was stored")
	}
}

// JSON that is nested a million deep is refused before anything descends into it.
func TestDeepJSONIsRefusedInConstantMemory(t *testing.T) {
	handler, log := hostile(t)
	for name, body := range map[string]string{
		"objects": strings.Repeat(`{"a":`, 1_000_000), "lists": strings.Repeat("[", 1_000_000),
		"a batch of the largest size": `{"batch":[` + strings.Repeat("[", 500_000),
		"an event in a batch":         `{"batch":[{"type":"track","properties":{"a":` + strings.Repeat("[", 200_000) + strings.Repeat("]", 200_000) + `}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/batch", strings.NewReader(body))
			request.SetBasicAuth("test-key", "")
			answer := httptest.NewRecorder()
			bytes := allocated(func() { handler.ServeHTTP(answer, request) })
			if answer.Code != http.StatusBadRequest {
				t.Errorf("answered with %d %s", answer.Code, answer.Body)
			}
			if bytes > 4<<20 {
				t.Errorf("it took %d KiB of memory", bytes>>10)
			}
		})
	}
	if len(log.records) > 0 {
		t.Error("it was stored")
	}
}

// Whatever a body is, it is stored as a whole or refused for ever, in memory that its size bounds.
func FuzzBody(f *testing.F) {
	packed := func(text string) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write([]byte(text)) // into memory
		_ = w.Close()
		return b.Bytes()
	}
	f.Add("/v1/batch", []byte(`{"batch":[{"type":"track","event":"A","userId":"u"}],"sentAt":"2026-11-23T15:24:01Z","context":{"a":1}}`), false)
	f.Add("/v1/track", []byte(`{"event":"A","userId":"u","writeKey":"test-key"}`), false)
	f.Add("/beacon/v1/batch", packed(`{"batch":[{"type":"page"}]}`), true)
	f.Add("/v1/i", packed(strings.Repeat("[", 100_000)), true)
	f.Add("/v1/batch", []byte("\xef\xbb\xbf{\"batch\":[\xff]}"), false)
	handler, log := hostile(f)
	paths := routes()
	f.Fuzz(func(t *testing.T, path string, body []byte, gzipped bool) {
		if _, known := paths[path]; !known {
			path = "/v1/batch"
		}
		log.records = log.records[:0]
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		request.SetBasicAuth("test-key", "")
		if gzipped {
			request.Header.Set("Content-Encoding", "gzip")
		}
		answer := httptest.NewRecorder()
		memory := allocated(func() { handler.ServeHTTP(answer, request) })
		if memory > 16<<20 {
			t.Errorf("%d bytes took %d KiB of memory", len(body), memory>>10)
		}
		switch {
		case answer.Code == http.StatusOK && len(log.records) > 1, answer.Code != http.StatusOK && len(log.records) > 0:
			t.Errorf("answered with %d and %d records are stored", answer.Code, len(log.records))
		case answer.Code != http.StatusOK && answer.Code != http.StatusBadRequest:
			t.Errorf("answered with %d: a client would send it for ever", answer.Code)
		}
	})
}
