package soak

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	storejetstream "kohort.dev/kohort/internal/store/jetstream"
	"kohort.dev/kohort/internal/store/storetest"
	storewarehouse "kohort.dev/kohort/internal/store/warehouse"
	"kohort.dev/kohort/internal/warehouse/warehousetest"
)

// roundsVariable says how often something is killed. Default: a few times, which every run of the tests can afford.
const roundsVariable = "KOHORT_SOAK_ROUNDS"

// killable is a process.
type killable interface {
	Kill(testing.TB)
	Start(testing.TB)
}

// Everything that an event passes is killed under load, alone or together; what was acknowledged is stored, once.
func TestEverythingIsKilled(t *testing.T) {
	rounds := 5
	if text := os.Getenv(roundsVariable); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", roundsVariable, err)
		}
	}
	store := storetest.StartStream(t, storejetstream.Config{})
	data := storetest.StartWarehouse(t, storewarehouse.Config{})
	conn := warehousetest.Connect(t, data.URL, storetest.User, storetest.Password)
	common := child{Stream: store.URL, Warehouse: data.URL, Credentials: warehousetest.Credentials(t, storetest.User, storetest.Password), Key: keyFile(t), Listen: freeAddress(t)}
	common.Name = "engine"
	engine := &process{child: common}
	common.Name = "collector"
	collector := &process{child: common}
	engine.Start(t)
	collector.Start(t)
	t.Cleanup(func() {
		_ = collector.cmd.Process.Kill() // whichever still run
		_ = engine.cmd.Process.Kill()
	})

	ctx, stop := context.WithCancel(t.Context())
	traffic := &load{url: "http://" + common.Listen}
	traffic.start(ctx)
	names := []string{"collector", "stream", "engine", "warehouse"}
	victims := map[string]killable{"collector": collector, "stream": store, "engine": engine, "warehouse": data}
	// A fixed seed makes the moments and the victims the same in each run as far as the machine allows.
	random := rand.New(rand.NewPCG(7, 11))
	for round := range rounds {
		time.Sleep(time.Duration(500+random.IntN(1500)) * time.Millisecond)
		killed := random.Perm(len(names))[:1+random.IntN(len(names))]
		if round < len(names) {
			killed = []int{round} // each alone at least once
		}
		var list []string
		for _, i := range killed {
			victims[names[i]].Kill(t)
			list = append(list, names[i])
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		for _, i := range killed {
			victims[names[i]].Start(t)
		}
		t.Logf("round %d: killed %v; %d events acknowledged, %d requests sent again", round+1, list, traffic.acknowledged.Load(), traffic.refused.Load())
	}
	stop()
	traffic.running.Wait()
	total := uint64(traffic.acknowledged.Load())
	stored, different := settle(t, conn, total)
	t.Logf("%d rounds: %d events acknowledged, %d stored, %d different", rounds, total, stored, different)
	if stored != total || different != total {
		t.Errorf("%d lost, %d doubled", total-min(different, total), stored-different)
	}
	if total < uint64(rounds)*eventsPerSecond/2 {
		t.Errorf("only %d events were acknowledged: there was no load to speak of", total)
	}
	missing(t, conn, traffic)
}

// settle waits until the warehouse has so many different events, or no more come for a while.
func settle(t *testing.T, conn driver.Conn, total uint64) (stored, different uint64) {
	t.Helper()
	last, since := uint64(0), time.Now()
	for time.Since(since) < time.Minute {
		if err := conn.QueryRow(t.Context(), "SELECT count(), uniqExact(message_id) FROM events").Scan(&stored, &different); err != nil {
			t.Logf("counting: %v", err)
		}
		if different >= total {
			return stored, different
		}
		if different != last {
			last, since = different, time.Now()
		}
		time.Sleep(200 * time.Millisecond)
	}
	return stored, different
}

// missing says which acknowledged events are not stored.
func missing(t *testing.T, conn driver.Conn, l *load) {
	t.Helper()
	rows, err := conn.Query(t.Context(), "SELECT message_id FROM events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	have := map[string]bool{}
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		have[id] = true
	}
	lost := 0
	for client, batches := range l.sent {
		for batch := range batches {
			for i := range perRequest {
				if !have[id(client, batch, i)] {
					if lost++; lost <= 10 {
						t.Errorf("event %s was acknowledged and is not stored", id(client, batch, i))
					}
				}
			}
		}
	}
}

func keyFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "writeKey")
	if err := os.WriteFile(path, []byte(writeKey), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
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
