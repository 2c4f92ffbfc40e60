package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"kohort.dev/kohort/internal/collect"
	"kohort.dev/kohort/internal/identity"
	"kohort.dev/kohort/internal/ingest"
	"kohort.dev/kohort/internal/run"
	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/stream"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

const segmentWriteKey = "second-platform"

// platform is another Kohort: a collector, which takes Segment's API, with its own stream, ingestion and warehouse. It
// gives the collector's address and the warehouse.
func platform(t *testing.T) (string, driver.Conn) {
	t.Helper()
	url, user, password := storetest.Stream(t)
	js, err := stream.Connect(t.Context(), url, warehousetest.Credentials(t, user, password))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(js.Conn().Close)
	if err := stream.EnsureStream(t.Context(), js, 0); err != nil {
		t.Fatal(err)
	}
	conn := warehousetest.Open(t)
	engine := ingest.New(ingest.Config{Conn: conn, JetStream: js, Rules: func() []identity.Rule {
		return []identity.Rule{{Type: "userId", Unique: true, Limit: 1, Normalize: identity.Exact}, {Type: "anonymousId", Limit: 5, Normalize: identity.Exact}}
	}})
	key, err := collect.ReadKey(secretFile(t, segmentWriteKey))
	if err != nil {
		t.Fatal(err)
	}
	publisher := stream.NewPublisher(js, stream.Subject("in"), stream.PublisherOptions{})
	registry := prometheus.NewRegistry()
	server := collect.Server{
		Handler: collect.NewHandler(collect.HandlerOptions{Source: "in", Party: "Second", Key: key, Log: publisher, Now: time.Now, Metrics: collect.NewMetrics(registry)}),
		Ready:   publisher.Ready, Gatherer: registry, MaxConnections: 100, DrainTimeout: time.Second, Logger: slog.New(slog.DiscardHandler),
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = engine.Run(ctx) })                               // returns nil when ctx ends
	running.Go(func() { _ = server.Serve(ctx, listeners[0], listeners[1]) }) // likewise
	t.Cleanup(func() {
		stop()
		running.Wait()
		publisher.Close(context.Background())
	})
	return "http://" + listeners[0].Addr().String(), conn
}

// One platform tells another: what comes is what an audience of Segment's own would have sent, once, though the first
// answer is lost.
func TestSyncToSegment(t *testing.T) {
	collector, second := platform(t)
	var requests atomic.Int32
	lossy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request, _ := http.NewRequestWithContext(r.Context(), r.Method, collector+r.URL.Path, r.Body)
		request.Header = r.Header
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Error(err)
			return
		}
		_ = response.Body.Close()
		if requests.Add(1) == 1 {
			panic(http.ErrAbortHandler) // the collector has stored it, and the answer breaks off
		}
		w.WriteHeader(response.StatusCode)
	}))
	defer lossy.Close()

	url, user, password := storetest.Warehouse(t)
	first := warehousetest.Connect(t, url, user, password)
	members(t, first, "vip")
	if err := first.Exec(t.Context(), "INSERT INTO profile_identifiers SELECT number, 'userId', concat('u', toString(number)), now64(3), 1 FROM numbers(1, 3)"); err != nil {
		t.Fatal(err)
	}
	order := run.SyncOrder{
		Platform: "shop", Sync: "vip-seg", Audience: "vip", Destination: "seg", Mode: "Mirror", Slot: time.Unix(1795437000, 0).UTC(),
		Traits: map[string]string{"tariff": "plan"}, Segment: &run.Segment{URL: lossy.URL, Calls: []string{"Identify", "Track"}},
	}
	args := []string{"sync", "--warehouse-url", url, "--warehouse-credentials-dir", warehousetest.Credentials(t, user, password), "--token-file", secretFile(t, segmentWriteKey)}
	step := func(why string, added, removed int64, want ...string) {
		t.Helper()
		code, report, log := connector(t, order, args...)
		if code != run.ExitSucceeded || report.Added != added || report.Removed != removed || report.Rejected != 0 {
			t.Fatalf("%s: exit code %d, report %+v\n%s", why, code, report, log)
		}
		deadline := time.Now().Add(30 * time.Second)
		var got []string
		for got = told(t, second); !slices.Equal(got, want) && time.Now().Before(deadline); got = told(t, second) {
			time.Sleep(20 * time.Millisecond)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: told\n%q\nwant\n%q", why, got, want)
		}
	}
	var entered, left []string
	for i := range 3 {
		entered = append(entered, fmt.Sprintf(`u%d identify Identify {"tariff":"pro","vip":true}`, i+1), fmt.Sprintf(`u%d track Audience Entered {"audience_key":"vip","vip":true}`, i+1))
		left = append(left, fmt.Sprintf(`u%d identify Identify {"vip":false}`, i+1), fmt.Sprintf(`u%d track Audience Exited {"audience_key":"vip","vip":false}`, i+1))
	}
	step("everybody enters, once", 3, 0, entered...)
	step("nothing is told twice", 0, 0, entered...)
	order.Drain = true
	all := slices.Concat(entered, left)
	slices.Sort(all)
	step("everybody leaves", 0, 3, all...)
}

// told lists the calls that a warehouse holds.
func told(t *testing.T, conn driver.Conn) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT concat(user_id, ' ', toString(type), ' ', event, ' ', properties) AS line FROM events ORDER BY line")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var lines []string
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}
