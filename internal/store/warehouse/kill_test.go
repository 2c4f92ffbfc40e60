package warehouse_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"kohort.dev/kohort/internal/store/storetest"
	"kohort.dev/kohort/internal/store/warehouse"
)

func open(t *testing.T, url string) driver.Conn {
	t.Helper()
	conn, err := clickhouse.Open(&clickhouse.Options{
		Protocol: clickhouse.HTTP,
		Addr:     []string{strings.TrimPrefix(url, "http://")},
		Auth:     clickhouse.Auth{Username: storetest.User, Password: storetest.Password, Database: "default"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, sql string) {
	t.Helper()
	if err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func count(t *testing.T, conn driver.Conn, sql string) uint64 {
	t.Helper()
	var n uint64
	if err := conn.QueryRow(t.Context(), sql).Scan(&n); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

// rowsPerBatch go to four partitions, of which a kill can leave some written.
const rowsPerBatch = 400

// send writes a batch under its token until the store acknowledges it.
func send(ctx context.Context, conn driver.Conn, batch uint64) error {
	ctx = clickhouse.Context(ctx, clickhouse.WithSettings(clickhouse.Settings{
		"insert_deduplication_token":                         fmt.Sprintf("batch-%d", batch),
		"deduplicate_blocks_in_dependent_materialized_views": 1,
	}))
	for {
		err := func() error {
			b, err := conn.PrepareBatch(ctx, "INSERT INTO events")
			if err != nil {
				return err
			}
			for i := range uint64(rowsPerBatch) {
				if err := b.Append(batch, i, uint8(i%4)); err != nil {
					return err
				}
			}
			return b.Send()
		}()
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // the store is being restarted
	}
}

// Acknowledged batches, retried under their token across kills, are stored
// exactly once. Without the pruning of the deduplication logs this fails, but
// only in some of a hundred kills: KOHORT_LONG=1 makes that many.
func TestKillsLoseAndDoubleNothing(t *testing.T) {
	kills := 10
	if os.Getenv("KOHORT_LONG") != "" {
		kills = 120
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	p := storetest.StartWarehouse(t, warehouse.Config{})
	conn := open(t, p.URL)
	exec(t, conn, `CREATE TABLE events (batch UInt64, i UInt64, part UInt8) ENGINE = MergeTree PARTITION BY part ORDER BY (batch, i)
		SETTINGS non_replicated_deduplication_window = 1000`)
	exec(t, conn, `CREATE TABLE sums (batch UInt64, n UInt64) ENGINE = SummingMergeTree ORDER BY batch SETTINGS non_replicated_deduplication_window = 1000`)
	exec(t, conn, "CREATE MATERIALIZED VIEW to_sums TO sums AS SELECT batch, count() AS n FROM events GROUP BY batch")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var next, acknowledged atomic.Uint64
	var writers sync.WaitGroup
	var failed atomic.Pointer[error]
	for range 3 {
		writers.Go(func() {
			for ctx.Err() == nil {
				// Only a finished retry tells what a batch must look like, so the
				// last ones go on after the kills have ended.
				if err := send(t.Context(), conn, next.Add(1)); err != nil {
					failed.Store(&err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	for range kills {
		before := acknowledged.Load()
		for deadline := time.Now().Add(20 * time.Second); acknowledged.Load() == before && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond) // a busy machine takes its time, and a kill has to find batches under way
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		p.Kill(t)
		p.Start(t)
		if random.IntN(3) == 0 { // as soon as it is back
			time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
			p.Kill(t)
			p.Start(t)
		}
	}
	stop()
	writers.Wait()
	if err := failed.Load(); err != nil {
		t.Fatalf("a writer gave up: %v", *err)
	}
	n := acknowledged.Load()
	t.Logf("%d batches acknowledged over %d kills; the last start said: %s", n, kills, p.Log())
	if n < uint64(kills) {
		t.Fatalf("only %d batches were acknowledged over %d kills: the test proves nothing", n, kills)
	}
	if bad := count(t, conn, fmt.Sprintf("SELECT count() FROM (SELECT batch FROM events GROUP BY batch HAVING count() != %d OR uniqExact(i) != %[1]d)", rowsPerBatch)); bad != 0 {
		t.Errorf("%d acknowledged batches are not stored exactly once", bad)
	}
	if got := count(t, conn, "SELECT uniqExact(batch) FROM events"); got != n {
		t.Errorf("%d batches are stored, %d were acknowledged", got, n)
	}
	if got := count(t, conn, "SELECT sum(n) FROM sums"); got != n*rowsPerBatch {
		t.Errorf("the view counted %d rows, want %d", got, n*rowsPerBatch)
	}
}

// A token in the log without its rows, as a kill at the wrong moment leaves
// it, must not swallow the retry.
func TestTokensWithoutRowsAreForgotten(t *testing.T) {
	dir := t.TempDir()
	p := storetest.StartWarehouse(t, warehouse.Config{Path: dir})
	conn := open(t, p.URL)
	exec(t, conn, `CREATE TABLE events (batch UInt64, i UInt64, part UInt8) ENGINE = MergeTree PARTITION BY part ORDER BY (batch, i)
		SETTINGS non_replicated_deduplication_window = 1000`)
	exec(t, conn, "SYSTEM STOP MERGES events")
	for batch := range uint64(3) {
		if err := send(t.Context(), conn, batch); err != nil {
			t.Fatal(err)
		}
	}
	p.Kill(t)
	removeNewestPart(t, dir, "3")
	p.Start(t)
	if !strings.Contains(p.Log(), "dropped deduplication entries") {
		t.Errorf("the log does not say that entries were dropped: %s", p.Log())
	}
	for batch := range uint64(3) {
		if err := send(t.Context(), conn, batch); err != nil {
			t.Fatal(err)
		}
	}
	if got := count(t, conn, "SELECT count() FROM events"); got != 3*rowsPerBatch {
		t.Errorf("after the retries %d rows are stored, want %d", got, 3*rowsPerBatch)
	}
}
