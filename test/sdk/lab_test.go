package sdk

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/collect"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	storejetstream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

const writeKey = "sdk-test-key"

// lab is a Platform without Kubernetes: a stream and a warehouse in processes of their own, and what moves events from
// one to the other.
type lab struct {
	stream      *storetest.Process
	credentials string
	key         *collect.Key
	warehouse   driver.Conn
}

func newLab(t *testing.T) *lab {
	t.Helper()
	store := storetest.StartStream(t, storejetstream.Config{})
	l := &lab{
		stream: store, credentials: warehousetest.Credentials(t, storetest.User, storetest.Password), warehouse: warehousetest.Open(t),
	}
	file := filepath.Join(t.TempDir(), "writeKey")
	if err := os.WriteFile(file, []byte(writeKey), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if l.key, err = collect.ReadKey(file); err != nil {
		t.Fatal(err)
	}
	js, err := stream.Connect(t.Context(), store.URL, l.credentials)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	engine := ingest.New(ingest.Config{Conn: l.warehouse, JetStream: js, Rules: func() []identity.Rule {
		return []identity.Rule{{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "anonymousId", Limit: 5, Normalize: identity.Exact}}
	}})
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) }) // returns nil when ctx ends
	t.Cleanup(func() { stop(); running.Wait() })
	return l
}

// wire is a collector and what came to it.
type wire struct {
	url string

	mu       sync.Mutex
	statuses map[int]int
	taken    []json.RawMessage // bodies that were answered with 200
}

// collector serves a Source until the test ends.
func (l *lab) collector(t *testing.T, source string, rate *collect.Rate) *wire {
	t.Helper()
	js, err := stream.Connect(t.Context(), l.stream.URL, l.credentials)
	if err != nil {
		t.Fatal(err)
	}
	publisher := stream.NewPublisher(js, stream.Subject(source), stream.PublisherOptions{})
	registry := prometheus.NewRegistry()
	handler := collect.NewHandler(collect.HandlerOptions{
		Source: source, Party: "First", Key: l.key, Log: publisher, Rate: rate, Now: time.Now, Metrics: collect.NewMetrics(registry),
	})
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	w := &wire{url: "http://" + listeners[0].Addr().String(), statuses: map[int]int{}}
	server := collect.Server{
		Handler: w.watch(t, handler), Ready: publisher.Ready, Gatherer: registry, MaxConnections: 1000,
		DrainTimeout: 5 * time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listeners[0], listeners[1]) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closing, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		publisher.Close(closing)
		js.Conn().Close()
	})
	until(t, "the collector is ready", func() bool { return publisher.Ready() == nil })
	return w
}

// watch notes what an SDK sends and how it is answered, and changes nothing of it.
func (w *wire) watch(t *testing.T, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := &status{ResponseWriter: out, code: http.StatusOK}
		handler.ServeHTTP(answer, r)
		w.mu.Lock()
		defer w.mu.Unlock()
		if r.Method != http.MethodPost {
			return
		}
		w.statuses[answer.code]++
		if answer.code != http.StatusOK {
			return
		}
		if r.Header.Get("Content-Encoding") == "gzip" {
			packed, err := gzip.NewReader(bytes.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			if body, err = io.ReadAll(packed); err != nil {
				t.Error(err)
			}
		}
		w.taken = append(w.taken, body)
	})
}

type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader notes the status.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

func (w *wire) count(code int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.statuses[code]
}

// order is what a driver is told to send.
type order struct {
	URL    string `json:"url"`
	Key    string `json:"key"`
	Single bool   `json:"single"`
	Calls  []call `json:"calls"`
}

// drive starts a driver; done lets it end and waits for it.
func drive(t *testing.T, script string, o order) (done func()) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(context.Background(), "node", script, string(text))
	var log bytes.Buffer
	node.Stdout, node.Stderr = &log, &log
	stdin, err := node.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Start(); err != nil {
		t.Fatalf("%v: Node.js is needed; \"make sdk\" installs it", err)
	}
	ended := make(chan error, 1)
	var told atomic.Bool
	go func() {
		err := node.Wait()
		if !told.Load() {
			t.Errorf("%s ended before it was told to: %v", script, err)
		}
		ended <- err
	}()
	return sync.OnceFunc(func() {
		told.Store(true)
		_ = stdin.Close() // it may have ended before
		select {
		case err = <-ended:
		case <-time.After(30 * time.Second):
			_ = node.Process.Kill()
			err = <-ended
		}
		if err != nil || t.Failed() {
			t.Errorf("%s ended with %v: %s", script, err, &log)
		}
	})
}

// until waits for a thing of the test for at most a minute.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("after a minute it is not so that %s", what)
		}
		if t.Failed() {
			t.FailNow()
		}
		time.Sleep(20 * time.Millisecond)
	}
}
