package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// A collector as its pod runs it: it starts before the stream is there, becomes ready with it, and ends in order.
func TestCollectStartsWithoutAStreamAndEndsInOrder(t *testing.T) {
	key := filepath.Join(t.TempDir(), "writeKey")
	if err := os.WriteFile(key, []byte("test-key"), 0o600); err != nil {
		t.Fatal(err)
	}
	collect := func(natsURL, credentials string) (api, health string, stop func() error) {
		api, health = freeAddress(t), freeAddress(t)
		command := newCollectCommand()
		command.SetArgs([]string{"--platform", "shop", "--source", "web", "--party", "First", "--stream-url", natsURL,
			"--stream-credentials-dir", credentials, "--write-key-file", key, "--listen", api, "--health-listen", health, "--drain-delay", "10ms",
			"--events-per-second", "1", "--client-ip", "Drop", "--allowed-origin", "https://shop.example.com"})
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- command.ExecuteContext(ctx) }()
		return "http://" + api, "http://" + health, func() error { cancel(); return <-ended }
	}
	batch := `{"batch":[` + strings.Repeat(`{"type":"track","event":"A","userId":"u"},`, 99) + `{}],"writeKey":"test-key"}` // 100 s of the rate
	post := func(api string) int {
		response, err := http.Post(api+"/v1/batch", "application/json", strings.NewReader(batch))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode
	}

	api, health, stop := collect("nats://"+freeAddress(t), warehousetest.Credentials(t, "kohort", "x"))
	await(t, health+"/healthz", http.StatusOK)
	await(t, health+"/readyz", http.StatusServiceUnavailable)
	for range 2 { // the first takes nothing of the rate
		if status := post(api); status != http.StatusServiceUnavailable {
			t.Errorf("without a stream events are answered with %d, want 503", status)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}

	url, user, password := storetest.Stream(t)
	api, health, stop = collect(url, warehousetest.Credentials(t, user, password))
	await(t, health+"/readyz", http.StatusOK)
	if status := post(api); status != http.StatusOK {
		t.Errorf("events are answered with %d, want 200", status)
	}
	if status := post(api); status != http.StatusTooManyRequests {
		t.Errorf("events beyond the rate are answered with %d, want 429", status)
	}
	if text := await(t, health+"/metrics", http.StatusOK); !strings.Contains(text, "kohort_collector_events_total 100\n") {
		t.Error("the metrics do not count the events")
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestCollectNamesTheFlagThatIsWrong(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", "--source"},
		{"--source web --stream-url nats://x", "--write-key-file"},
		{"--source web --stream-url nats://x --write-key-file /none --party Fourth", "--party"},
		{"--source web --stream-url nats://x --write-key-file /none/key", "/none/key"},
		{"--source web --stream-url nats://x --write-key-file /none --burst 5", "--events-per-second"},
		{"--source web --stream-url nats://x --write-key-file /none --max-batch-bytes 5", "--max-batch-bytes"},
		{"--source web --stream-url nats://x --write-key-file /none --allowed-origin shop", "--allowed-origin"},
		{"--source web --stream-url nats://x --write-key-file /none --client-ip No", "--client-ip"},
	} {
		command := newCollectCommand()
		command.SetArgs(strings.Fields(c.args))
		command.SilenceErrors, command.SilenceUsage = true, true
		if err := command.ExecuteContext(context.Background()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error that names %s", c.args, err, c.want)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// await asks until the answer has the status, and gives its body.
func await(t *testing.T, url string, status int) string {
	t.Helper()
	var last string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		response, err := http.Get(url)
		if err != nil {
			last = err.Error()
			continue
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err == nil && response.StatusCode == status {
			return string(body)
		}
		last = fmt.Sprint(response.Status, " ", string(body))
	}
	t.Fatalf("%s does not answer %d: %s", url, status, last)
	return ""
}
