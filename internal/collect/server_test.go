package collect

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/stream"
)

// serving is a collector behind the server that the product runs.
type serving struct {
	*collector
	api, health string
	stop        func()
	ended       chan error
}

func serve(t *testing.T, drainDelay time.Duration) *serving {
	t.Helper()
	registry := prometheus.NewRegistry()
	c := newCollector(t, stream.PublisherOptions{AckWait: 200 * time.Millisecond, GiveUp: 400 * time.Millisecond}, func(o *HandlerOptions) {
		o.Now, o.Metrics = time.Now, NewMetrics(registry)
	})
	listener, health := listen(t), listen(t)
	ctx, stop := context.WithCancel(context.Background())
	server := Server{Handler: c.Config.Handler, Ready: c.publisher.Ready, Gatherer: registry, MaxConnections: 100,
		DrainDelay: drainDelay, DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler)}
	s := &serving{collector: c, api: "http://" + listener.Addr().String(), health: "http://" + health.Addr().String(), stop: stop, ended: make(chan error, 1)}
	go func() { s.ended <- server.Serve(ctx, listener, health); close(s.ended) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.ended; err != nil {
			t.Errorf("serving: %v", err)
		}
	})
	return s
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func TestReadinessAndAnswersTellWhetherEventsAreStored(t *testing.T) {
	s := serve(t, 0)
	if status, body := fetch(t, s.health+"/readyz"); status != 200 {
		t.Fatalf("with a stream: readyz is %d %s", status, body)
	}
	s.js.Conn().Close() // as if the network to the store were cut for good
	if status, body := fetch(t, s.health+"/readyz"); status != 503 || !strings.Contains(body, "no connection") {
		t.Errorf("without a stream: readyz is %d %s", status, body)
	}
	if status, _ := fetch(t, s.health+"/healthz"); status != 200 {
		t.Errorf("without a stream: healthz is %d; a restart would not help", status)
	}
	for range 2 {
		got := s.send(t, "POST", "/v1/track", `{"writeKey":"test-key"}`)
		if got.status != 503 || got.header.Get("Retry-After") == "" || !strings.Contains(got.body, `"Unavailable"`) {
			t.Errorf("without a stream: got %d %s with %v", got.status, got.body, got.header)
		}
	}
	_, metrics := fetch(t, s.health+"/metrics")
	if want := `kohort_collector_requests_total{code="503",endpoint="track"} 2`; !strings.Contains(metrics, want) {
		t.Errorf("metrics lack %s:\n%s", want, metrics)
	}
}

func TestABatchThatDoesNotFitInWhatMayWaitIsToBeSentAgain(t *testing.T) {
	c := newCollector(t, stream.PublisherOptions{PendingBytes: 1000}, nil)
	got := c.send(t, "POST", "/v1/track", `{"writeKey":"test-key","a":"`+strings.Repeat("x", 2000)+`"}`)
	if got.status != 503 || got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, `"Overloaded"`) {
		t.Errorf("got %d %s with %v", got.status, got.body, got.header)
	}
}

func TestStoppingCutsNobodyOff(t *testing.T) {
	s := serve(t, 300*time.Millisecond)
	reader, writer := io.Pipe()
	type result struct {
		status int
		err    error
	}
	done := make(chan result, 1)
	go func() { // a slow phone: half of its request has arrived when the server is told to stop
		response, err := http.Post(s.api+"/v1/track", "application/json", reader)
		if err != nil {
			done <- result{err: err}
			return
		}
		_ = response.Body.Close()
		done <- result{status: response.StatusCode}
	}()
	if _, err := io.WriteString(writer, `{"writeKey":`); err != nil {
		t.Fatal(err)
	}
	s.stop()
	deadline := time.Now().Add(5 * time.Second)
	for status := 200; status != 503; {
		if time.Now().After(deadline) {
			t.Fatal("readyz does not fail while draining")
		}
		status, _ = fetch(t, s.health+"/readyz")
	}
	if response, err := http.Post(s.api+"/v1/track", "application/json", strings.NewReader(`{"writeKey":"test-key"}`)); err != nil {
		t.Errorf("a load balancer that has not noticed yet: %v", err)
	} else {
		_ = response.Body.Close()
	}
	time.Sleep(400 * time.Millisecond) // nothing is accepted any more, what is under way goes on
	if _, err := io.WriteString(writer, `"test-key"}`); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	if got := <-done; got.status != 200 {
		t.Errorf("the request under way got %d, %v", got.status, got.err)
	}
	if err := <-s.ended; err != nil {
		t.Errorf("serving ended with %v", err)
	}
	if response, err := http.Post(s.api+"/v1/track", "application/json", strings.NewReader(`{}`)); err == nil {
		_ = response.Body.Close()
		t.Error("a server that has ended took a connection")
	}
}

func TestARotatedKeyIsTakenUpAndALostFileIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "writeKey")
	if _, err := ReadKey(path); err == nil {
		t.Error("a missing file must be an error at the start")
	}
	write(t, path, " \n")
	if _, err := ReadKey(path); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty file: got %v", err)
	}
	write(t, path, "one\n")
	key, err := ReadKey(path)
	if err != nil || !key.is("one") {
		t.Fatalf("got %v", err)
	}
	write(t, path, "two")
	if err := key.read(); err != nil || key.is("one") || !key.is("two") {
		t.Errorf("after a rotation only the new key holds: %v", err)
	}
	write(t, path, "")
	if err := key.read(); err == nil || !key.is("two") || key.is("") {
		t.Errorf("a file that was emptied leaves the key as it is: %v", err)
	}
}
